"""Benchmarks of memory and its news: where answers come from, how soon revocations arrive."""
