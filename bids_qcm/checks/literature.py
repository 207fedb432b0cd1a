"""Literature values of tissue conductivities."""

import re
from collections.abc import Iterable

from bids_qcm.dispersions import (
    BILE,
    BLADDER,
    BLOOD,
    BREAST_FAT,
    CEREBROSPINAL_FLUID,
    COLON,
    FAT,
    GLAND,
    GRAY_MATTER,
    HEART,
    KIDNEY,
    LIVER,
    MUSCLE,
    SMALL_INTESTINE,
    SPLEEN,
    STOMACH,
    WHITE_MATTER,
    ColeCole,
)
from bids_qcm.segmentation.tissues import TISSUES

# deep gray matter has the literature values of gray matter
_BRAIN = {
    TISSUES["GM"].name: GRAY_MATTER,
    TISSUES["WM"].name: WHITE_MATTER,
    TISSUES["CSF"].name: CEREBROSPINAL_FLUID,
    TISSUES["SGM"].name: GRAY_MATTER,
}

# Tissues of the body, keyed by label names without "left" and "right". These names of muscles and
# organs are common in segmentations of the body. Bone is left out, because its labels include
# marrow.
_BODY = {
    "liver": LIVER,
    "spleen": SPLEEN,
    "kidney": KIDNEY,
    "pancreas": GLAND,
    "adrenal gland": GLAND,
    "thyroid": GLAND,
    "thyroid gland": GLAND,
    "gallbladder": BILE,
    "gall bladder": BILE,
    "bladder": BLADDER,
    "urinary bladder": BLADDER,
    "stomach": STOMACH,
    "esophagus": STOMACH,
    "duodenum": STOMACH,
    "small bowel": SMALL_INTESTINE,
    "small intestine": SMALL_INTESTINE,
    "colon": COLON,
    "heart": HEART,
    "heart myocardium": HEART,
    "myocardium": HEART,
    "blood": BLOOD,
    "aorta": BLOOD,
    "inferior vena cava": BLOOD,
    "portal vein and splenic vein": BLOOD,
    "fat": FAT,
    "adipose tissue": FAT,
    "subcutaneous fat": FAT,
    "visceral fat": FAT,
    "torso fat": FAT,
    "intermuscular fat": FAT,
    "breast fat": BREAST_FAT,
    "breast gland": GLAND,
    "fibroglandular tissue": GLAND,
    "muscle": MUSCLE,
    "skeletal muscle": MUSCLE,
    "autochthon": MUSCLE,
    "iliopsoas": MUSCLE,
    "psoas": MUSCLE,
    "gluteus maximus": MUSCLE,
    "gluteus medius": MUSCLE,
    "gluteus minimus": MUSCLE,
    "quadriceps femoris": MUSCLE,
    "sartorius": MUSCLE,
    "thigh medial compartment": MUSCLE,
    "thigh posterior compartment": MUSCLE,
}

_SIDES = {"left", "right", "l", "r"}


def literature_conductivity(frequency: float, names: Iterable[str]) -> dict[str, float]:
    """Return the literature values of tissue conductivities at a frequency.

    Parameters
    ----------
    frequency : float
        Larmor frequency in Hz.
    names : iterable of str
        Names of labels: tissues in the BIDS table of common image-derived labels, or organs and
        tissues of the body, such as ``Liver``, ``kidney_left`` or ``subcutaneous fat``.

    Returns
    -------
    dict of str to float
        Conductivity in S/m by name, without the names that have no literature value.

    Notes
    -----
    The values are computed from the dispersions that Gabriel et al. measured ex vivo [1]_. Glands,
    such as the pancreas and the mammary glands, have the values of the thyroid. Vessels have the
    values of blood, and the gall bladder has the values of bile.

    References
    ----------
    .. [1] Gabriel S, Lau RW, Gabriel C. The dielectric properties of biological tissues: III.
       Parametric models for the dielectric spectrum of tissues. Phys Med Biol 1996.
       doi:10.1088/0031-9155/41/11/003

    Examples
    --------
    >>> found = literature_conductivity(127.74e6, ["Left-Kidney", "Lesion"])
    >>> {name: round(value, 2) for name, value in found.items()}
    {'Left-Kidney': 0.85}
    """
    found = {name: _dispersion(name) for name in names}
    return {name: one.conductivity(frequency) for name, one in found.items() if one is not None}


def _dispersion(name: str) -> ColeCole | None:
    """Return the dispersion of the tissue that a label names; None if there is none."""
    words = re.findall(r"[a-z]+", name.lower())
    body = _BODY.get(" ".join(word for word in words if word not in _SIDES))
    return _BRAIN.get(name, body)
