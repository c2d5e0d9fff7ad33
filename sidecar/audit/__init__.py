"""What was decided, written down: one record for each exchange, also for what broke."""
