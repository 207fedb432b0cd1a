"""Tissues of the phantom and their properties."""

import math
from dataclasses import dataclass

import numpy as np

from bids_qcm.physics import VACUUM_PERMITTIVITY


@dataclass(frozen=True)
class ColeCole:
    """Dielectric dispersion with up to four Cole-Cole terms [1]_.

    Parameters
    ----------
    permittivity
        Relative permittivity at infinite frequency.
    ionic_conductivity
        Static ionic conductivity, S/m.
    terms
        For each term: step of the relative permittivity, relaxation time (s) and broadening
        exponent.

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
        """Return the conductivity, S/m, at a frequency in Hz."""
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


@dataclass(frozen=True)
class Tissue:
    """Tissue of the phantom.

    Parameters
    ----------
    index
        Label, from the BIDS table of common image-derived labels.
    name, abbreviation
        Name and abbreviation, from the same table.
    magnitude
        Signal without T2* decay, relative to cerebrospinal fluid.
    t2_star
        T2* at 3 T, s.
    dispersion
        Dispersion of conductivity and permittivity. None if the parameters of the phantom define
        the conductivity.
    """

    index: int
    name: str
    abbreviation: str
    magnitude: float
    t2_star: float
    dispersion: ColeCole | None


_GRAY = ColeCole(
    4.0,
    0.02,
    (
        (45, 7.958e-12, 0.1),
        (400, 15.915e-9, 0.15),
        (2e5, 106.103e-6, 0.22),
        (4.5e7, 5.305e-3, 0),
    ),
)
_WHITE = ColeCole(
    4.0,
    0.02,
    (
        (32, 7.958e-12, 0.1),
        (100, 7.958e-9, 0.1),
        (4e4, 53.052e-6, 0.3),
        (3.5e7, 7.958e-3, 0.02),
    ),
)
_FLUID = ColeCole(4.0, 2.0, ((65, 7.958e-12, 0.1), (40, 1.592e-9, 0)))
_CORTICAL_BONE = ColeCole(
    2.5,
    0.02,
    (
        (10, 13.263e-12, 0.2),
        (180, 79.577e-9, 0.2),
        (5e3, 159.155e-6, 0.2),
        (1e5, 15.915e-3, 0),
    ),
)
_DRY_SKIN = ColeCole(4.0, 0.0002, ((32, 7.234e-12, 0), (1100, 32.481e-9, 0.2)))

TISSUES = (
    Tissue(1, "Gray Matter", "GM", 0.8, 0.066, _GRAY),
    Tissue(2, "White Matter", "WM", 0.65, 0.053, _WHITE),
    Tissue(3, "Cerebrospinal Fluid", "CSF", 1.0, 0.5, _FLUID),
    Tissue(4, "Bone", "B", 0.08, 0.002, _CORTICAL_BONE),
    Tissue(5, "Soft Tissue", "ST", 0.6, 0.03, _DRY_SKIN),
    Tissue(7, "Lesion", "L", 0.95, 0.08, None),
)

HEALTHY_BRAIN = ("GM", "WM", "CSF")
BRAIN = (*HEALTHY_BRAIN, "L")
"""Abbreviations of the tissues in the brain mask."""

TISSUE_ORDER = {tissue.abbreviation: row for row, tissue in enumerate(TISSUES)}
"""Position of each tissue in `TISSUES`, by abbreviation."""


def conductivities(frequency: float, lesion_conductivity: float) -> np.ndarray:
    """Return the conductivity of each tissue.

    Parameters
    ----------
    frequency
        Larmor frequency, Hz.
    lesion_conductivity
        Conductivity of lesions, S/m.

    Returns
    -------
    ndarray
        (T,) float64, S/m, in the order of `TISSUES`.
    """
    return np.array(
        [
            tissue.dispersion.conductivity(frequency) if tissue.dispersion else lesion_conductivity
            for tissue in TISSUES
        ]
    )


def permittivities(frequency: float) -> np.ndarray:
    """Return the relative permittivity of each tissue.

    Parameters
    ----------
    frequency
        Larmor frequency, Hz.

    Returns
    -------
    ndarray
        (T,) float64, in the order of `TISSUES`. Lesions have the permittivity of gray matter.
    """
    return np.array(
        [(tissue.dispersion or _GRAY).relative_permittivity(frequency) for tissue in TISSUES]
    )
