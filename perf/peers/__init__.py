"""The proxies that are compared, each started and stopped by one context manager."""
