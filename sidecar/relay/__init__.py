"""A WebSocket session: its handshake, its frames, and who may still use it."""
