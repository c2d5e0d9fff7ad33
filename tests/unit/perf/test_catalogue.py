from perf.peers.catalogue import PEERS, chosen


def test_without_a_wish_only_those_that_need_no_download_are_measured() -> None:
    assert chosen("default", ()) == ["sidecar", "nginx", "aiohttp", "haproxy-jwt", "nginx-auth"]


def test_all_are_all_and_none_is_none() -> None:
    assert chosen("all", ()) == list(PEERS)
    assert chosen("none", ()) == []


def test_a_wish_is_exact_and_in_the_order_of_the_tables() -> None:
    assert chosen("all", ("nginx", "sidecar")) == ["sidecar", "nginx"]
