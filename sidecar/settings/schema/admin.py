"""`admin`: the listener for those who operate us."""

from typing import Annotated, ClassVar

from msgspec import Meta

from sidecar.settings.schema.base import Settings


class Admin(Settings, frozen=True):
    """Health, metrics and administration; never reachable through the traffic listener."""

    secrets: ClassVar[frozenset[str]] = frozenset({"token"})

    # As of listen.address; the default takes a free port on loopback.
    address: str = "127.0.0.1:0"
    # At a time, with a token or without: of more the oldest is broken off. Probes and scrapes need
    # a few; each takes a descriptor that clients could have.
    connections: Annotated[int, Meta(ge=4, le=1024)] = 64
    # Turns the admin API on (docs/admin-api.md), for whoever presents it: the application shares
    # the loopback interface with us, so being there proves nothing. Secret.
    token: Annotated[str, Meta(min_length=32)] | None = None
    # Or the file that holds it; a relative name starts from the folder of the configuration.
    token_file: str | None = None
