"""Segmentations as arrays and affines: tissues, resampling, registration, checks."""
