"""Benchmark cases and their targets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bids_qcm.recon import METHODS
from bids_qcm.recon.methods import PUBLISHED

SNR = 16
"""Magnitude signal-to-noise ratio of the phantom, for which the published radii are optimal."""

Part = Literal["fit", "integral"]


@dataclass(frozen=True)
class Case:
    """A reconstruction of the head, which corresponds to one row of the report.

    Attributes
    ----------
    method : str
        Name of a method in :data:`METHODS`.
    note : str
        Difference from the published method; empty for the published method.
    fit_radius, integral_radius : float or None
        Radii in mm; None for the published radii.
    fit_target, integral_target : float or None
        Target time of the fit or of the surface integral, in ns per pair of an output voxel and a
        voxel of its ellipsoid.
    whole_target : float or None
        Target processor time of the whole method at 1 mm, in s.
    uncertainty : bool
        Whether to compute the standard deviation as well. In this case, only the whole method is
        timed, not its loops.
    """

    method: str
    note: str = ""
    fit_radius: float | None = None
    integral_radius: float | None = None
    fit_target: float | None = None
    integral_target: float | None = None
    whole_target: float | None = None
    uncertainty: bool = False

    @property
    def name(self) -> str:
        """Name of the method, followed by the note."""
        return f"{self.method} {self.note}".strip()

    def radius(self, part: Part) -> float | None:
        """Return the radius of a part in mm, or None if the method does not have this part."""
        own = {"fit": self.fit_radius, "integral": self.integral_radius}
        published = {
            "fit": METHODS[self.method].fit_radius,
            "integral": METHODS[self.method].integral_radius,
        }
        return published[part] if own[part] is None else own[part]

    def target(self, part: Part) -> float | None:
        """Return the target time of a part in ns per pair, or None without a target."""
        return {"fit": self.fit_target, "integral": self.integral_target}[part]

    def loops(self) -> Iterator[tuple[Part, float]]:
        """Yield the parts that run in compiled loops, and their radii."""
        for part in ("fit", "integral"):
            radius = self.radius(part)
            if radius is not None:
                yield part, radius


CASES = (
    Case("laplacian-fd"),
    Case("laplacian", fit_target=0.4),
    Case("laplacian-mag"),
    Case("laplacian-seg", fit_target=0.4),
    Case("laplacian-magseg"),
    Case("laplacian-magseg", note="r 11", fit_radius=11, fit_target=1.2),
    Case("integral-fd"),
    Case("integral"),
    Case("integral-mag"),
    Case("integral-seg", integral_target=0.3),
    Case("integral-magseg", fit_target=1.2, integral_target=0.5),
    *(
        Case(method.name, note="with uncertainty", uncertainty=True)
        for method in METHODS.values()
        if method.form != "inversion"
    ),
)

PUBLISHED_CASES = tuple(
    case for case in CASES if case.method in PUBLISHED and (case.uncertainty or not case.note)
)
"""The ten published methods, without and with uncertainty."""

ALL_METHODS_TARGET = 180.0
"""Target time in seconds for all ten published methods, run one after the other."""

ALL_WITH_UNCERTAINTY_TARGET = 360.0
"""Target time in seconds for all ten published methods, including the standard deviations."""

INVERSION_CASES = (
    Case("inversion-seg", whole_target=60.0),
    Case("inversion-seg", note="with uncertainty", uncertainty=True, whole_target=120.0),
    Case("inversion-mag", whole_target=60.0),
)
"""Cases of the inversions, which always need the phase noise."""

MEMORY_CASES = (
    *(case for case in CASES if case.name.split()[0] == "integral-magseg"),
    INVERSION_CASES[1],
)
"""Cases that need the most memory."""

MEMORY_TARGET = 3e9
"""Maximum accepted resident memory in bytes."""

SPEED_UP_TARGET = 0.9
"""Target speed-up divided by the number of threads. For two threads, the target is 1.8."""

COLD_START_TARGET = 15.0
"""Target time in seconds for the first call if no code has been compiled yet."""

WARM_START_TARGET = 1.0
"""Target time in seconds for the first call in a process if compiled code is cached on disk."""

STUDY_PARTICIPANTS, STUDY_REGIONS = 500, 100
"""Size of the study for the measurement of the group level."""

N_PLANNED = 1000
"""Number of participants of the dataset that is planned."""

N_MAPPED = 40
"""Number of tiny participants that are mapped to measure the workflow engine."""

NODE_SECONDS = 0.05
"""Target processor time of the workflow engine for a node, in s."""

ENGINE_MEMORY = 0.5e9
"""Target peak resident memory of the workflow engine in bytes."""

# Target processor time in s, and target of the peak resident memory in bytes.
GROUP_TARGETS = {"target": 60.0, "memory_target": 2e9}
PLAN_TARGETS = {"target": 60.0, "memory_target": 0.5e9}
PLAN_OF_ONE_TARGETS = {"target": 5.0, "memory_target": 0.5e9}

VOXEL_SHARES = (0.125, 0.25, 0.5, 1.0)
"""Fractions of the head's voxels for which the increase in run time is measured."""

RADII = (5.0, 8.0, 11.0, 14.0)
"""Kernel radii in mm for which the increase in run time is measured."""
