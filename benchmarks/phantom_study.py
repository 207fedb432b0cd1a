"""Search the radii of each method on a phantom: its best error, and what it does to lesions.

``python -m benchmarks.phantom_study --resolution 2`` searches and prints a table; ``make
phantom-study`` does so at 2 and at 1 mm. Each map that was scored is a line of the results file,
from which a stopped search goes on.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_qcm.phantom.make import Head, make_head, make_phantom
from bids_qcm.phantom.parameters import PhantomParameters
from bids_qcm.phantom.score import (
    recovery_by_diameter,
    score_brain,
    score_lesions,
    score_tissues,
    score_variation,
)
from bids_qcm.phantom.truth import Truth
from bids_qcm.phase import Phi0, compute_phi0
from bids_qcm.recon import METHODS, reconstruct
from bids_qcm.recon.methods import PUBLISHED

Radii = tuple[float | None, float | None]
"""Fit and integral radius in mm; None where the method has none."""

_STEP = 1.15**2
_LARGEST_STEP = 2
"""Radii are published ones times powers of 1.32, up to the second: 1.75."""

_VARIATION = 0.15
_GRAY, _WHITE = 1, 2


@dataclass(frozen=True)
class Scan:
    """How the head is imaged.

    Attributes
    ----------
    resolution : float
        mm.
    snr : float
    seed : int
        Of the noise.
    """

    resolution: float
    snr: float
    seed: int = 0


@dataclass
class Study:
    """The heads, and the scores of the maps made so far.

    Attributes
    ----------
    resolution : float
        mm.
    results : Path
        File of scores, one a line.
    truth : Truth
        Of the head, whose tissues vary by 15 % and have small lesions.
    """

    resolution: float
    results: Path
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)
    _last: tuple[Any, tuple[Phi0, float]] | None = None

    def __post_init__(self) -> None:
        """Read what an earlier run found, and make the heads."""
        if self.results.exists():
            for line in self.results.read_text().splitlines():
                row = json.loads(line)
                self._known[row["key"]] = row
        parameters = PhantomParameters(
            resolution=self.resolution, small_lesions=True, tissue_variation=_VARIATION
        )
        self._parameters = parameters
        self._head = make_head(parameters)
        self._flat = make_head(replace(parameters, tissue_variation=0.0))
        anatomy = self._head.anatomy
        self.truth = Truth(
            self._head.conductivity,
            anatomy.labels,
            anatomy.brain,
            anatomy.small_lesion_diameter,
            (self.resolution,) * 3,
        )

    def evaluate(self, scan: Scan, method: str, radii: Radii, *, fully: bool = False) -> dict:
        """Score a map, or look up its score; `fully` also tells how much variation it shows."""
        key = json.dumps([scan.resolution, scan.snr, scan.seed, method, *radii])
        known = self._known.get(key)
        if known is None or (fully and "slope_white" not in known):
            known = {"key": key, **self._score(scan, method, radii, fully=fully)}
            self._known[key] = known
            self.results.parent.mkdir(parents=True, exist_ok=True)
            with self.results.open("a") as file:
                file.write(json.dumps(known) + "\n")
        return known

    def _score(self, scan: Scan, method: str, radii: Radii, *, fully: bool) -> dict[str, Any]:
        try:
            found = self._map(scan, self._head, method, radii)
        except ValueError:
            # kernels that the grid cannot hold
            return {"error": float("inf")}
        truth = self.truth
        brain = score_brain(found, truth)
        tissues = {t.label: t for t in score_tissues(found, truth) if t.erosion == 0}
        invalid = truth.brain & ~np.isfinite(found)
        # a voxel without a value is as wrong as one that says 0
        missed = truth.conductivity[invalid].sum()
        valid = brain.n - invalid.sum()
        row = {
            "error": float((brain.mae * valid + missed) / brain.n),
            "mae": brain.mae,
            "nrmse_best99": brain.nrmse_best99,
            "invalid": brain.invalid_fraction,
            "mean_gray": tissues[_GRAY].mean,
            "mean_white": tissues[_WHITE].mean,
            "recovered": recovery_by_diameter(score_lesions(found, truth)),
        }
        if fully:
            shown = found - self._map(scan, self._flat, method, radii)
            slopes = {v.label: v.slope for v in score_variation(shown, truth) if v.erosion == 2}
            row |= {"slope_gray": slopes.get(_GRAY), "slope_white": slopes.get(_WHITE)}
        return row

    def _map(self, scan: Scan, head: Head, method: str, radii: Radii) -> NDArray[np.float32]:
        image, frequency = self._image(scan, head)
        return reconstruct(
            image.phase,
            method=method,
            voxel_size=self.resolution,
            frequency=frequency,
            mask=self.truth.brain,
            magnitude=image.magnitude,
            labels=self.truth.labels,
            fit_radius=radii[0],
            integral_radius=radii[1],
            phase_noise=image.noise,
            uncertainty=False,
        ).conductivity

    def _image(self, scan: Scan, head: Head) -> tuple[Phi0, float]:
        """Image a head; keep what was imaged last."""
        if self._last is None or self._last[0] != (scan, id(head)):
            phantom = make_phantom(replace(self._parameters, snr=scan.snr, seed=scan.seed), head)
            image = compute_phi0(phantom.magnitude, phantom.phase, mask=phantom.mask)
            self._last = (scan, id(head)), (image, phantom.frequency)
        return self._last[1]


def search(study: Study, scan: Scan, method: str) -> Radii:
    """Find the radii of the least error, from the published ones on.

    From the best so far to the first neighbour on the grid of radii that is better, larger ones
    first, for these mostly are, until none is.
    """
    published = METHODS[method].fit_radius, METHODS[method].integral_radius
    if published == (None, None):
        return published

    def error(steps: tuple[int, int]) -> float:
        return study.evaluate(scan, method, scaled(published, steps))["error"]

    def neighbours(steps: tuple[int, int]) -> Iterator[tuple[int, int]]:
        for i, j in ((1, 1), (1, 0), (0, 1), (-1, 0), (0, -1), (-1, -1)):
            if max(steps[0] + i, steps[1] + j) <= _LARGEST_STEP:
                yield steps[0] + i, steps[1] + j

    best = (0, 0)
    while better := next((one for one in neighbours(best) if error(one) < error(best)), None):
        best = better
    return scaled(published, best)


def scaled(published: Radii, steps: Sequence[int]) -> Radii:
    """Give radii that are so many steps from the published ones, to 0.01 mm."""
    fit, integral = (
        None if radius is None else round(radius * _STEP**step, 2)
        for radius, step in zip(published, steps, strict=True)
    )
    return fit, integral


def run(study: Study, scans: Sequence[Scan], methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Search for each scan and method, and give a row of the table."""
    for scan in scans:
        for method in methods:
            published = METHODS[method].fit_radius, METHODS[method].integral_radius
            best = search(study, scan, method)
            at_best = study.evaluate(scan, method, best, fully=True)
            before = study.evaluate(scan, method, published)
            yield {
                "mm": scan.resolution,
                "SNR": scan.snr,
                "method": method,
                "radii": _show(best),
                "error": at_best["error"],
                "published": _show(published),
                "error there": before["error"],
                **{name: at_best[name] for name in ("mae", "invalid", "mean_white", "mean_gray")},
                **{f"{mm} mm": share for mm, share in at_best["recovered"].items()},
                "slope_white": at_best["slope_white"],
                "slope_gray": at_best["slope_gray"],
            }


