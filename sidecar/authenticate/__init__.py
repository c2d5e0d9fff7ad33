"""Who is asking: exactly one credential, and what it proves."""
