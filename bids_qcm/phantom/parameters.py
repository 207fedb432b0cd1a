"""Parameters of a phantom, and parameters of a phantom study."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO

SPIN_ECHO_TIME = 0.08
"""Default echo time of a spin echo in s. It appears in the sidecar but has no effect on the images.
"""

PhaseScaling = Literal["rad", "unsigned12", "siemens", "milliradian"]
PHASE_SCALINGS: tuple[str, ...] = get_args(PhaseScaling)

ForwardModel = Literal["convection-reaction", "laplacian", "full-wave"]
FORWARD_MODELS: tuple[str, ...] = get_args(ForwardModel)

ReceiveCoil = Literal["birdcage", "array"]
RECEIVE_COILS: tuple[str, ...] = get_args(ReceiveCoil)


def _require_between(name: str, value: float, low: float, high: float, unit: str) -> None:
    """Raise a ValueError unless a parameter is in its range."""
    # The negated comparison also rejects NaN.
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g} {unit}, not {value:g}")


def _require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


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
    """Parameters of one phantom.

    Parameters
    ----------
    resolution
        Isotropic voxel size, in mm, from 0.5 to 10.
    snr
        Mean magnitude of the first echo in the brain, divided by the standard deviation of the
        noise in the real and the imaginary channels. `inf` means no noise.
    echo_times
        Increasing echo times in s. Two or more echo times create a multi-echo gradient echo. With
        one echo time or none, a spin echo is created, without off-resonance phase and T2* decay.
    off_resonance
        Maximum absolute off-resonance frequency in the brain, in Hz.
    field_strength
        Field strength B0, in T, from 0.1 to 20.
    forward_model
        Model for computing the phase from the conductivity. `full-wave` solves Maxwell's equations
        for a head in a coil; see `bids_qcm.phantom.fullwave`. For the other models, see
        `bids_qcm.phantom.forward.transceive_phase`.
    receive
        Receive coil of the full-wave model: the birdcage coil that transmits, or an array of
        surface coils whose signals are added after their relative phases have been removed.
    lesion
        Whether the head has a spherical tumour in the left centrum semiovale.
    lesion_diameter
        Diameter of the tumour, in mm, from 4 to 40.
    lesion_conductivity
        Conductivity of the tumour and of the small lesions at any field strength, in S/m, from 0.01
        to 10.
    small_lesions
        Whether the head has small lesions: three for each of the diameters 4, 6, 8, 12 and 16 mm.
        The labels do not contain the small lesions.
    tissue_variation
        Standard deviation of the conductivity within each tissue, as a fraction of its mean, from
        0 to 0.3.
    anatomy_seed
        Seed for the positions of the small lesions and for the conductivity variation; not
        negative.
    seed
        Seed for the noise; not negative.
    phase_scaling
        Storage format of the phase in files; see `bids_qcm.phantom.scaling.scale_phase`. The phase
        arrays of a phantom are always in rad.
    phase_sign
        Phase sign of the scanner: +1 or -1.

    Raises
    ------
    ValueError
        If a parameter is out of range. The message contains the name, range and unit of the
        parameter.
    """

    resolution: float = 2.0
    snr: float = 50.0
    echo_times: tuple[float, ...] = ()
    off_resonance: float = 30.0
    field_strength: float = 3.0
    forward_model: ForwardModel = "convection-reaction"
    receive: ReceiveCoil = "birdcage"
    lesion: bool = False
    lesion_diameter: float = 20.0
    lesion_conductivity: float = 0.9
    small_lesions: bool = False
    tissue_variation: float = 0.0
    anatomy_seed: int = 0
    seed: int = 0
    phase_scaling: PhaseScaling = "rad"
    phase_sign: int = 1

    def __post_init__(self) -> None:
        _require_between("resolution", self.resolution, 0.5, 10, "mm")
        _require_between("off-resonance", self.off_resonance, 0, 10_000, "Hz")
        _require_between("field strength", self.field_strength, 0.1, 20, "T")
        _require_between("lesion diameter", self.lesion_diameter, 4, 40, "mm")
        _require_between("lesion conductivity", self.lesion_conductivity, 0.01, 10, "S/m")
        _require_between("tissue variation", self.tissue_variation, 0, 0.3, "(a fraction)")
        _require_one_of("forward model", self.forward_model, FORWARD_MODELS)
        _require_one_of("receive coil", self.receive, RECEIVE_COILS)
        if self.receive != "birdcage" and self.forward_model != "full-wave":
            raise ValueError(
                f"receive coil '{self.receive}' requires the full-wave forward model, not "
                f"'{self.forward_model}'"
            )
        _require_one_of("phase scaling", self.phase_scaling, PHASE_SCALINGS)
        _check_echo_times(self.echo_times)
        if not self.snr > 0:
            raise ValueError(f"SNR must be above 0 (inf for no noise), not {self.snr:g}")
        for name, seed in (("seed", self.seed), ("anatomy seed", self.anatomy_seed)):
            if seed < 0:
                raise ValueError(f"{name} must not be negative, but is {seed}")
        if self.phase_sign not in (1, -1):
            raise ValueError(f"phase sign must be 1 or -1, not {self.phase_sign}")

    @property
    def frequency(self) -> float:
        """Larmor frequency in Hz."""
        return self.field_strength * PROTON_GYROMAGNETIC_RATIO

    @property
    def is_gradient_echo(self) -> bool:
        """Whether the echoes are gradient echoes rather than one spin echo."""
        return len(self.echo_times) > 1


@dataclass(frozen=True)
class StudyParameters:
    """Parameters of a study.

    Parameters
    ----------
    participants, sessions
        Number of participants, and number of sessions of each participant.
    group_effect
        Relative difference in white-matter conductivity between patients and controls.
    subject_sd
        Standard deviation of the conductivity between participants, as a fraction of the mean, for
        gray matter, white matter and fluid independently.
    lesion_change
        Relative change in lesion conductivity from each session to the next.
    deformation
        Standard deviation of the anatomical displacement along each axis, mm.
    movement
        Maximum translation along each axis (mm) and maximum rotation about each axis (degrees), in
        all sessions after the first.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    participants: int = 8
    sessions: int = 2
    group_effect: float = 0.15
    subject_sd: float = 0.03
    lesion_change: float = 0.2
    deformation: float = 3.0
    movement: float = 2.0

    def __post_init__(self) -> None:
        _require_between("number of participants", self.participants, 1, 999, "")
        _require_between("number of sessions", self.sessions, 1, 99, "")
        _require_between("group effect", self.group_effect, -0.5, 1, "(a fraction)")
        _require_between("spread between participants", self.subject_sd, 0, 0.2, "(a fraction)")
        _require_between("lesion change", self.lesion_change, -0.5, 1, "(a fraction)")
        _require_between("deformation", self.deformation, 0, 5, "mm")
        _require_between("movement", self.movement, 0, 5, "mm and degrees")


def scan_parameters(
    parameters: PhantomParameters, study: StudyParameters, number: int, session: int
) -> PhantomParameters:
    """Return the parameters of a scan: its noise seed and its lesion conductivity.

    Parameters
    ----------
    parameters, study
        Parameters of the first scan, and parameters of the study.
    number, session
        Number of the participant and number of the session, both counted from 0.

    Raises
    ------
    ValueError
        If the lesion conductivity is out of range, or if `parameters` specify a variation within
        tissues.
    """
    if parameters.tissue_variation > 0:
        raise ValueError("tissue variation is not available in a study with sessions")
    return replace(
        parameters,
        seed=parameters.seed + number * study.sessions + session,
        lesion_conductivity=parameters.lesion_conductivity * (1 + study.lesion_change) ** session,
    )
