"""Endpoints for operators, on a listener of their own: health, readiness, metrics."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

IsReady = Callable[[], str]
Scrape = Callable[[], bytes]
_IS_READY: Final = web.AppKey("is_ready", IsReady)
_SCRAPE: Final = web.AppKey("scrape", Scrape)


def admin_application(is_ready: IsReady, scrape: Scrape) -> web.Application:
    """The application.

    Args:
        is_ready: what is still missing before traffic should come; ``""`` when nothing is.
        scrape: all metrics in the Prometheus text format.
    """
    application = web.Application()
    application[_IS_READY] = is_ready
    application[_SCRAPE] = scrape
    application.router.add_get("/healthz", _healthz)
    application.router.add_get("/readyz", _readyz)
    application.router.add_get("/metrics", _metrics)
    return application


async def _healthz(_request: web.Request) -> web.Response:
    """The loop turns: that is all that restarting could mend."""
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    """Whether traffic should be sent here."""
    missing = request.app[_IS_READY]()
    if missing:
        return web.Response(status=503, text=f"not ready: {missing}\n")
    return web.Response(text="ready\n")


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=request.app[_SCRAPE](),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )
