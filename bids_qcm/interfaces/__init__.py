"""Thin nipype interfaces: files in, files out, the work done elsewhere."""
