"""Quantitative conductivity mapping from the phase of ordinary MRI, as a BIDS App."""

from importlib.metadata import version

__version__ = version("bids-qcm")
