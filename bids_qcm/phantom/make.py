"""Creation of a phantom from its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bids_qcm.phantom.anatomy import Anatomy, make_anatomy
from bids_qcm.phantom.conductivity import conductivity_map, permittivity_map
from bids_qcm.phantom.deformation import Warp
from bids_qcm.phantom.forward import transceive_phase
from bids_qcm.phantom.fullwave import imaging
from bids_qcm.phantom.fullwave.cache import cached_fields
from bids_qcm.phantom.fullwave.fields import CircularFields, interpolate
from bids_qcm.phantom.image import add_noise, make_signal, to_magnitude_and_phase
from bids_qcm.phantom.parameters import PhantomParameters

FINEST_FULL_WAVE = 2.0
"""Minimum voxel size, in mm, of the grid on which Maxwell's equations are solved."""


@dataclass(frozen=True, eq=False)
class Subject:
    """Differences between the head of a participant and the template.

    Parameters
    ----------
    warp
        Deformation of the anatomy and movement of the head.
    tissue_factors
        Factor by which the conductivity of a tissue is multiplied, by its abbreviation.
    """

    warp: Warp
    tissue_factors: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Head:
    """True anatomy, conductivity, phase and fields of a phantom, independent of the scanner.

    Parameters
    ----------
    anatomy
        Tissues and lesions.
    conductivity
        Conductivity in S/m, (X, Y, Z) float64; 0 outside the head.
    phi0
        Unwrapped transceive phase at echo time zero in rad, (X, Y, Z) float64; 0 outside the head.
        Its Laplacian is positive, regardless of the scanner's phase sign.
    fields
        B1+ and B1- of the full-wave model, relative to the centre of the brain; None for the other
        forward models.
    """

    anatomy: Anatomy
    conductivity: np.ndarray
    phi0: np.ndarray
    fields: CircularFields | None = None


