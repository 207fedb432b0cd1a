"""Make a phantom from its parameters."""

from dataclasses import dataclass

import numpy as np

from bids_qcm.phantom.anatomy import make_labels
from bids_qcm.phantom.forward import transceive_phase
from bids_qcm.phantom.image import add_noise, make_signal, to_magnitude_and_phase
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.phantom.tissues import conductivity_map


@dataclass(frozen=True, eq=False)
class Phantom:
    """Images of a head whose conductivity is known.

    Parameters
    ----------
    magnitude
        One (X, Y, Z) float32 array per echo; the magnitude of CSF is about 1 before decay.
    phase
        One (X, Y, Z) float32 array per echo, rad, wrapped, with the scanner's sign.
    phi0
        True transceive phase at echo time 0, (X, Y, Z) float64, rad, not wrapped; its Laplacian is
        positive whatever the scanner's sign.
    labels
        Tissue indices, (X, Y, Z) uint8, see `bids_qcm.phantom.tissues.TISSUES`.
    conductivity
        True conductivity, (X, Y, Z) float64, S/m; 0 outside the head.
    mask
        Brain mask, (X, Y, Z) bool.
    affine
        (4, 4) float64, voxel indices to MNI152 mm, axes right, anterior, superior.
    voxel_size
        mm.
    frequency
        Larmor frequency, Hz.
    """

    magnitude: list[np.ndarray]
    phase: list[np.ndarray]
    phi0: np.ndarray
    labels: np.ndarray
    conductivity: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    voxel_size: tuple[float, float, float]
    frequency: float


def make_phantom(parameters: PhantomParameters) -> Phantom:
    """Make a phantom; the same parameters give the same phantom.

    Parameters
    ----------
    parameters
        What to make.

    Returns
    -------
    Phantom
        The images and the truth behind them.
    """
    labels, affine = make_labels(parameters.resolution)
    voxel_size = (parameters.resolution,) * 3
    conductivity = conductivity_map(labels, parameters.frequency)
    phi0 = transceive_phase(conductivity, voxel_size, parameters.frequency)
    images = _acquire(parameters, labels, affine, phi0)
    magnitude, phase = zip(*(to_magnitude_and_phase(image) for image in images), strict=True)
    return Phantom(
        magnitude=list(magnitude),
        phase=list(phase),
        phi0=phi0,
        labels=labels,
        conductivity=conductivity,
        mask=labels > 0,
        affine=affine,
        voxel_size=voxel_size,
        frequency=parameters.frequency,
    )


def _acquire(
    parameters: PhantomParameters, labels: np.ndarray, affine: np.ndarray, phi0: np.ndarray
) -> list[np.ndarray]:
    """Return the noisy complex image of every echo."""
    echo_times = parameters.echo_times if parameters.is_gradient_echo else (None,)
    signals = [
        make_signal(labels, affine, phi0, echo_time, parameters.off_resonance)
        for echo_time in echo_times
    ]
    if parameters.phase_sign < 0:
        signals = [signal.conj() for signal in signals]
    sd = np.abs(signals[0][labels > 0]).mean() / parameters.snr
    rng = np.random.default_rng(parameters.seed)
    return [add_noise(signal, sd, rng) for signal in signals]
