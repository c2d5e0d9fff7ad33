"""The whole sidecar, as in the folder beside this one."""

from tests.integration.whole.conftest import pytest_asyncio_loop_factories, start

__all__ = ["pytest_asyncio_loop_factories", "start"]
