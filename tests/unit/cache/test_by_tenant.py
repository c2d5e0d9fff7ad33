"""Users are found by tenant, whichever way they came and went."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.by_tenant import ByTenant, Key
from sidecar.cache.memory import Memory
from sidecar.model.need import RolesNeed, UserNeed
from sidecar.settings.schema import Cache

TENANTS = ("acme", "other", "third")
KEYS: st.SearchStrategy[Key] = (
    st.builds(UserNeed, st.sampled_from(TENANTS), st.sampled_from(["a", "b", "c"]))
    | st.builds(RolesNeed, st.sampled_from(TENANTS))
    | st.sampled_from([b"one", b"two"])
)
STEPS = st.tuples(
    st.sampled_from(["put", "put", "put", "get", "delete", "delete users", "clear"]), KEYS
)


@given(st.integers(1, 6), st.lists(STEPS, max_size=60))
def test_a_tenant_goes_whole_and_alone(capacity: int, steps: list[tuple[str, Key]]) -> None:
    region: ByTenant[int] = ByTenant(capacity)
    for verb, key in steps:
        if verb == "put":
            region.put(key, 1)
        elif verb == "get":
            region.get(key)
        elif verb == "delete":
            region.delete(key)
        elif verb == "clear":
            region.clear()
        elif isinstance(key, UserNeed):
            left = {
                each
                for each in region
                if not (isinstance(each, UserNeed) and each.tenant == key.tenant)
            }
            region.delete_users(key.tenant)
            assert set(region) == left
        users = {each for each in region if isinstance(each, UserNeed)}
        assert set().union(*region._users.values()) == users
        assert all(region._users.values()), "a tenant without users takes no room"


class Walked(ByTenant[int]):
    """A region that cannot be looked through."""

    def __iter__(self) -> Iterator[Key]:
        raise AssertionError("all users were looked through")


def test_dropping_a_tenant_looks_at_no_other_users() -> None:
    """A page of a replay may hold a thousand such changes."""
    memory = Memory(Cache(), jitter=lambda: 0.5)
    region = Walked(10)
    memory._regions.users = memory._regions.negative = region  # type: ignore[assignment]  # other values
    region.put(UserNeed("other", "ann"), 1)
    region.put(UserNeed("acme", "ann"), 1)
    memory.drop_tenant("acme")
    assert len(region) == 1
