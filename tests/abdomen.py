"""An abdomen of simple shapes: organs in fat, inside a wall of muscle and subcutaneous fat."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_qcm.dispersions import FAT, KIDNEY, LIVER, MUSCLE, SMALL_INTESTINE, SPLEEN
from bids_qcm.phantom.forward import transceive_phase

FREQUENCY = 127.74e6

# name, dispersion and signal of each tissue, by label
TISSUES = {
    1: ("torso_fat", FAT, 1.4),
    2: ("skeletal_muscle", MUSCLE, 0.7),
    3: ("liver", LIVER, 1.0),
    4: ("spleen", SPLEEN, 0.8),
    5: ("kidney_left", KIDNEY, 0.9),
    6: ("kidney_right", KIDNEY, 0.9),
    7: ("small_bowel", SMALL_INTESTINE, 0.8),
}


@dataclass
class Abdomen:
    """Labels, and the complex signal of one echo at which the phases of fat and water differ."""

    labels: np.ndarray
    signal: np.ndarray
    voxel_size: float
    frequency: float = FREQUENCY

    @property
    def affine(self):
        return np.diag([self.voxel_size] * 3 + [1.0])

    @property
    def names(self):
        return {label: name for label, (name, _, _) in TISSUES.items()}


def make_abdomen(seed, *, voxel_size=6.0, snr=40, sign=1, in_phase=False):
    """Return an abdomen; the seed determines the organs, the phase of fat and the noise.

    The phase of fat relative to water is random, as at an arbitrary echo time, or 0 for in-phase
    fat.
    """
    rng = np.random.default_rng(seed)
    labels = _labels(rng, voxel_size)
    sigma = np.zeros(labels.shape)
    fat, water = np.zeros((2, *labels.shape))
    for label, (_, dispersion, signal) in TISSUES.items():
        sigma[labels == label] = dispersion.conductivity(FREQUENCY)
        (fat if label == 1 else water)[labels == label] = signal
    phi0 = sign * transceive_phase(sigma, (voxel_size,) * 3, FREQUENCY, "laplacian")
    # voxels at borders contain fat and water
    fat, water = (ndimage.gaussian_filter(one, 0.5) for one in (fat, water))
    shift = 0 if in_phase else rng.uniform(-np.pi, np.pi)
    signal = (water + fat * np.exp(1j * shift)) * np.exp(1j * phi0) * (labels > 0)
    noise = rng.normal(size=(2, *labels.shape)) / snr
    return Abdomen(labels, signal + noise[0] + 1j * noise[1], voxel_size)


def _labels(rng, voxel_size):
    shape = tuple(int(extent / voxel_size) for extent in (360, 260, 200))
    axes = [(np.arange(n) - (n - 1) / 2) * voxel_size for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")

    def ellipsoid(centre, radii):
        moved = np.asarray(centre) + rng.uniform(-8, 8, 3)
        grown = np.asarray(radii) * rng.uniform(0.85, 1.15, 3)
        away = zip((x, y, z), moved, grown, strict=True)
        return sum(((one - m) / r) ** 2 for one, m, r in away) < 1

    def trunk(margin):
        return (x / (170 - margin)) ** 2 + (y / (120 - margin)) ** 2 < 1

    labels = np.zeros(shape, np.int16)
    labels[trunk(0)] = 1
    layer = rng.uniform(12, 28)
    labels[trunk(layer) & ~trunk(layer + 15)] = 2
    inside = trunk(layer + 15)
    labels[inside & ellipsoid((0, -75, 0), (60, 25, 300))] = 2  # muscles of the back
    for _ in range(8):
        centre = rng.uniform((-80, -20, -80), (80, 60, 20))
        labels[inside & ellipsoid(centre, (22, 22, 22))] = 7
    labels[inside & ellipsoid((55, 15, 40), (70, 60, 60))] = 3
    labels[inside & ellipsoid((-85, -15, 40), (28, 35, 45))] = 4
    labels[inside & ellipsoid((-60, -50, -20), (28, 26, 52))] = 5
    labels[inside & ellipsoid((60, -50, -20), (28, 26, 52))] = 6
    return labels
