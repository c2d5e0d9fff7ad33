"""Endpoints for operators, on a listener of their own: health, readiness, metrics, changes."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from sidecar.endpoints.admin_api import PREFIX, AdminApi
from sidecar.endpoints.admin_reading import LARGEST_BYTES

# What is still missing before traffic should come; "" when nothing is.
Unready = Callable[[], Awaitable[str]]
# All metrics in the Prometheus text format.
Scrape = Callable[[], bytes]
_EXPOSITION: Final = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


class AdminEndpoints:
    """The endpoints.

    Args:
        unready: tells what is missing.
        scrape: gives the metrics.
        api: changes; None where nobody may make any.
    """

    def __init__(self, unready: Unready, scrape: Scrape, api: AdminApi | None = None) -> None:
        self._unready = unready
        self._scrape = scrape
        self._api = api

    def application(self) -> web.Application:
        """The application that serves them."""
        application = web.Application(client_max_size=LARGEST_BYTES)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        if self._api is not None:
            application.add_subapp(PREFIX, self._api.application())
        return application

    async def _healthz(self, _request: web.Request) -> web.Response:
        """The loop turns: that is all that restarting could mend."""
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        """Whether traffic should be sent here."""
        missing = await self._unready()
        if missing:
            return web.Response(status=503, text=f"not ready: {missing}\n")
        return web.Response(text="ready\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._scrape(), headers=_EXPOSITION)
