"""PostgreSQL, where the truth is: schema, reading facts, making changes, the outbox.

Each change of something that a decision may depend on takes the next sequence of its shard, in
triggers (`migrations/0002_sequences.sql`), so that changes by plain SQL count as ours do.
"""
