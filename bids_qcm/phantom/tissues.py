"""The tissues of the phantom and their properties."""

import math
from dataclasses import dataclass

import numpy as np

_REFERENCE_FREQUENCIES = (63.87e6, 127.74e6)


@dataclass(frozen=True)
class Tissue:
    """One tissue.

    Parameters
    ----------
    index
        Label, from the BIDS table of common image-derived labels.
    name, abbreviation
        From the same table.
    reference_conductivities
        S/m at 63.87 and at 127.74 MHz.
    magnitude
        Signal without T2* decay, relative to CSF.
    t2_star
        At 3 T, s.
    """

    index: int
    name: str
    abbreviation: str
    reference_conductivities: tuple[float, float]
    magnitude: float
    t2_star: float

    def conductivity(self, frequency: float) -> float:
        """Conductivity at a frequency.

        Linear in the logarithm of the frequency through the two reference values, inside and
        outside their interval. This is provisional: it is exact at 1.5 T and 3 T, reasonable
        between and near them, and no substitute for a dispersion model elsewhere.

        Parameters
        ----------
        frequency
            Hz.

        Returns
        -------
        float
            S/m.
        """
        low, high = _REFERENCE_FREQUENCIES
        at_low, at_high = self.reference_conductivities
        fraction = math.log(frequency / low) / math.log(high / low)
        return at_low + (at_high - at_low) * fraction


TISSUES = (
    Tissue(1, "Gray Matter", "GM", (0.511, 0.587), magnitude=0.8, t2_star=0.066),
    Tissue(2, "White Matter", "WM", (0.291, 0.342), magnitude=0.65, t2_star=0.053),
    Tissue(3, "Cerebrospinal Fluid", "CSF", (2.066, 2.14), magnitude=1.0, t2_star=0.5),
)


def paint(labels: np.ndarray, value_of: dict[int, float]) -> np.ndarray:
    """Give every voxel the value of its tissue.

    Parameters
    ----------
    labels
        Tissue indices, any shape, uint8.
    value_of
        The value of each tissue index.

    Returns
    -------
    ndarray
        Shape of `labels`, float64; 0 where the label is not in `value_of`.
    """
    table = np.zeros(np.iinfo(np.uint8).max + 1)
    for index, value in value_of.items():
        table[index] = value
    return table[labels]


def conductivity_map(labels: np.ndarray, frequency: float) -> np.ndarray:
    """Return the conductivity of every voxel at a frequency.

    Parameters
    ----------
    labels
        Tissue indices, (X, Y, Z) uint8.
    frequency
        Hz.

    Returns
    -------
    ndarray
        (X, Y, Z) float64, S/m; 0 outside the head.
    """
    return paint(labels, {tissue.index: tissue.conductivity(frequency) for tissue in TISSUES})
