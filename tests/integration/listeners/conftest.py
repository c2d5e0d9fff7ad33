"""The product runs on uvloop, so do the tests of its listeners. Certificates are made anew."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from sidecar.settings.schema import Tls
from tests.certificates import Authority


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Who vouches for everybody."""
    return Authority()


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> Tls:
    """A listener's files."""
    certificate, key = authority.server().write(tmp_path, "server")
    return Tls(certificate=certificate, key=key)
