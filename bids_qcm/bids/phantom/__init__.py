"""The phantom as a BIDS dataset: write the dataset, read the true maps, and score maps."""
