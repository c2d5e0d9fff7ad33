"""Connections of clients: accepting, reading heads and bodies, limits, draining."""