@dataclass(frozen=True, eq=False)
class Phantom:
    """Simulated images of a head with known conductivity.

    Parameters
    ----------
    magnitude
        Magnitude images, one (X, Y, Z) float32 array per echo. Without decay, the magnitude of CSF
        is about 1.
    phase
        Wrapped phase images in rad with the scanner's phase sign, one (X, Y, Z) float32 array per
        echo.
    head
        True anatomy, conductivity and phase.
    frequency
        Larmor frequency in Hz.
    b1_map
        Simulated measurement of the magnitude of B1+. Without the full-wave model, B1+ is constant.
    """

    magnitude: list[np.ndarray]
    phase: list[np.ndarray]
    head: Head
    frequency: float
    b1_map: imaging.B1Map

    @property
    def phi0(self) -> np.ndarray:
        """True phase at echo time zero in rad, (X, Y, Z); see `Head`."""
        return self.head.phi0

    @property
    def conductivity(self) -> np.ndarray:
        """True conductivity in S/m, (X, Y, Z); see `Head`."""
        return self.head.conductivity

    @property
    def labels(self) -> np.ndarray:
        """Tissue indices, (X, Y, Z) uint8; see `bids_qcm.phantom.tissues.TISSUES`."""
        return self.head.anatomy.labels

    @property
    def mask(self) -> np.ndarray:
        """Brain mask, (X, Y, Z) bool."""
        return self.head.anatomy.brain

    @property
    def affine(self) -> np.ndarray:
        """Affine from voxel indices to MNI152 coordinates in mm (RAS axes), (4, 4) float64."""
        return self.head.anatomy.grid.affine

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Voxel size in mm."""
        return (self.head.anatomy.grid.resolution,) * 3


def make_head(parameters: PhantomParameters, subject: Subject | None = None) -> Head:
    """Create the head of a phantom.

    This is the slowest step. The head can be reused for several scanner settings.

    Parameters
    ----------
    parameters
        Parameters of the phantom. The scanner parameters (noise, echoes, phase scaling and phase
        sign) are ignored.
    subject
        Participant of a study; None for the template.

    Returns
    -------
    Head
        True anatomy, conductivity, phase and fields.
    """
    anatomy, conductivity = _make_tissues(parameters, parameters.resolution, subject)
    if parameters.forward_model == "full-wave":
        fields = _make_fields(parameters, anatomy, conductivity, subject)
        phi0 = imaging.transceive_phase(fields, conductivity > 0, anatomy.brain)
        return Head(anatomy, conductivity, phi0, fields)
    voxel_size = (parameters.resolution,) * 3
    phi0 = transceive_phase(
        conductivity, voxel_size, parameters.frequency, parameters.forward_model
    )
    return Head(anatomy, conductivity, phi0)


def _make_tissues(
    parameters: PhantomParameters, resolution: float, subject: Subject | None = None
) -> tuple[Anatomy, np.ndarray]:
    """Return the anatomy and the conductivity at a given resolution."""
    places, variation = np.random.default_rng(parameters.anatomy_seed).spawn(2)
    anatomy = make_anatomy(
        resolution,
        tumour_diameter=parameters.lesion_diameter if parameters.lesion else 0.0,
        small_lesions_rng=places if parameters.small_lesions else None,
        warp=subject.warp if subject else None,
    )
    conductivity = conductivity_map(
        anatomy,
        parameters.frequency,
        parameters.lesion_conductivity,
        parameters.tissue_variation,
        variation,
        subject.tissue_factors if subject else None,
    )
    return anatomy, conductivity


def _make_fields(
    parameters: PhantomParameters,
    anatomy: Anatomy,
    conductivity: np.ndarray,
    subject: Subject | None,
) -> CircularFields:
    """Solve Maxwell's equations, on a coarser grid if the grid of the anatomy is very fine."""
    solved = anatomy
    if parameters.resolution < FINEST_FULL_WAVE:
        solved, conductivity = _make_tissues(parameters, FINEST_FULL_WAVE, subject)
    permittivity = permittivity_map(solved, conductivity, parameters.frequency)
    fields = cached_fields(permittivity, solved.grid, parameters.frequency, parameters.receive)
    if solved is not anatomy:
        fields = interpolate(fields, solved.grid, anatomy.grid)
    return imaging.relative_to_centre(fields, anatomy.brain, anatomy.grid)


def make_phantom(parameters: PhantomParameters, head: Head | None = None) -> Phantom:
    """Create a phantom. The same parameters always create the same phantom.

    Parameters
    ----------
    parameters
        Parameters of the phantom.
    head
        Head from :func:`make_head`. Pass it to simulate several scanner settings for one head; None
        creates a new head.

    Returns
    -------
    Phantom
        Simulated images and the true conductivity.
    """
    if head is None:
        head = make_head(parameters)
    rng = np.random.default_rng(parameters.seed)
    images = _acquire(parameters, head, rng)
    magnitude, phase = zip(*(to_magnitude_and_phase(image) for image in images), strict=True)
    inside = head.conductivity > 0
    b1 = inside.astype(float) if head.fields is None else np.abs(head.fields.transmit)
    b1_map = imaging.measure_b1_map(b1, inside, head.anatomy.grid, rng)
    return Phantom(list(magnitude), list(phase), head, parameters.frequency, b1_map)


def _acquire(
    parameters: PhantomParameters, head: Head, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the noisy complex images, one for each echo."""
    echo_times = parameters.echo_times if parameters.is_gradient_echo else (None,)
    weighting = None if head.fields is None else imaging.signal_weighting(head.fields)
    signals = [
        make_signal(head.anatomy, head.phi0, echo_time, parameters.off_resonance, weighting)
        for echo_time in echo_times
    ]
    if parameters.phase_sign < 0:
        signals = [signal.conj() for signal in signals]
    sd = np.abs(signals[0][head.anatomy.brain]).mean() / parameters.snr
    return [add_noise(signal, sd, rng) for signal in signals]
