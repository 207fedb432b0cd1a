"""Comparison of the conductivity maps of a phantom with the truth (``bids-qcm-phantom score``)."""

import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pandas as pd

from bids_qcm.bids.condmaps import ConductivityMap, find_maps
from bids_qcm.bids.errors import InputError, NoInputError
from bids_qcm.bids.images import atomic_write
from bids_qcm.bids.phantom.scores import ScoreTables
from bids_qcm.bids.phantom.truth import PhantomTruth, list_participants, read_map, read_truth
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.phantom.score import Score, recovery_by_diameter, score
from bids_qcm.phantom.views import representative_slice
from bids_qcm.reports.comparison import MapSlice, draw_comparison

_DOTS_PER_INCH = 150


def score_maps(
    dataset: Path, derivatives: Path, output_dir: Path, labels: Sequence[str]
) -> ExitStatus:
    """Score maps, write tables and figures, and print the scores.

    Parameters
    ----------
    dataset : Path
        Phantom dataset written by ``bids-qcm-phantom create``.
    derivatives : Path
        Derivative dataset with the maps.
    output_dir : Path
        Folder for the tables and figures.
    labels : sequence of str
        Participants without ``sub-``; an empty sequence selects all participants.

    Returns
    -------
    ExitStatus

    Raises
    ------
    InputError
        If the dataset has no true conductivity, or if a selected participant has none.
    OSError
        If an output cannot be written.
    """
    scoring = _Scoring(derivatives, output_dir)
    for participant in list_participants(dataset, derivatives, labels):
        scoring.add_participant(dataset, participant)
    return scoring.conclude()


@dataclass
class _Scoring:
    """Scores of the maps so far, and errors for the maps that could not be scored."""

    derivatives: Path
    output_dir: Path
    tables: ScoreTables = field(default_factory=ScoreTables)
    texts: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)

    def add_participant(self, dataset: Path, participant: str) -> None:
        try:
            maps = find_maps(self.derivatives, participant)
        except InputError as error:
            self.errors.append(error)
            return
        for session, session_maps in groupby(maps, key=attrgetter("session")):
            self._add_scan(dataset, participant, session, session_maps)

    def _add_scan(
        self,
        dataset: Path,
        participant: str,
        session: str | None,
        maps: Iterable[ConductivityMap],
    ) -> None:
        try:
            truth = read_truth(
                dataset, participant if session is None else f"{participant}_ses-{session}"
            )
        except InputError as error:
            self.errors.append(error)
            return
        index = representative_slice(truth.arrays)
        for source, source_maps in groupby(maps, key=attrgetter("source")):
            scores, slices = self._score(participant, source_maps, truth, index)
            if scores:
                self.texts.append(f"{source}, {len(scores)} map(s)\n\n{_as_text(scores, truth)}\n")
                self._draw(source, slices, truth, index)

    def _score(
        self,
        participant: str,
        maps: Iterable[ConductivityMap],
        truth: PhantomTruth,
        index: int,
    ) -> tuple[dict[str, Score], dict[str, MapSlice]]:
        """Score the maps of one source; return the scores and slices to draw, keyed by method."""
        scores, slices = {}, {}
        for condmap in maps:
            try:
                if condmap.method in scores:
                    raise InputError(
                        condmap.path,
                        "is a second map of the same method",
                        "keep only one of the two maps",
                    )
                conductivity = read_map(condmap.path, truth)
            except InputError as error:
                self.errors.append(error)
                continue
            scores[condmap.method] = score(conductivity, truth.arrays)
            # a view would keep the whole map in memory
            shown = conductivity[:, :, index].copy()
            slices[condmap.method] = MapSlice(shown, scores[condmap.method].brain.mae)
            names = {
                "participant_id": participant,
                "method": condmap.method,
                "filename": condmap.path.relative_to(self.derivatives).as_posix(),
            }
            self.tables.add(names, scores[condmap.method], truth.tissue_names)
        return scores, slices

    def _draw(
        self, source: str, slices: Mapping[str, MapSlice], truth: PhantomTruth, index: int
    ) -> None:
        x, y, _ = truth.grid.voxel_size
        height = (truth.grid.affine @ (0, 0, index, 1))[2]
        figure = draw_comparison(
            slices,
            truth.arrays.conductivity[:, :, index],
            truth.arrays.brain[:, :, index],
            (x, y),
            f"{source}, z = {height:g} mm\nmean absolute error over the brain",
        )
        path = self.output_dir / f"{source}_maps.png"
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=_DOTS_PER_INCH)
        self.written.append(path)

    def conclude(self) -> ExitStatus:
        """Write and print the tables, print the errors, and return the exit status."""
        n_maps = len(self.tables.rows["brain"])
        if n_maps:
            self.written += self.tables.write(self.output_dir)
            print("\n".join(self.texts))
            print(f"Scores of {n_maps} map(s), in {self.output_dir}:")
            print("\n".join(f"  {path.name}" for path in sorted(self.written)))
        for error in self.errors:
            print(f"error: {error}", file=sys.stderr)
        if not n_maps and all(isinstance(error, NoInputError) for error in self.errors):
            return ExitStatus.NO_INPUT
        return ExitStatus.SOME_FAILED if self.errors else ExitStatus.DONE


def _as_text(scores: Mapping[str, Score], truth: PhantomTruth) -> str:
    """Return the scores of one source as text, in tables with one row for each method."""
    names = truth.tissue_names
    with_truth = {"truth": score(truth.arrays.conductivity, truth.arrays), **scores}
    tables: dict[str, dict[str, dict[Hashable, float]]] = {
        "Error over the brain": {
            name: {
                "MAE, S/m": one.brain.mae,
                "NRMSE": one.brain.nrmse,
                "NRMSE of the best 99 %": one.brain.nrmse_best99,
                "invalid": one.brain.invalid_fraction,
            }
            for name, one in scores.items()
        },
        "Mean conductivity (S/m) of tissues, eroded by 0, 2 and 4 voxels": {
            name: {(names[tissue.label], tissue.erosion): tissue.mean for tissue in one.tissues}
            for name, one in with_truth.items()
        },
        "Recovered fraction of lesion contrast, by diameter": {
            name: {f"{mm} mm": share for mm, share in recovery_by_diameter(one.lesions).items()}
            for name, one in scores.items()
        },
        "Slope of conductivity against the truth in tissues, eroded by 2 and 4 voxels": {
            name: {(names[tissue.label], tissue.erosion): tissue.slope for tissue in one.variation}
            for name, one in scores.items()
        },
    }
    return "\n\n".join(
        f"{title}\n{_table(rows)}" for title, rows in tables.items() if any(rows.values())
    )


def _table(rows: dict[str, dict[Hashable, float]]) -> str:
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.to_string(float_format="{:.3f}".format, na_rep="-")
