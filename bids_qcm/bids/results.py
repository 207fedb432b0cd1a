"""What a derivative dataset of this app holds: maps, and what goes with them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from bids_qcm.bids.companions import is_ours
from bids_qcm.bids.condmaps import ConductivityMap, find_maps
from bids_qcm.bids.derivatives import B1_ORIGINS, MAGNITUDE_ENTITIES
from bids_qcm.bids.errors import NoInputError, SelectionError
from bids_qcm.bids.files import require_content, visible
from bids_qcm.bids.names import join_name, parse_name, stem
from bids_qcm.bids.run_records import LOGS, RunRecord, read_records
from bids_qcm.bids.tables import read_condstats
from bids_qcm.checks.verdict import Verdict, disagreements, with_disagreement
from bids_qcm.segmentation.tissues import TISSUES
from bids_qcm.statistics import WHOLE_MASK

# Maps of one acquisition whose sidecars differ in these do not belong together.
_SHARED = ("PhaseSign", "PhaseType", "MaskType", "MaskOrigin", "Segmentation", "ImagingFrequency")

_MOSTLY = 0.5

# Kernels average cerebrospinal fluid with its surroundings, each by its own size.
_COMPARED = {TISSUES[tissue].name for tissue in ("GM", "WM", "SGM")}


@dataclass(frozen=True)
class MapResult:
    """A conductivity map and what goes with it.

    Attributes
    ----------
    method : str
        The method's name.
    condmap : Path
    """

    method: str
    condmap: Path

    @cached_property
    def sidecar(self) -> dict[str, Any]:
        """What the map's sidecar says."""
        return read_sidecar(self.condmap)

    @property
    def desc(self) -> str:
        """The label of the ``desc`` entity."""
        return parse_name(self.condmap.name)[0]["desc"]

    @property
    def condstd(self) -> Path | None:
        """Its noise standard deviation, if there is one."""
        return self._beside("condstd.nii.gz")

    @property
    def own_verdict(self) -> Verdict | None:
        """Verdict on the map alone; None for a map of a version without verdicts."""
        if "Verdict" not in self.sidecar:
            return None
        return Verdict(self.sidecar["Verdict"], tuple(self.sidecar.get("VerdictReasons", ())))

    @property
    def condstats(self) -> Path | None:
        """The table of its statistics, if there is one."""
        return self._beside("condstats.tsv")

    def _beside(self, ending: str) -> Path | None:
        name = self.condmap.name.replace("condmap.nii.gz", ending)
        return existing(self.condmap.with_name(name))


@dataclass(frozen=True)
class Result:
    """What a derivative dataset holds of one acquisition.

    Attributes
    ----------
    participant : str
        Such as ``sub-01``.
    source : str
        What the names of its files start with.
    folder : Path
    maps : tuple of MapResult
        In the order of the methods; at least one.
    record : RunRecord or None
        Of the last run.
    """

    participant: str
    source: str
    folder: Path
    maps: tuple[MapResult, ...]
    record: RunRecord | None

    @property
    def session(self) -> str | None:
        """Session label."""
        return parse_name(self.maps[0].condmap.name)[0].get("ses")

    @property
    def name(self) -> str:
        """What users know the acquisition by, where the last run noted it."""
        return self.record.acquisition if self.record else self.source

    @cached_property
    def sidecar(self) -> dict[str, Any]:
        """What the sidecar of phi0 says, else that of a map."""
        return read_sidecar(self.phi0) if self.phi0 else self.maps[0].sidecar

    @cached_property
    def disagreements(self) -> dict[str, float]:
        """Distance of each method's medians from the other methods' medians, by method.

        Of the uneroded gray and white matter, or of the whole mask where it has no such tissue.
        Methods without a statistics table are left out.
        """
        return disagreements(
            {one.method: _compared_medians(one.condstats) for one in self.maps if one.condstats}
        )

    @cached_property
    def verdicts(self) -> dict[str, Verdict | None]:
        """Verdict on each map and on its disagreement with the other methods, by method.

        None for a map of a version without verdicts.
        """
        return {
            one.method: one.own_verdict
            and with_disagreement(one.own_verdict, self.disagreements.get(one.method))
            for one in self.maps
        }

    @property
    def phi0(self) -> Path | None:
        """Phase at echo time zero."""
        return self._file("phi0map.nii.gz")

    @property
    def segmentation(self) -> Path | None:
        """Tissue labels; None if there are those of an earlier run only."""
        return self._file("seg-tissue_dseg.nii.gz") if self.sidecar["Segmentation"] else None

    @property
    def b1_map(self) -> Path | None:
        """The |B1+| map that conductivity maps were computed with, if there is one."""
        for origin in B1_ORIGINS:
            path = self.folder.with_name("fmap") / f"{self.source}_desc-{origin}_TB1map.nii.gz"
            if self.with_b1(origin) and path.exists():
                return path
        return None

    def with_b1(self, origin: str) -> list[MapResult]:
        """Return the conductivity maps that were computed with |B1+| of an origin."""
        return [one for one in self.maps if one.sidecar.get("B1Map") == origin]

    @property
    def mask(self) -> Path:
        """The mask of the maps, which is always written with them."""
        return self.folder / f"{self.source}_desc-{self.sidecar['MaskType']}_mask.nii.gz"

    @property
    def magnitude(self) -> Path | None:
        """The magnitude that goes with phi0."""
        name = f"{self.source}_{join_name(MAGNITUDE_ENTITIES)}_*.nii.gz"
        found = sorted(visible(self.folder, name))
        return found[0] if found else None

    def _file(self, ending: str) -> Path | None:
        return existing(self.folder / f"{self.source}_{ending}")


