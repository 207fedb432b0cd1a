"""Checks of input images and of conductivity maps. This package works on arrays only."""
