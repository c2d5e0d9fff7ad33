"""Bounded memory for facts: regions, expiry, the lease; and the sharing of loads in flight."""
