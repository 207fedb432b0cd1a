"""A numerical head whose conductivity is known: anatomy, tissue table, forward model and noise.

Arrays only. The entry points are `bids_qcm.phantom.parameters.PhantomParameters` and
`bids_qcm.phantom.make.make_phantom`; nothing is imported here, so that a command line can read the
parameters without loading the numerical libraries.
"""
