"""Figures (without pyplot, which has global state), report pages and methods text."""
