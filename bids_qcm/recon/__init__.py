"""Conductivity from the phase at echo time zero: arrays in, arrays out.

>>> from bids_qcm.recon import METHODS, reconstruct
>>> sorted(METHODS)[:2]
['integral', 'integral-fd']
"""

from bids_qcm.recon.b1 import model_b1
from bids_qcm.recon.b1_smoothing import smooth_b1
from bids_qcm.recon.linear_phase import LinearPhase, estimate_linear_phase
from bids_qcm.recon.methods import METHODS, Method
from bids_qcm.recon.reconstruction import Reconstruction, reconstruct
from bids_qcm.recon.sign import SignDecision, determine_sign

__all__ = [
    "METHODS",
    "LinearPhase",
    "Method",
    "Reconstruction",
    "SignDecision",
    "determine_sign",
    "estimate_linear_phase",
    "model_b1",
    "reconstruct",
    "smooth_b1",
]
