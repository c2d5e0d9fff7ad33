"""A fleet in virtual time: many followers in one process, a bus that loses, a Redis that fails."""
