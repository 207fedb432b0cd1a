"""Maxwell's equations for a head in a coil: B1+ and B1- from a volume integral equation."""
