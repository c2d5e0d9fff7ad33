"""Which route a request belongs to: templates, and a table of them that never changes."""
