"""The phantom as a BIDS dataset: write it, read its truth, and score maps of it."""
