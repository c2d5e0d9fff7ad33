"""Orders, kept in memory: list, read, create, delete."""

import json
from dataclasses import asdict, dataclass

from aiohttp import web

# What is in memory is bounded, also in a demonstration.
MAX_ORDERS = 1_000
MAX_ITEM_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Order:
    """One order."""

    id: str
    item: str
    quantity: int


class Orders:
    """The orders by id, in the order they came."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._last = 0

    def create(self, item: str, quantity: int) -> Order:
        """Adds an order and gives it the next id; ids are never used twice."""
        self._last += 1
        order = Order(str(self._last), item, quantity)
        self._orders[order.id] = order
        return order

    def get(self, order_id: str) -> Order | None:
        """The order, or ``None``."""
        return self._orders.get(order_id)

    def delete(self, order_id: str) -> bool:
        """Whether there was such an order; it is gone then."""
        return self._orders.pop(order_id, None) is not None

    def all(self) -> list[Order]:
        """All orders."""
        return list(self._orders.values())

    @property
    def full(self) -> bool:
        """Whether no order may be added."""
        return len(self._orders) >= MAX_ORDERS


def seeded() -> Orders:
    """A few orders, so that there is something to look at."""
    orders = Orders()
    for item, quantity in (("espresso beans", 2), ("oat milk", 6), ("paper filters", 1)):
        orders.create(item, quantity)
    return orders


ORDERS = web.AppKey("orders", Orders)
routes = web.RouteTableDef()


@routes.get("/api/orders")
async def list_orders(request: web.Request) -> web.Response:
    """``{"orders": [...]}``."""
    return web.json_response({"orders": [asdict(order) for order in request.app[ORDERS].all()]})


@routes.post("/api/orders")
async def create_order(request: web.Request) -> web.Response:
    """Creates an order from ``{"item": text, "quantity": number}``: 201, its address, itself."""
    orders = request.app[ORDERS]
    if orders.full:
        return _problem(507, "there are enough orders")
    try:
        wish = json.loads(await request.text())
    except ValueError:
        return _problem(400, "the body is not JSON")
    order = _validated(orders, wish)
    if order is None:
        return _problem(400, 'expected {"item": text, "quantity": 1...}')
    place = {"Location": f"/api/orders/{order.id}"}
    return web.json_response(asdict(order), status=201, headers=place)


def _validated(orders: Orders, wish: object) -> Order | None:
    """The order made from a decoded body, or ``None`` where that makes no sense."""
    if not isinstance(wish, dict):
        return None
    item, quantity = wish.get("item"), wish.get("quantity", 1)
    if not isinstance(item, str) or not 0 < len(item) <= MAX_ITEM_CHARACTERS:
        return None
    if type(quantity) is not int or quantity < 1:  # a bool is an int
        return None
    return orders.create(item, quantity)


@routes.get("/api/orders/{order_id}")
async def read_order(request: web.Request) -> web.Response:
    """The order, or 404."""
    order = request.app[ORDERS].get(request.match_info["order_id"])
    return _problem(404, "no such order") if order is None else web.json_response(asdict(order))


@routes.delete("/api/orders/{order_id}")
async def delete_order(request: web.Request) -> web.Response:
    """204, or 404."""
    if not request.app[ORDERS].delete(request.match_info["order_id"]):
        return _problem(404, "no such order")
    return web.Response(status=204)


def _problem(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
