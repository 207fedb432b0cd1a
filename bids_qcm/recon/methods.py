"""The methods and the published optimum of their radii."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

MAGNITUDE_DELTA = 0.45
"""Width of the magnitude weight, in standard deviations of the magnitude over the mask."""

TARGET_STD = 0.05
"""Standard deviation in S/m that automatic radii give the median voxel."""


@dataclass(frozen=True)
class Method:
    """One way to compute conductivity.

    Attributes
    ----------
    name : str
        The name on the command line and in the Python API.
    desc : str
        The label of the ``desc-`` entity in file names.
    form : {"laplacian", "integral", "inversion"}
        Whether the Laplacian is taken directly or as a closed surface integral of the gradient, or
        the equation of the phase is inverted as a whole.
    derivative : {"fit", "finite-difference"}, or None
        How phi0 is differentiated; an inversion does not.
    uses_magnitude, uses_labels : bool
        What preserves edges: magnitude weights, the segmentation, both or nothing.
    fit_radius, integral_radius : float or None
        Published optimum in mm, for a magnitude SNR of 16 at 1 mm isotropic; None where the
        method has no such kernel.
    weighs_pairs : bool
        Whether an integral averages the steps of the gradient with the inverse of their variance.
    """

    name: str
    desc: str
    form: Literal["laplacian", "integral", "inversion"]
    derivative: Literal["fit", "finite-difference"] | None
    uses_magnitude: bool
    uses_labels: bool
    fit_radius: float | None
    integral_radius: float | None
    weighs_pairs: bool = False


_TABLE = (
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
    Method("integral-ivw", "integralIVW", "integral", "fit", False, False, 5, 6, True),
    Method("integral-mag-ivw", "integralMagIVW", "integral", "fit", True, False, 10, 14, True),
    Method("integral-seg-ivw", "integralSegIVW", "integral", "fit", False, True, 9, 10, True),
    Method("integral-magseg-ivw", "integralMagSegIVW", "integral", "fit", True, True, 8, 14, True),
    Method("inversion", "inversion", "inversion", None, False, False, None, None),
    Method("inversion-mag", "inversionMag", "inversion", None, True, False, None, None),
    Method("inversion-seg", "inversionSeg", "inversion", None, False, True, None, None),
    Method("inversion-magseg", "inversionMagSeg", "inversion", None, True, True, None, None),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _TABLE})
"""The methods by name, in the order of the table in the documentation."""

PUBLISHED = tuple(m.name for m in _TABLE if m.form != "inversion" and not m.weighs_pairs)
"""The ten that the source abstract compares."""

DEFAULT_METHODS = {
    True: ("inversion-seg", "integral-magseg"),
    False: ("inversion-mag", "integral-mag"),
}
"""The methods by default, with and without a segmentation.

The first has the least error on the full-wave phantom. The second is a published method that does
not share its assumptions, for comparison.
"""
