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
    .. [2] Gabriel C. Compilation of the dielectric properties of body tissues at RF and microwave
       frequencies. Report AL/OE-TR-1996-0037, Brooks Air Force Base 1996. It lists the parameters
       of further tissues: cerebrospinal fluid, breast fat, bile, and most hollow organs and glands.
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

BLOOD = ColeCole(4.0, 0.7, ((56, 8.377e-12, 0.1), (5200, 132.629e-9, 0.1)))
FAT = ColeCole(
    2.5,
    0.01,
    (
        (3, 7.958e-12, 0.2),
        (15, 15.915e-9, 0.1),
        (3.3e4, 159.155e-6, 0.05),
        (1e7, 7.958e-3, 0.01),
    ),
)
"""Fat without blood vessels."""

BREAST_FAT = ColeCole(
    2.5,
    0.01,
    (
        (3, 17.68e-12, 0.1),
        (15, 63.66e-9, 0.1),
        (5e4, 454.7e-6, 0.1),
        (2e7, 13.26e-3, 0),
    ),
)
GLAND = ColeCole(
    4.0,
    0.5,
    (
        (55, 7.958e-12, 0.1),
        (2500, 159.155e-9, 0.1),
        (1e5, 159.155e-6, 0.2),
        (4e7, 15.915e-3, 0),
    ),
)
"""Thyroid. The same values are used for other glands, such as the pancreas and the breast."""

HEART = ColeCole(
    4.0,
    0.05,
    (
        (50, 7.958e-12, 0.1),
        (1200, 159.155e-9, 0.05),
        (4.5e5, 72.343e-6, 0.22),
        (2.5e7, 4.547e-3, 0),
    ),
)
KIDNEY = ColeCole(
    4.0,
    0.05,
    (
        (47, 7.958e-12, 0.1),
        (3500, 198.944e-9, 0.22),
        (2.5e5, 79.577e-6, 0.22),
        (3e7, 4.547e-3, 0),
    ),
)
LIVER = ColeCole(
    4.0,
    0.02,
    (
        (39, 8.842e-12, 0.1),
        (6000, 530.516e-9, 0.2),
        (5e4, 22.736e-6, 0.2),
        (3e7, 15.915e-3, 0.05),
    ),
)
MUSCLE = ColeCole(
    4.0,
    0.2,
    (
        (50, 7.234e-12, 0.1),
        (7000, 353.678e-9, 0.1),
        (1.2e6, 318.31e-6, 0.1),
        (2.5e7, 2.274e-3, 0),
    ),
)
SMALL_INTESTINE = ColeCole(
    4.0,
    0.5,
    (
        (50, 7.958e-12, 0.1),
        (1e4, 159.155e-9, 0.1),
        (5e5, 159.155e-6, 0.2),
        (4e7, 15.915e-3, 0),
    ),
)
SPLEEN = ColeCole(
    4.0,
    0.03,
    (
        (48, 7.958e-12, 0.1),
        (2500, 63.662e-9, 0.15),
        (2e5, 265.258e-6, 0.25),
        (5e7, 6.366e-3, 0),
    ),
)
STOMACH = ColeCole(
    4.0,
    0.5,
    (
        (60, 7.958e-12, 0.1),
        (2000, 79.577e-9, 0.1),
        (1e5, 159.155e-6, 0.2),
        (4e7, 15.915e-3, 0),
    ),
)
COLON = ColeCole(
    4.0,
    0.01,
    (
        (50, 7.958e-12, 0.1),
        (3000, 159.155e-9, 0.2),
        (1e5, 159.155e-6, 0.2),
        (4e7, 1.592e-3, 0),
    ),
)
BLADDER = ColeCole(
    2.5,
    0.2,
    (
        (16, 8.842e-12, 0.1),
        (400, 159.155e-9, 0.1),
        (1e5, 159.155e-6, 0.2),
        (1e7, 15.915e-3, 0),
    ),
)
"""Wall of the urinary bladder."""

BILE = ColeCole(4.0, 1.4, ((66, 7.579e-12, 0.05), (50, 1.592e-9, 0)))
