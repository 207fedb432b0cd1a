"""What the literature gives for the conductivity of tissues."""

from bids_qcm.dispersions import CEREBROSPINAL_FLUID, GRAY_MATTER, WHITE_MATTER
from bids_qcm.segmentation.tissues import TISSUES

# deep gray matter has no entry of its own
_DISPERSIONS = {
    "GM": GRAY_MATTER,
    "WM": WHITE_MATTER,
    "CSF": CEREBROSPINAL_FLUID,
    "SGM": GRAY_MATTER,
}


def literature_conductivity(frequency: float) -> dict[str, float]:
    """Give the conductivity of tissues at a frequency.

    Parameters
    ----------
    frequency : float
        Hz.

    Returns
    -------
    dict of str to float
        S/m, by the tissue's name in BIDS' common labels.

    Notes
    -----
    From the dispersions measured ex vivo by Gabriel et al. [1]_.

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
