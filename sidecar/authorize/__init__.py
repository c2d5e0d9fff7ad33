"""Whether: roles, grants and rules; the only maker of `Permit`."""
