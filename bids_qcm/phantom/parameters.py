"""What a phantom is made from."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO

SPIN_ECHO_TIME = 0.08
"""The echo time of the spin echo when none is given, s; only the sidecar shows it."""

PhaseScaling = Literal["rad", "unsigned12", "siemens", "milliradian"]
PHASE_SCALINGS: tuple[str, ...] = get_args(PhaseScaling)


def _require_between(name: str, value: float, low: float, high: float, unit: str) -> None:
    # Written as a negation so that NaN fails too.
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g} {unit}, not {value:g}")


def _check_echo_times(echo_times: tuple[float, ...]) -> None:
    for echo_time in echo_times:
        if not 0 < echo_time <= 1:
            raise ValueError(
                f"echo times are in seconds, as in BIDS, and must be above 0 and at most 1, "
                f"not {echo_time:g}"
            )
    if any(later <= earlier for earlier, later in pairwise(echo_times)):
        raise ValueError("echo times must increase from one echo to the next")


@dataclass(frozen=True)
class PhantomParameters:
    """The parameters of one phantom.

    Parameters
    ----------
    resolution
        Isotropic voxel size, mm, from 0.5 to 10.
    snr
        Mean magnitude of the first echo in the brain over the standard deviation of the noise in
        each of the real and imaginary channels. `inf` means no noise.
    echo_times
        Echo times, s, increasing. Two or more make a gradient-echo series; none or one make a spin
        echo, which has neither off-resonance phase nor T2* decay.
    off_resonance
        Largest absolute off-resonance frequency in the brain, Hz.
    field_strength
        B0, T, from 0.1 to 20.
    seed
        Of the noise; not negative.
    phase_scaling
        How a file stores the phase, see `bids_qcm.phantom.scaling.scale_phase`. The arrays of a
        phantom are in rad whatever it says.
    phase_sign
        +1 or -1: the scanner's sign of the phase.

    Raises
    ------
    ValueError
        A parameter is out of its range; the message names it, its unit and the range.
    """

    resolution: float = 2.0
    snr: float = 50.0
    echo_times: tuple[float, ...] = ()
    off_resonance: float = 30.0
    field_strength: float = 3.0
    seed: int = 0
    phase_scaling: PhaseScaling = "rad"
    phase_sign: int = 1

    def __post_init__(self) -> None:
        _require_between("resolution", self.resolution, 0.5, 10, "mm")
        _require_between("off-resonance", self.off_resonance, 0, 10_000, "Hz")
        _require_between("field strength", self.field_strength, 0.1, 20, "T")
        _check_echo_times(self.echo_times)
        if not self.snr > 0:
            raise ValueError(f"SNR must be above 0 (inf for no noise), not {self.snr:g}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, but is {self.seed}")
        if self.phase_scaling not in PHASE_SCALINGS:
            raise ValueError(
                f"phase scaling must be one of {', '.join(PHASE_SCALINGS)}, "
                f"not {self.phase_scaling!r}"
            )
        if self.phase_sign not in (1, -1):
            raise ValueError(f"phase sign must be 1 or -1, not {self.phase_sign}")

    @property
    def frequency(self) -> float:
        """Larmor frequency, Hz."""
        return self.field_strength * PROTON_GYROMAGNETIC_RATIO

    @property
    def is_gradient_echo(self) -> bool:
        """Whether the echoes are gradient echoes rather than one spin echo."""
        return len(self.echo_times) > 1
