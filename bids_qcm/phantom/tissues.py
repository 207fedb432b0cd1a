"""Tissues of the phantom and their properties."""

from dataclasses import dataclass

import numpy as np

from bids_qcm.dispersions import (
    CEREBROSPINAL_FLUID,
    CORTICAL_BONE,
    DRY_SKIN,
    GRAY_MATTER,
    WHITE_MATTER,
    ColeCole,
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
        Signal without T2* decay, relative to the signal of cerebrospinal fluid.
    t2_star
        T2* at 3 T in s.
    dispersion
        Dispersion of conductivity and permittivity. None if the conductivity is a parameter of the
        phantom.
    """

    index: int
    name: str
    abbreviation: str
    magnitude: float
    t2_star: float
    dispersion: ColeCole | None


TISSUES = (
    Tissue(1, "Gray Matter", "GM", 0.8, 0.066, GRAY_MATTER),
    Tissue(2, "White Matter", "WM", 0.65, 0.053, WHITE_MATTER),
    Tissue(3, "Cerebrospinal Fluid", "CSF", 1.0, 0.5, CEREBROSPINAL_FLUID),
    Tissue(4, "Bone", "B", 0.08, 0.002, CORTICAL_BONE),
    Tissue(5, "Soft Tissue", "ST", 0.6, 0.03, DRY_SKIN),
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
        Larmor frequency in Hz.
    lesion_conductivity
        Conductivity of lesions in S/m.

    Returns
    -------
    ndarray
        Conductivities in S/m, (T,) float64, in the order of `TISSUES`.
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
        Larmor frequency in Hz.

    Returns
    -------
    ndarray
        Relative permittivities, (T,) float64, in the order of `TISSUES`. Lesions have the
        permittivity of gray matter.
    """
    return np.array(
        [(tissue.dispersion or GRAY_MATTER).relative_permittivity(frequency) for tissue in TISSUES]
    )
