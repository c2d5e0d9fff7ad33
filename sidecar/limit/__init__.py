"""How much is let through: rates, and upstreams that fail. Pure: given `now` and values."""
