"""Segmentations as arrays and affines: tissues, resampling, registration and checks."""
