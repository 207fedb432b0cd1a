"""Auxiliary images of an acquisition: find them, align them to the phase, and read them."""
