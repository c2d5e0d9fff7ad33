"""What one figure per peer cannot tell: latency at a pace, a full pool, a crowd of users."""
