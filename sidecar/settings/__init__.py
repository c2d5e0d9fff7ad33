"""The configuration: typed, immutable, and refused as a whole when any of it is wrong."""
