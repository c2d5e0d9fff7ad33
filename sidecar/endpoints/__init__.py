"""Our own HTTP applications: one for clients, one for operators. Plain aiohttp."""
