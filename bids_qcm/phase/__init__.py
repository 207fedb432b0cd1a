"""From images to the phase at echo time zero: arrays in, arrays out."""

from bids_qcm.phase.masking import signal_mask
from bids_qcm.phase.noise import phase_noise
from bids_qcm.phase.phi0 import Phi0, compute_phi0
from bids_qcm.phase.radians import PhaseUnits, PhaseUnitsError, recognise_units, to_radians

__all__ = [
    "PhaseUnits",
    "PhaseUnitsError",
    "Phi0",
    "compute_phi0",
    "phase_noise",
    "recognise_units",
    "signal_mask",
    "to_radians",
]
