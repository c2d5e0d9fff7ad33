"""Bytes of a head -> a head, or a refusal. Pure; one reading of every message."""
