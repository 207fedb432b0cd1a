"""Command-line interface: the commands ``bids-qcm`` and ``bids-qcm-phantom``."""
