"""Computation of the phase at echo time zero from magnitude and phase arrays."""

from bids_qcm.phase.masking import signal_mask
from bids_qcm.phase.noise import acquired_frequencies, noise_level
from bids_qcm.phase.phi0 import Phi0, compute_phi0
from bids_qcm.phase.radians import PhaseUnits, PhaseUnitsError, recognise_units, to_radians

__all__ = [
    "PhaseUnits",
    "PhaseUnitsError",
    "Phi0",
    "acquired_frequencies",
    "compute_phi0",
    "noise_level",
    "recognise_units",
    "signal_mask",
    "to_radians",
]
