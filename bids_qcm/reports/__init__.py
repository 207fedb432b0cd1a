"""Figures; from arrays, with matplotlib's figures but not its state (pyplot)."""
