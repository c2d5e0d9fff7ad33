"""Real PostgreSQL and Valkey servers from wheels, in one folder, ending with their parent.

For ``sidecar up`` and for the tests. They listen on free ports of 127.0.0.1, ask for a random
password, and find again what they stored in the same folder. Start them from a thread that lives
as long as they should: Linux sends the death signal when the *thread* that forked ends.
"""

from sidecar.embedded.spawn import EmbeddedError
from sidecar.embedded.stack import EmbeddedStack

__all__ = ["EmbeddedError", "EmbeddedStack"]
