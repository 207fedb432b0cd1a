"""The dataset's language: what goes in, what comes out, and what both are called."""