def _show(radii: Radii) -> str:
    return " / ".join(f"{radius:.1f}" for radius in radii if radius is not None)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=float, default=2.0, help="mm (default: 2)")
    parser.add_argument("--snr", type=float, nargs="+", default=[16.0, 50.0, 150.0])
    parser.add_argument(
        "--method",
        nargs="+",
        choices=["published", *METHODS],
        default=list(METHODS),
        help="published are the ten of the published comparison (default: all)",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("benchmarks/results"), help="folder of the scores"
    )
    options = parser.parse_args()
    study = Study(options.resolution, options.results / f"study-{options.resolution:g}mm.jsonl")
    scans = [Scan(options.resolution, snr) for snr in options.snr]
    methods = [
        name
        for chosen in options.method
        for name in (PUBLISHED if chosen == "published" else [chosen])
    ]
    rows = []
    for row in run(study, scans, methods):
        rows.append(row)
        found = f"{row['error']:.4f} S/m at {row['radii']} mm"
        print(f"SNR {row['SNR']:g} {row['method']}: {found}", flush=True)
    table = pd.DataFrame(rows)
    path = options.results / f"study-{options.resolution:g}mm.tsv"
    table.to_csv(path, sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="{:.3f}".format, na_rep="-"))


if __name__ == "__main__":
    main()