def _compared_medians(condstats: Path) -> dict[str, float]:
    """Return the medians that methods are compared by, in S/m by tissue."""
    rows = [row for row in read_condstats(condstats) if row["erosion"] == 0]
    tissues = {row["tissue"]: row["median"] for row in rows if row["tissue"] in _COMPARED}
    return tissues or {row["tissue"]: row["median"] for row in rows if row["label"] == WHOLE_MASK}


def existing(path: Path) -> Path | None:
    """Give a path if there is a file, else None."""
    return path if path.exists() else None


def read_sidecar(image: Path) -> dict[str, Any]:
    """Read the sidecar of a derivative, which was written with it."""
    path = image.with_name(f"{stem(image)}.json")
    require_content(path)
    return json.loads(path.read_text(encoding="utf-8"))


def reported_participants(output_dir: Path, labels: Sequence[str] = ()) -> list[str]:
    """List the participants that a derivative dataset has maps or records of.

    Parameters
    ----------
    output_dir : Path
    labels : sequence of str
        Those asked for, without ``sub-``; empty for all.

    Returns
    -------
    list of str
        Sorted, such as ``sub-01``.

    Raises
    ------
    NoInputError
        If it is no derivative dataset of this app, or has nobody.
    SelectionError
        If one that was asked for is not there.
    """
    remedy = "give the OUTPUT_DIR of a run of bids-qcm participant"
    if not is_ours(output_dir):
        raise NoInputError(output_dir, "is no derivative dataset of bids_qcm", remedy)
    paths = [*visible(output_dir, "sub-*/"), *visible(output_dir, f"{LOGS}/sub-*.json")]
    names = {re.split(r"[_.]", path.name)[0] for path in paths}
    if not names:
        raise NoInputError(output_dir, "has no participant", remedy)
    wanted = {f"sub-{label}" for label in labels} or names
    absent = ", ".join(sorted(wanted - names))
    if absent:
        raise SelectionError(output_dir, f"has no participant {absent}", "choose others")
    return sorted(wanted)


def find_results(output_dir: Path, participant: str) -> list[Result]:
    """Find what a derivative dataset holds of a participant.

    Parameters
    ----------
    output_dir : Path
    participant : str
        Such as ``sub-01``.

    Returns
    -------
    list of Result
        By session and acquisition; none for a participant without maps.
    """
    try:
        maps = find_maps(output_dir, participant)
    except NoInputError:
        return []
    records = {record.source: record for record in read_records(output_dir, participant)}
    return [
        _result(participant, source, list(of_source), records)
        for source, of_source in groupby(maps, key=attrgetter("source"))
    ]


def twins(results: Sequence[Result]) -> list[str]:
    """Find maps of a participant that were made of the same images under two names.

    Names tell acquisitions apart that differ in their suffix only; one that comes later renames
    the maps of the other.
    """
    first: dict[frozenset[str], Result] = {}
    found = []
    for result in results:
        images = frozenset(uri for uri in result.sidecar["Sources"] if "_part-" in uri)
        other = first.setdefault(images, result)
        if other is not result:
            found.append(
                f"{other.source}_* and {result.source}_* are of the same images, which count twice "
                "in the group; delete those of the earlier run"
            )
    return found


def _result(
    participant: str,
    source: str,
    maps: Sequence[ConductivityMap],
    records: Mapping[str, RunRecord],
) -> Result:
    return Result(
        participant=participant,
        source=source,
        folder=maps[0].path.parent,
        maps=tuple(MapResult(one.method, one.path) for one in maps),
        record=records.get(source),
    )


def caveats(result: Result) -> list[str]:
    """Gather what a user should know before trusting an acquisition's maps.

    Returns
    -------
    list of str
        The warnings of all sidecars, and what their numbers amount to; each once.
    """
    sidecar = result.sidecar
    found = list(sidecar.get("Warnings", ()))
    if sidecar.get("PhaseSignWeak"):
        found.append(_weak_sign(sidecar))
    if result.segmentation:
        found += read_sidecar(result.segmentation).get("Warnings", ())
    invalid = {one.method: one.sidecar.get("InvalidFraction", 0) for one in result.maps}
    mostly = [f"{method} ({share:.0%})" for method, share in invalid.items() if share > _MOSTLY]
    if mostly:
        found.append(f"more than half of the mask is invalid: {', '.join(mostly)}")
    for one in result.maps:
        found += one.sidecar.get("Warnings", ())
        found += _caveats_of_map(one, result)
    return list(dict.fromkeys(found))


def _weak_sign(sidecar: Mapping[str, Any]) -> str:
    evidence = (
        f"the evidence for the sign of the phase is weak: {sidecar['PhaseSignAgreement']:.0%} of "
        "the voxels agree; "
    )
    if sidecar.get("PhaseSignOrigin") == "Manufacturer":
        evidence += f"{sidecar['PhaseSign']} was taken, which is usual for the Manufacturer; "
    return evidence + "look at the map, and give --sign if you know it"


def _caveats_of_map(one: MapResult, result: Result) -> list[str]:
    found = []
    if one.sidecar.get("PredictedStd", 0) > one.sidecar.get("TargetStd", 0):
        found.append(
            f"{one.method}: twice the published radii leave a noise standard deviation of "
            f"{one.sidecar['PredictedStd']:.2g} S/m, above the target of "
            f"{one.sidecar['TargetStd']:.2g} S/m; larger ones would average structures flat"
        )
    differing = [key for key in _SHARED if one.sidecar.get(key) != result.sidecar.get(key)]
    if differing:
        found.append(
            f"{one.condmap.name} is of an earlier run with another {' and '.join(differing)} than "
            "phi0; delete it, or compute it again"
        )
    return found
