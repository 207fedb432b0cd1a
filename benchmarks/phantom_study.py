"""Compare the methods on phantoms: errors, bias at different depths, and recovery of lesions.

``python -m benchmarks.phantom_study --resolution 2`` searches for the best radii of each method and
prints a table. ``make phantom-study`` does this for both forward models. The results file contains
one line for each scored map, so that an interrupted search can be resumed.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from nibabel.processing import fwhm2sigma
from numpy.typing import NDArray
from scipy import ndimage

from bids_qcm.phantom.anatomy import Anatomy
from bids_qcm.phantom.fullwave.imaging import B1Map
from bids_qcm.phantom.grids import resample
from bids_qcm.phantom.make import Head, make_head, make_phantom
from bids_qcm.phantom.parameters import FORWARD_MODELS, PhantomParameters
from bids_qcm.phantom.score import (
    recovery_by_diameter,
    score_brain,
    score_lesions,
    score_tissues,
    score_variation,
)
from bids_qcm.phantom.tissues import TISSUES
from bids_qcm.phantom.truth import Truth
from bids_qcm.phase import Phi0, compute_phi0
from bids_qcm.recon import METHODS, model_b1, reconstruct
from bids_qcm.recon.b1_smoothing import smooth_b1
from bids_qcm.recon.methods import PUBLISHED

Radii = tuple[float | None, float | None]
"""Fit radius and integral radius in mm; None if the method has no such kernel."""

_STEP = 1.15**2
_LARGEST_STEP = 3
"""The published radii are multiplied by powers of 1.32, up to the third power (2.3)."""

_VARIATION = 0.15
_GRAY, _WHITE = 1, 2

DEPTHS_MM = (10, 20, 35, 50, 100)
"""Limits of the depth ranges below the surface of the head."""

Labels = Literal["true", "shifted", "smoothed"]
_SHIFT_MM = 1.0
_SMOOTHING_MM = 4.0

B1 = Literal["none", "measured", "model"]


@dataclass(frozen=True)
class Scan:
    """Settings of a simulated scan, and of the additional input of the methods.

    Attributes
    ----------
    snr : float
        Magnitude signal-to-noise ratio.
    seed : int
        Seed of the noise.
    labels : {"true", "shifted", "smoothed"}
        Segmentation: the true segmentation, the segmentation shifted by 1 mm along each axis, or
        the segmentation without details smaller than about 4 mm.
    b1 : {"none", "measured", "model"}
        Map of |B1+| that is passed to the methods: none, the noisy map of the phantom, or the map
        of a homogeneous body.
    """

    snr: float
    seed: int = 0
    labels: Labels = "true"
    b1: B1 = "none"


@dataclass
class Study:
    """Heads of a study, and the scores of all maps so far.

    Attributes
    ----------
    parameters : PhantomParameters
        Resolution, field strength and forward model.
    results : Path
        File with one score per line.
    truth : Truth
        True conductivity and labels of the head. Its tissues vary by 15 % and contain small
        lesions.
    """

    parameters: PhantomParameters
    results: Path
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)
    _last: tuple[Any, tuple[Phi0, B1Map]] | None = None

    def __post_init__(self) -> None:
        """Read the scores of earlier runs and create the heads."""
        if self.results.exists():
            for line in self.results.read_text().splitlines():
                row = json.loads(line)
                self._known[row["key"]] = row
        self._head = make_head(self.parameters)
        anatomy = self._head.anatomy
        self.resolution = self.parameters.resolution
        head = self._head.conductivity > 0
        self._depth = ndimage.distance_transform_edt(head, sampling=self.resolution)
        self._labels = {name: _labels(anatomy, name) for name in get_args(Labels)}
        self.truth = Truth(
            self._head.conductivity,
            anatomy.labels,
            anatomy.brain,
            anatomy.small_lesion_diameter,
            (self.resolution,) * 3,
        )

    def evaluate(self, scan: Scan, method: str, radii: Radii, *, fully: bool = False) -> dict:
        """Return the score of a map, from the results file if it contains the score.

        With `fully`, the score includes the recovered fraction of the variation within tissues.
        """
        if not METHODS[method].uses_labels:
            scan = replace(scan, labels="true")
        physics = self.parameters.forward_model, self.parameters.field_strength
        key = json.dumps([self.resolution, *physics, *asdict(scan).values(), method, *radii])
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
            # the kernels are too small or too large for the grid
            return {"error": float("inf")}
        truth = self.truth
        brain = score_brain(found, truth)
        tissues = {t.label: t for t in score_tissues(found, truth) if t.erosion == 0}
        invalid = truth.brain & ~np.isfinite(found)
        # an invalid voxel counts as a voxel with the value 0
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
            "bias_white": self._bias_by_depth(found),
        }
        if fully:
            shown = found - self._map(scan, self._flat, method, radii)
            slopes = {v.label: v.slope for v in score_variation(shown, truth) if v.erosion == 2}
            row |= {"slope_gray": slopes.get(_GRAY), "slope_white": slopes.get(_WHITE)}
        return row

    @cached_property
    def _flat(self) -> Head:
        """The same head without variation within tissues."""
        return make_head(replace(self.parameters, tissue_variation=0.0))

    def _bias_by_depth(self, found: NDArray[np.float32]) -> list[float]:
        """Return the median relative error in white matter for each depth range."""
        white = (self.truth.labels == _WHITE) & np.isfinite(found)
        relative = found[white] / self.truth.conductivity[white] - 1
        which = np.digitize(self._depth[white], DEPTHS_MM)
        return [float(np.median(relative[which == k])) for k in range(1, len(DEPTHS_MM))]

    def _map(self, scan: Scan, head: Head, method: str, radii: Radii) -> NDArray[np.float32]:
        image, b1_map = self._image(scan, head)
        return reconstruct(
            image.phase,
            method=method,
            voxel_size=self.resolution,
            frequency=self.parameters.frequency,
            mask=self.truth.brain,
            magnitude=image.magnitude,
            labels=self._labels[scan.labels],
            b1_map=self._b1(scan.b1, b1_map),
            fit_radius=radii[0],
            integral_radius=radii[1],
            phase_noise=image.noise,
            uncertainty=False,
        ).conductivity

    def _image(self, scan: Scan, head: Head) -> tuple[Phi0, B1Map]:
        """Return a simulated scan of a head; the latest scan is cached."""
        key = scan.snr, scan.seed, id(head)
        if self._last is None or self._last[0] != key:
            phantom = make_phantom(replace(self.parameters, snr=scan.snr, seed=scan.seed), head)
            image = compute_phi0(phantom.magnitude, phantom.phase, mask=phantom.mask)
            self._last = key, (image, phantom.b1_map)
        return self._last[1]

    def _b1(self, kind: B1, measured: B1Map) -> NDArray[np.float32] | None:
        if kind == "none":
            return None
        if kind == "model":
            return model_b1(self._head.conductivity > 0, self.resolution, self.parameters.frequency)
        return smoothed_b1(measured, self._head.anatomy)


def _labels(anatomy: Anatomy, kind: Labels) -> NDArray[np.uint8]:
    """Return the true labels, or labels with errors, computed from the tissue fractions."""
    if kind == "true":
        return anatomy.labels
    size = anatomy.grid.resolution
    if kind == "shifted":
        changed = [ndimage.shift(one, 3 * [_SHIFT_MM / size], order=1) for one in anatomy.fractions]
    else:
        sd = fwhm2sigma(_SMOOTHING_MM) / size
        changed = [ndimage.gaussian_filter(one, sd) for one in anatomy.fractions]
    numbers = np.array([tissue.index for tissue in TISSUES], dtype=np.uint8)
    return np.where(anatomy.brain, numbers[np.argmax(changed, axis=0)], 0).astype(np.uint8)


def smoothed_b1(measured: B1Map, anatomy: Anatomy) -> NDArray[np.float32]:
    """Return the measured |B1+| map on the grid of the head.

    The map is smoothed in the same way as in the workflow.
    """
    known = measured.percent > 0
    amount, share = (
        resample(volume, measured.grid, anatomy.grid)
        for volume in (np.where(known, measured.percent, 0), known)
    )
    b1_map = np.divide(amount, share, out=np.zeros_like(amount), where=share > 0)
    return smooth_b1(b1_map, share, anatomy.grid.resolution, anatomy.brain).values


def search(study: Study, scan: Scan, method: str) -> Radii:
    """Return the radii with the smallest error.

    The search starts at the published radii. On a grid of radii, it moves to the first neighbour
    with a smaller error until no neighbour has a smaller error. Larger radii are tried first,
    because they are usually better.
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
    """Return the published radii after a number of steps, rounded to 0.01 mm."""
    fit, integral = (
        None if radius is None else round(radius * _STEP**step, 2)
        for radius, step in zip(published, steps, strict=True)
    )
    return fit, integral


