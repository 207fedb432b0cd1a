"""Full-wave simulation of B1+ and B1- of a head in a coil, with a volume integral equation."""
