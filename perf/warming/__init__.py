"""Benchmarks of loading ahead: cold requests, changes, sign-ins, starts."""
