"""Table of the methods, with the published optimum of each radius."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

MAGNITUDE_DELTA = 0.45
"""Width of the magnitude weight, in standard deviations of the magnitude over the mask."""

TARGET_STD = 0.05
"""Median standard deviation, in S/m, that automatic radii are chosen to achieve."""


@dataclass(frozen=True)
class Method:
    """A method of conductivity mapping.

    Attributes
    ----------
    name : str
        Name on the command line and in the Python API.
    desc : str
        Label of the ``desc-`` entity in file names.
    form : str
        Form of the method, which is the name of a module in ``bids_qcm.recon.forms``. ``laplacian``
        computes the Laplacian directly, ``integral`` computes it as a closed surface integral of
        the gradient, and ``inversion`` inverts the equation of the phase as a whole.
    derivative : {"fit", "finite-difference"}, or None
        Method for differentiating phi0; None if the form does not differentiate phi0.
    uses_magnitude, uses_labels : bool
        Whether magnitude weights and tissue labels preserve edges.
    fit_radius, integral_radius : float or None
        Published optimum in mm for a magnitude SNR of 16 and 1 mm isotropic voxels; None if the
        method has no such kernel.
    weighs_pairs : bool
        Whether an integral method weights the steps of the gradient by their inverse variance.
    """

    name: str
    desc: str
    form: str
    derivative: Literal["fit", "finite-difference"] | None
    uses_magnitude: bool
    uses_labels: bool
    fit_radius: float | None
    integral_radius: float | None
    weighs_pairs: bool = False


# The methods compared in the source abstract.
_PUBLISHED = (
    Method(
        "laplacian-fd", "laplacianFD", "laplacian", "finite-difference", False, False, None, None
    ),
    Method("laplacian", "laplacian", "laplacian", "fit", False, False, 9, None),
    Method("laplacian-mag", "laplacianMag", "laplacian", "fit", True, False, 11, None),
    Method("laplacian-seg", "laplacianSeg", "laplacian", "fit", False, True, 11, None),
    Method("laplacian-magseg", "laplacianMagSeg", "laplacian", "fit", True, True, 13, None),
    Method("integral-fd", "integralFD", "integral", "finite-difference", False, False, None, 2),
    Method("integral", "integral", "integral", "fit", False, False, 5, 6),
    Method("integral-mag", "integralMag", "integral", "fit", True, False, 10, 14),
    Method("integral-seg", "integralSeg", "integral", "fit", False, True, 9, 10),
    Method("integral-magseg", "integralMagSeg", "integral", "fit", True, True, 10, 20),
)

_FURTHER = (
    Method("integral-ivw", "integralIVW", "integral", "fit", False, False, 5, 6, True),
    Method("integral-mag-ivw", "integralMagIVW", "integral", "fit", True, False, 10, 14, True),
    Method("integral-seg-ivw", "integralSegIVW", "integral", "fit", False, True, 9, 10, True),
    Method("integral-magseg-ivw", "integralMagSegIVW", "integral", "fit", True, True, 8, 14, True),
    Method("inversion", "inversion", "inversion", None, False, False, None, None),
    Method("inversion-mag", "inversionMag", "inversion", None, True, False, None, None),
    Method("inversion-seg", "inversionSeg", "inversion", None, False, True, None, None),
    Method("inversion-magseg", "inversionMagSeg", "inversion", None, True, True, None, None),
)

_BY_NAME = {method.name: method for method in (*_PUBLISHED, *_FURTHER)}

METHODS: Mapping[str, Method] = MappingProxyType(_BY_NAME)
"""Methods, keyed by name, in the order of the table in the documentation."""

PUBLISHED = tuple(method.name for method in _PUBLISHED)
"""Names of the ten published methods that are compared in the source abstract."""

DEFAULT_METHODS = {
    True: ("inversion-seg", "integral-magseg"),
    False: ("inversion-mag", "integral-mag"),
}
"""Default methods with a segmentation (True) and without a segmentation (False).

The first method has the smallest error on the full-wave phantom. The second method is a published
method with different assumptions, for comparison.
"""
