from perf.peers.catalogue import PEERS, chosen


def test_without_a_wish_all_are_measured_but_those_that_are_built_for_minutes() -> None:
    built = {"oauth2-proxy", "oathkeeper", "opa"}
    # Bare HAProxy has no row of its own in the goals.
    assert chosen("default", ()) == [name for name in PEERS if name not in {*built, "haproxy"}]


def test_all_are_all_and_none_is_none() -> None:
    assert chosen("all", ()) == list(PEERS)
    assert chosen("none", ()) == []


def test_a_wish_is_exact_and_in_the_order_of_the_tables() -> None:
    assert chosen("all", ("nginx", "sidecar")) == ["sidecar", "nginx"]
