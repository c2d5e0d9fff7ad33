"""What a sidecar takes to start, and how much memory it keeps."""
