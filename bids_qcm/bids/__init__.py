"""BIDS input and output: find and read images, name and write derivatives."""
