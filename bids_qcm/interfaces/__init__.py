"""Thin nipype interfaces between files and the functions that compute with arrays."""
