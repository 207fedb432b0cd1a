"""Conductivity from the phase at echo time zero, computed on arrays.

>>> from bids_qcm.recon import METHODS, reconstruct
>>> sorted(METHODS)[:2]
['integral', 'integral-fd']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bids_qcm.recon.methods import METHODS, Method

if TYPE_CHECKING:
    from bids_qcm.recon.b1 import model_b1
    from bids_qcm.recon.b1_smoothing import smooth_b1
    from bids_qcm.recon.linear_phase import LinearPhase, estimate_linear_phase
    from bids_qcm.recon.reconstruction import Reconstruction, reconstruct
    from bids_qcm.recon.sign import SignDecision, determine_sign

# Modules that define the names above. A module is imported when one of its names is first used
# (PEP 562), because numba and SciPy take a second to import and the command line needs only the
# table of methods.
_MODULES = {
    "LinearPhase": "linear_phase",
    "Reconstruction": "reconstruction",
    "SignDecision": "sign",
    "determine_sign": "sign",
    "estimate_linear_phase": "linear_phase",
    "model_b1": "b1",
    "reconstruct": "reconstruction",
    "smooth_b1": "b1_smoothing",
}

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


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
