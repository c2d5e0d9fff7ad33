"""Names of every metric once, and counting that costs next to nothing on the hot path."""
