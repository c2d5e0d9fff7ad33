"""The embedded servers: found again, alone in their folder, ending with their parent."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from sidecar.embedded import EmbeddedError, EmbeddedStack, spawn
from sidecar.embedded import stack as stack_module
from sidecar.embedded.postgres import EmbeddedPostgres
from sidecar.embedded.spawn import NOBODY, Server, identity_for, run
from sidecar.embedded.valkey import EmbeddedValkey
from tests.servers import TEMPLATE

TRUE = Path("/bin/true")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a stack may live. Not one of pytest's: any other pytest closes those to others."""
    with tempfile.TemporaryDirectory(prefix="sidecar-tests-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "stores"


def write(stack: EmbeddedStack, text: str) -> None:
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (line text)")
        connection.execute("INSERT INTO kept VALUES (%s)", (text,))
    with redis.Redis.from_url(stack.redis_url) as client:
        client.rpush("kept", text)


def kept(stack: EmbeddedStack) -> tuple[list[str], list[bytes]]:
    with (
        psycopg.connect(stack.database_url) as connection,
        redis.Redis.from_url(stack.redis_url) as client,
    ):
        lines = [row[0] for row in connection.execute("SELECT line FROM kept")]
        members = client.lrange("kept", 0, -1)
        assert isinstance(members, list)
        return lines, members


async def test_what_was_stored_is_found_at_the_next_start(folder: Path) -> None:
    with EmbeddedStack(folder, template=TEMPLATE) as stack:
        write(stack, "first")
        processes = [stack.postgres.server, stack.valkey.server]
    assert not any(process.is_running() for process in processes)
    async with EmbeddedStack(folder, template=TEMPLATE) as stack:
        write(stack, "second")
        assert kept(stack) == (["first", "second"], [b"first", b"second"])
        # Crash recovery finds it as well.
        stack.postgres.server.kill()
    with EmbeddedStack(folder, template=TEMPLATE) as stack:
        assert kept(stack)[0] == ["first", "second"]


def test_a_cluster_made_without_a_template(folder: Path) -> None:
    folder.mkdir()
    postgres = EmbeddedPostgres(folder / "postgres", durable=True, template=None)
    postgres.prepare()
    password = (folder / "postgres" / "password").read_text()
    postgres.prepare()
    assert (folder / "postgres" / "password").read_text() == password
    with pytest.raises(EmbeddedError, match="not started"):
        _ = postgres.server


def test_a_template_is_made_by_the_first(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    for name in ("one", "two"):
        server = EmbeddedPostgres(folder / name, durable=False, template=tmp_path / "template")
        server.prepare()
    assert (folder / "one" / "password").read_text() == (folder / "two" / "password").read_text()


def test_strangers_are_not_let_in(folder: Path) -> None:
    with EmbeddedStack(folder, durable=False, template=TEMPLATE) as stack:
        wrong = stack.database_url.replace("sidecar:", "sidecar:x")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)
        port = stack.redis_url.rpartition(":")[2]
        with (
            redis.Redis.from_url(f"redis://127.0.0.1:{port}") as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()
        secrets = {stack.redis_url.split(":")[2].split("@")[0], stack.database_url.split(":")[2]}
        for server in (stack.postgres.server, stack.valkey.server):
            words = Path(f"/proc/{server.pid}/cmdline").read_text()
            assert not any(secret.split("@")[0] in words for secret in secrets)


def test_a_folder_takes_one_stack_at_a_time(folder: Path) -> None:
    with EmbeddedStack(folder, durable=False, template=TEMPLATE) as first:
        with pytest.raises(EmbeddedError, match="in use"), EmbeddedStack(folder):
            pass
        assert first.postgres.is_ready()


def test_a_taken_port_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedStack(folder / "one", durable=False, template=TEMPLATE) as first:
        taken = int(first.redis_url.rpartition(":")[2].split("/")[0])
        ports = iter([taken])
        free_port = spawn.free_port
        monkeypatch.setattr(
            "sidecar.embedded.valkey.free_port", lambda: next(ports, None) or free_port()
        )
        with EmbeddedStack(folder / "two", durable=False, template=TEMPLATE) as second:
            assert f":{taken}/" not in second.redis_url
            assert second.valkey.is_ready()


async def test_a_server_that_never_starts_is_told_with_its_last_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.embedded.valkey._program", lambda: TRUE)
    with (
        pytest.raises(EmbeddedError, match="did not start: true"),
        EmbeddedStack(folder, durable=False, template=TEMPLATE),
    ):
        pass
    with pytest.raises(EmbeddedError, match="did not start: true"):
        async with EmbeddedStack(folder, durable=False, template=TEMPLATE):
            pass


def test_a_server_that_never_answers_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "START_SECONDS", 0.05)
    monkeypatch.setattr(EmbeddedValkey, "is_ready", lambda _: False)
    with (
        pytest.raises(EmbeddedError, match="does not answer"),
        EmbeddedStack(folder, durable=False, template=TEMPLATE),
    ):
        pass


def test_they_end_with_their_parent(folder: Path) -> None:
    script = (
        "import sys, signal\n"
        "from pathlib import Path\n"
        "from sidecar.embedded import EmbeddedStack\n"
        "with EmbeddedStack(sys.argv[1], durable=False, template=Path(sys.argv[2])) as stack:\n"
        "    print(stack.postgres.server.pid, stack.valkey.server.pid, flush=True)\n"
        "    signal.pause()\n"
    )
    command = [sys.executable, "-c", script, str(folder), str(TEMPLATE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        watched = [os.pidfd_open(pid) for pid in pids]
        parent.send_signal(signal.SIGKILL)
    import select  # noqa: PLC0415  here only

    for descriptor in watched:
        readable, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        assert readable


def test_wheels_that_are_missing_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedError, match=r"sidecar\[embedded\]"):
        EmbeddedStack(folder)
    with pytest.raises(EmbeddedError, match=r"sidecar\[embedded\]"):
        EmbeddedValkey(folder, durable=False)


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(EmbeddedError, match=r"ls failed: .*nowhere"):
        run("same", ["/bin/ls", "/nowhere"])


def test_a_server_is_killed_when_it_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.embedded.spawn.STOP_SECONDS", 0.05)
    program = [sys.executable, "-c", "import signal; signal.pthread_sigmask(0, {15}); print(1, flush=True); [signal.sigwait({10}) for _ in [1]]"]  # fmt: skip # noqa: E501
    server = Server("same", program, signal.SIGTERM, tmp_path / "log")
    while not server.last_words():
        assert server.is_running()
    server.stop()
    assert not server.is_running()
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_becomes_nobody_or_another_id_in_a_namespace(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    assert identity_for(TRUE, folder) == str(NOBODY)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert identity_for(TRUE, closed / "stores") == "namespace"
    with EmbeddedStack(closed / "stores", durable=False, template=TEMPLATE) as stack:
        write(stack, "seen")
        assert kept(stack) == (["seen"], [b"seen"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_is_not_root_stays_who_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert identity_for(TRUE, folder) == "same"
