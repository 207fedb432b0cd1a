"""Conductivity and permittivity of tissues as functions of frequency (Gabriel et al. 1996)."""

import math
from dataclasses import dataclass

from bids_qcm.physics import VACUUM_PERMITTIVITY


@dataclass(frozen=True)
class ColeCole:
    """Conductivity and permittivity of a tissue, modelled as a sum of Cole-Cole terms.

    Parameters
    ----------
    permittivity : float
        Relative permittivity at infinite frequency.
    ionic_conductivity : float
        Ionic conductivity in S/m.
    terms : tuple of tuples of 3 floats
        Step of the relative permittivity, relaxation time in s, and broadening of each term.

    References
    ----------
    .. [1] Gabriel S, Lau RW, Gabriel C. The dielectric properties of biological tissues: III.
       Parametric models for the dielectric spectrum of tissues. Phys Med Biol 1996.
       doi:10.1088/0031-9155/41/11/003
    """

    permittivity: float
    ionic_conductivity: float
    terms: tuple[tuple[float, float, float], ...]

    def conductivity(self, frequency: float) -> float:
        """Return the conductivity in S/m at a frequency in Hz."""
        omega = 2 * math.pi * frequency
        polarisation = self._polarisation(omega)
        return self.ionic_conductivity - omega * VACUUM_PERMITTIVITY * polarisation.imag

    def relative_permittivity(self, frequency: float) -> float:
        """Return the relative permittivity at a frequency in Hz."""
        return self._polarisation(2 * math.pi * frequency).real

    def _polarisation(self, omega: float) -> complex:
        """Return the complex relative permittivity without the ionic conductivity."""
        return self.permittivity + sum(
            step / (1 + (1j * omega * time) ** (1 - broadening))
            for step, time, broadening in self.terms
        )


GRAY_MATTER = ColeCole(
    4.0,
    0.02,
    (
        (45, 7.958e-12, 0.1),
        (400, 15.915e-9, 0.15),
        (2e5, 106.103e-6, 0.22),
        (4.5e7, 5.305e-3, 0),
    ),
)
WHITE_MATTER = ColeCole(
    4.0,
    0.02,
    (
        (32, 7.958e-12, 0.1),
        (100, 7.958e-9, 0.1),
        (4e4, 53.052e-6, 0.3),
        (3.5e7, 7.958e-3, 0.02),
    ),
)
CEREBROSPINAL_FLUID = ColeCole(4.0, 2.0, ((65, 7.958e-12, 0.1), (40, 1.592e-9, 0)))
CORTICAL_BONE = ColeCole(
    2.5,
    0.02,
    (
        (10, 13.263e-12, 0.2),
        (180, 79.577e-9, 0.2),
        (5e3, 159.155e-6, 0.2),
        (1e5, 15.915e-3, 0),
    ),
)
DRY_SKIN = ColeCole(4.0, 0.0002, ((32, 7.234e-12, 0), (1100, 32.481e-9, 0.2)))
