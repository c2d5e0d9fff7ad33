"""What must not become slower: ratios that are measured in a minute and held by `limits.json`."""