def run(
    study: Study, scans: Sequence[Scan], methods: Sequence[str], seeds: int, *, searched: bool
) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each scan and method.

    Errors are means over the seeds; the other columns refer to the first seed.
    """
    for scan in scans:
        for method in methods:
            chosen = METHODS[method]
            if scan.labels != "true" and not chosen.uses_labels:
                continue
            published = chosen.fit_radius, chosen.integral_radius
            # Labels with errors use the radii for true labels, because the errors of the labels are
            # unknown in practice.
            without = replace(scan, labels="true", b1="none")
            best = search(study, without, method) if searched else published
            at_best = study.evaluate(scan, method, best, fully=searched)

            def error(radii: Radii, scan: Scan = scan, method: str = method) -> float:
                repeated = (replace(scan, seed=seed) for seed in range(seeds))
                return fmean(study.evaluate(one, method, radii)["error"] for one in repeated)

            limits = [f"{low}-{high} mm deep" for low, high in itertools.pairwise(DEPTHS_MM)]
            yield {
                "mm": study.resolution,
                "model": study.parameters.forward_model,
                "T": study.parameters.field_strength,
                "SNR": scan.snr,
                "labels": scan.labels if chosen.uses_labels else "-",
                "b1": scan.b1,
                "seeds": seeds,
                "method": method,
                "radii": _show(best),
                "error": error(best),
                "published": _show(published),
                "error there": error(published),
                **{name: at_best[name] for name in ("mae", "invalid", "mean_white", "mean_gray")},
                **{f"{mm} mm": share for mm, share in at_best["recovered"].items()},
                **dict(zip(limits, at_best["bias_white"], strict=True)),
                "slope_white": at_best.get("slope_white"),
                "slope_gray": at_best.get("slope_gray"),
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
        help="methods; 'published' means the ten published methods (default: all)",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("benchmarks/results"), help="folder for the scores"
    )
    parser.add_argument("--forward-model", choices=FORWARD_MODELS, default="full-wave")
    parser.add_argument("--field-strength", type=float, nargs="+", default=[1.5, 3.0], help="T")
    parser.add_argument("--seeds", type=int, default=1, help="number of noise seeds (default: 1)")
    parser.add_argument("--labels", nargs="+", choices=get_args(Labels), default=["true"])
    parser.add_argument("--b1", nargs="+", choices=get_args(B1), default=["none"])
    parser.add_argument(
        "--no-search",
        action="store_true",
        help="use only the published radii, which takes less time",
    )
    options = parser.parse_args()
    name = f"study-{options.forward_model}-{options.resolution:g}mm"
    scans = [
        Scan(snr, labels=labels, b1=b1)
        for snr, labels, b1 in itertools.product(options.snr, options.labels, options.b1)
    ]
    methods = [
        name
        for chosen in options.method
        for name in (PUBLISHED if chosen == "published" else [chosen])
    ]
    rows = []
    for field_strength in options.field_strength:
        parameters = PhantomParameters(
            resolution=options.resolution,
            field_strength=field_strength,
            forward_model=options.forward_model,
            small_lesions=True,
            tissue_variation=_VARIATION,
        )
        study = Study(parameters, options.results / f"{name}.jsonl")
        for row in run(study, scans, methods, options.seeds, searched=not options.no_search):
            rows.append(row)
            print(
                f"{row['T']:g} T, SNR {row['SNR']:g}, labels {row['labels']}, |B1+| {row['b1']}: "
                f"{row['method']} {row['error']:.4f} S/m at {row['radii'] or '-'} mm",
                flush=True,
            )
    table = pd.DataFrame(rows)
    suffix = "" if options.no_search else "-search"
    table.to_csv(
        options.results / f"{name}{suffix}.tsv", sep="\t", index=False, float_format="%.4g"
    )
    print(table.to_string(index=False, float_format="{:.3f}".format, na_rep="-"))


if __name__ == "__main__":
    main()
