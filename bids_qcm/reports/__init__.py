"""Figures, report pages and methods text; figures do not use pyplot, which has global state."""
