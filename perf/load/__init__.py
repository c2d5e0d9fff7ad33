"""What makes the load and what answers it."""
