import msgspec

from sidecar.settings import schema


def test_no_repr_shows_a_secret() -> None:
    root = schema.Root(
        upstreams={"app": schema.Upstream(url="http://app")},
        stores=schema.Stores(
            postgres=schema.Postgres(dsn="hunter2"),
            redis=schema.Redis(url="hunter2", password="hunter2", sentinel_password="hunter2"),
        ),
        credentials=schema.Credentials(token_key="hunter2" * 5),
        routes=(schema.RouteRule(path="/"),),
        admin=schema.Admin(token="hunter2" * 5),
    )
    shown = repr(root)
    assert "hunter2" not in shown
    assert "token_key=***" in shown
    assert "path='/'" in shown
    assert "hunter2" not in repr(msgspec.structs.replace(root.credentials, realm="r"))


def test_secrets_name_settings_that_exist() -> None:
    for struct in (schema.Admin, schema.Postgres, schema.Redis, schema.Credentials):
        assert struct.secrets <= set(struct.__struct_fields__)
        assert struct.secrets
