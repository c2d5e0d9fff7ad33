"""Puts the demo application together."""

import asyncio

from aiohttp import web

from sidecar.demo import orders, page, streams

routes = web.RouteTableDef()


@routes.get("/healthz")
async def health(_: web.Request) -> web.Response:
    """That it runs."""
    return web.json_response({"status": "ok"})


def create_application(event_seconds: float = 1.0) -> web.Application:
    """The application, with a few orders in it.

    Args:
        event_seconds: time between two events of ``/events``.
    """
    application = web.Application()
    application[orders.ORDERS] = orders.seeded()
    application[streams.STOPPING] = asyncio.Event()
    application[streams.EVENT_SECONDS] = event_seconds
    for table in (routes, orders.routes, streams.routes, page.routes):
        application.add_routes(table)
    application.on_shutdown.append(_stop)
    return application


async def _stop(application: web.Application) -> None:
    application[streams.STOPPING].set()
