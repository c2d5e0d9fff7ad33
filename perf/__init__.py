"""Benchmarks: CPU per request beside other proxies, in one interleaved run. ``python -m perf``."""
