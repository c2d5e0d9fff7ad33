"""The orders in memory."""

from sidecar.demo.orders import MAX_ORDERS, Orders, seeded


def test_ids_are_never_used_twice() -> None:
    orders = Orders()
    first = orders.create("tea", 1)
    assert orders.delete(first.id)
    assert orders.create("tea", 1).id != first.id


def test_a_deleted_order_is_gone() -> None:
    orders = seeded()
    (first, *others) = orders.all()
    assert orders.get(first.id) == first
    assert orders.delete(first.id)
    assert orders.get(first.id) is None
    assert not orders.delete(first.id)
    assert orders.all() == others


def test_the_number_of_orders_is_bounded() -> None:
    orders = Orders()
    for _ in range(MAX_ORDERS):
        assert not orders.full
        orders.create("tea", 1)
    assert orders.full
