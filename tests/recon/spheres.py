"""B1+ of a homogeneous sphere, whose conductivity is known from Maxwell's equations."""

import numpy as np
from scipy.special import spherical_jn

from bids_qcm.physics import VACUUM_PERMEABILITY, VACUUM_PERMITTIVITY

RADIUS = 85.0
FREQUENCY = 127.74e6


class Sphere:
    """B1+ of a homogeneous sphere of 85 mm radius in a uniform rotating field.

    The solution of Maxwell's equations is ``B1+ = j0(kr) + j2(kr) (1.5 sin^2(theta) - 1) / 2``, up
    to a factor.
    """

    def __init__(self, size, conductivity=0.5, permittivity=60.0):
        n = int(RADIUS / size) + 2
        self.x = x = np.mgrid[-n : n + 1, -n : n + 1, -n : n + 1] * size * 1e-3
        r = np.sqrt((x**2).sum(axis=0))
        omega = 2 * np.pi * FREQUENCY
        k = np.sqrt(
            omega**2 * VACUUM_PERMEABILITY * permittivity * VACUUM_PERMITTIVITY
            - 1j * omega * VACUUM_PERMEABILITY * conductivity
        )
        sine = 1 - np.divide(x[2], r, out=np.zeros_like(r), where=r > 0) ** 2
        field = spherical_jn(0, k * r) + spherical_jn(2, k * r) * (1.5 * sine - 1) / 2
        self.inside = r * 1e3 <= RADIUS
        self.depth = RADIUS - r * 1e3
        self.b1 = np.abs(field)
        # the phase changes by less than half a cycle from the centre to the surface
        self.phase = np.angle(field / field[n, n, n])
        self.keywords = {
            "voxel_size": size,
            "frequency": FREQUENCY,
            "mask": self.inside,
            "phase_type": "transmit",
            "sign": "auto",
        }

    def median(self, values, shallowest, deepest=np.inf):
        """Return the median over a range of depths below the surface, in mm."""
        return float(np.nanmedian(values[(self.depth >= shallowest) & (self.depth < deepest)]))
