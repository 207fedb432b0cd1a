"""Numerical head phantom with known conductivity: anatomy, tissues, forward model and noise.

This package works on arrays and does not read or write images. The entry points are
`bids_qcm.phantom.parameters.PhantomParameters` and `bids_qcm.phantom.make.make_phantom`. Nothing is
imported here, so that a command line can read the parameters without loading the numerical
libraries.
"""
