"""Those who sign in: issuing and revoking sessions."""

from sidecar.accounts.sessions import IssuedSession, Sessions

__all__ = ["IssuedSession", "Sessions"]
