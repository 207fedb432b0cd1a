"""Literature values of tissue conductivities."""

from bids_qcm.dispersions import CEREBROSPINAL_FLUID, GRAY_MATTER, WHITE_MATTER
from bids_qcm.segmentation.tissues import TISSUES

# deep gray matter has the literature values of gray matter
_DISPERSIONS = {
    "GM": GRAY_MATTER,
    "WM": WHITE_MATTER,
    "CSF": CEREBROSPINAL_FLUID,
    "SGM": GRAY_MATTER,
}


def literature_conductivity(frequency: float) -> dict[str, float]:
    """Return the literature values of tissue conductivities at a frequency.

    Parameters
    ----------
    frequency : float
        Larmor frequency in Hz.

    Returns
    -------
    dict of str to float
        Conductivity in S/m, keyed by the tissue name in the BIDS table of common image-derived
        labels.

    Notes
    -----
    The values are computed from the dispersions that Gabriel et al. measured ex vivo [1]_.

    References
    ----------
    .. [1] Gabriel S, Lau RW, Gabriel C. The dielectric properties of biological tissues: III.
       Parametric models for the dielectric spectrum of tissues. Phys Med Biol 1996.
       doi:10.1088/0031-9155/41/11/003
    """
    return {
        TISSUES[tissue].name: dispersion.conductivity(frequency)
        for tissue, dispersion in _DISPERSIONS.items()
    }
