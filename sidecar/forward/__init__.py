"""One HTTP exchange with the upstream: only a `Permit` opens it."""
