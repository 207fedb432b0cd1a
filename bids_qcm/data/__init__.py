"""Label tables."""
