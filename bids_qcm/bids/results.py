"""Find the results in a derivative dataset of this app: maps, related images and warnings."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from bids_qcm.bids.anatomy.datasets import is_ours
from bids_qcm.bids.condmaps import ConductivityMap, find_maps
from bids_qcm.bids.errors import InputError, NoInputError, SelectionError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import join_name, parse_name, sidecar_path
from bids_qcm.bids.outputs import LOGS, OUTPUTS
from bids_qcm.bids.readers import read_json_object
from bids_qcm.bids.run_records import RunRecord, read_records
from bids_qcm.bids.sidecar_schema import (
    CondmapSidecar,
    CondstdSidecar,
    Fields,
    LesionsSidecar,
    MaskSidecar,
    Phi0Sidecar,
    SegmentationSidecar,
    Warned,
    json_key,
)
from bids_qcm.bids.tables import read_condlesions, read_condregions, read_condstats
from bids_qcm.checks.literature import literature_conductivity
from bids_qcm.checks.verdict import (
    COLOURS,
    DISAGREEMENT,
    DISAGREEMENT_ABOUT_B1,
    Verdict,
    disagreement_of,
    with_disagreement,
)
from bids_qcm.segmentation.tissues import TISSUES
from bids_qcm.statistics import WHOLE_MASK

# Sidecar fields that must agree with phi0 for a map to belong to the same run.
_SHARED = (
    "phase_sign",
    "phase_type",
    "mask_type",
    "mask_origin",
    "segmentation",
    "lesions",
    "imaging_frequency",
)

_MOSTLY = 0.5

# Tables of a map, and the attributes of `MapResult` with their rows.
_TABLES = {
    "condstats": ("statistics",),
    "condregions": ("regions", "region_warnings"),
    "condlesions": ("lesions",),
}

_Schema = TypeVar("_Schema", bound=Fields)

# Tissues that are compared between methods. Cerebrospinal fluid is excluded, because its averaging
# with surrounding tissue depends on the kernel radius.
_COMPARED = {TISSUES[tissue].name for tissue in ("GM", "WM", "SGM")}


@dataclass(frozen=True)
class MapResult:
    """A conductivity map with its sidecar, noise map, statistics and verdict.

    Attributes
    ----------
    method : str
        Name of the method.
    condmap : Path
        File of the conductivity map.
    damaged_tables : frozenset of str
        Names in :data:`bids_qcm.bids.outputs.OUTPUTS` of tables that cannot be read, so that they
        are not used.
    """

    method: str
    condmap: Path
    damaged_tables: frozenset[str] = frozenset()

    @cached_property
    def sidecar(self) -> CondmapSidecar:
        """Fields of the map's sidecar."""
        return read_sidecar(self.condmap, CondmapSidecar)

    @property
    def desc(self) -> str:
        """Label of the ``desc`` entity."""
        return parse_name(self.condmap.name)[0]["desc"]

    @property
    def condstd(self) -> Path | None:
        """File of the noise standard deviation; None if it does not exist."""
        return self._existing_output("condstd")

    @cached_property
    def condstd_sidecar(self) -> CondstdSidecar | None:
        """Fields of the sidecar of the noise standard deviation; None if there is no such map."""
        return read_sidecar(self.condstd, CondstdSidecar) if self.condstd else None

    @property
    def own_verdict(self) -> Verdict | None:
        """Verdict on the map alone; None for a map from a version without verdicts."""
        if self.sidecar.verdict not in COLOURS:
            return None
        return Verdict(self.sidecar.verdict, tuple(self.sidecar.verdict_reasons or ()))

    @property
    def condstats(self) -> Path | None:
        """File of the statistics table; None if it does not exist or is damaged."""
        return self._existing_output("condstats")

    @cached_property
    def statistics(self) -> list[dict[str, Any]]:
        """Rows of the statistics table, see :func:`~bids_qcm.bids.tables.read_condstats`."""
        return read_condstats(self.condstats) if self.condstats else []

    @cached_property
    def regions(self) -> list[dict[str, Any]]:
        """Rows of the region table, see :func:`~bids_qcm.bids.tables.read_condregions`.

        The list is empty if the table does not exist or is damaged.
        """
        path = self._existing_output("condregions")
        return read_condregions(path) if path else []

    @cached_property
    def region_warnings(self) -> list[str]:
        """Warnings about segmentations and atlases that are not in the table of regions."""
        path = self._existing_output("condregions")
        if path is None or not _has_sidecar(path):
            return []
        return read_sidecar(path, Warned).warnings or []

    @cached_property
    def lesions(self) -> list[dict[str, Any]]:
        """Rows of the lesion table, see :func:`~bids_qcm.bids.tables.read_condlesions`.

        The list is empty if there are no lesions, or the table does not exist or is damaged.
        """
        path = self._existing_output("condlesions") if self.sidecar.lesions else None
        return read_condlesions(path) if path else []

    @property
    def in_spaces(self) -> dict[str, Path]:
        """Files of the map in other spaces, keyed by the label of the space."""
        entities, _ = parse_name(self.condmap.name)
        desc = entities.pop("desc")
        return OUTPUTS["condmap"].in_all_spaces(self.condmap.parent, join_name(entities), desc)

    def _existing_output(self, output: str) -> Path | None:
        if output in self.damaged_tables:
            return None
        start = self.condmap.name.removesuffix(OUTPUTS["condmap"].file_name(""))
        return existing(self.condmap.with_name(start + OUTPUTS[output].file_name("")))


@dataclass(frozen=True)
class Result:
    """The results of one acquisition in a derivative dataset.

    Attributes
    ----------
    participant : str
        Label with ``sub-``, such as ``sub-01``.
    source : str
        Prefix that the file names of the acquisition share.
    folder : Path
        Folder of the conductivity maps.
    maps : tuple of MapResult
        At least one map, in the order of the method table.
    record : RunRecord or None
        Record of the last run.
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
    def session_id(self) -> str | None:
        """Session label with ``ses-``, as in tables of sessions."""
        return None if self.session is None else f"ses-{self.session}"

    @cached_property
    def entities(self) -> dict[str, str]:
        """Entities of the acquisition, without participant and session."""
        entities, _ = parse_name(self.maps[0].condmap.name)
        return {key: label for key, label in entities.items() if key not in ("sub", "ses", "desc")}

    @property
    def kind(self) -> str:
        """Entities that are the same for all participants, sessions and runs of an acquisition."""
        return join_name({key: one for key, one in self.entities.items() if key != "run"})

    @property
    def name(self) -> str:
        """Name of the acquisition in messages and reports; `source` without a run record."""
        return self.record.acquisition if self.record else self.source

    @cached_property
    def sidecar(self) -> Phi0Sidecar:
        """Fields of the phi0 sidecar; without a phi0 sidecar, of the first map's sidecar."""
        path = OUTPUTS["phi0"].beside(self.folder, self.source)
        return read_sidecar(path, Phi0Sidecar) if _has_sidecar(path) else self.maps[0].sidecar

    def literature(self, names: Iterable[str]) -> dict[str, float]:
        """Return the literature values of the named tissues, S/m; empty without a frequency."""
        frequency = self.sidecar.imaging_frequency
        return {} if frequency is None else literature_conductivity(1e6 * frequency, names)

    @cached_property
    def disagreements(self) -> dict[str, float]:
        """For each method, the largest relative difference from the medians of other methods.

        A method that uses ``|B1+|`` is compared with the other methods that use ``|B1+|``, and a
        method without ``|B1+|`` with the other methods without ``|B1+|``. Without such methods, it
        is compared with all other methods. The medians of uneroded gray matter, white matter and
        subcortical gray matter are compared, or the median over the whole mask if a table contains
        none of these tissues. Methods without a statistics table are left out.
        """
        found = {
            method: disagreement_of(medians, [self._medians[name] for name in self._peers(method)])
            for method, medians in self._medians.items()
        }
        return {method: value for method, value in found.items() if value is not None}

    @cached_property
    def verdicts(self) -> dict[str, Verdict | None]:
        """Verdict on the map of each method, including its disagreement with the other methods.

        The verdict is None for a map from a version without verdicts.
        """
        return {
            one.method: one.own_verdict
            and with_disagreement(
                one.own_verdict,
                self.disagreements.get(one.method),
                DISAGREEMENT if self._same_b1_use[one.method] else DISAGREEMENT_ABOUT_B1,
            )
            for one in self.maps
        }

    @cached_property
    def _medians(self) -> dict[str, dict[str, float]]:
        """Medians to compare, keyed by method and tissue."""
        return {one.method: _compared_medians(one.statistics) for one in self.maps if one.condstats}

    @cached_property
    def _same_b1_use(self) -> dict[str, list[str]]:
        """For each method, the other methods that also use ``|B1+|``, or also do not use it."""
        origins = tuple(OUTPUTS["b1"].variants)
        uses_b1 = {one.method: one.sidecar.b1_map in origins for one in self.maps}
        return {
            method: [
                name
                for name in self._medians
                if name != method and uses_b1[name] == uses_b1[method]
            ]
            for method in uses_b1
        }

    def _peers(self, method: str) -> list[str]:
        """Return the methods with which a method is compared."""
        return self._same_b1_use[method] or [name for name in self._medians if name != method]

    @property
    def phi0(self) -> Path | None:
        """File of the phase at echo time zero; None if it does not exist."""
        return existing(OUTPUTS["phi0"].beside(self.folder, self.source))

    @property
    def segmentation(self) -> Path | None:
        """File of the tissue labels; None if the last run did not use a segmentation."""
        if not self.sidecar.segmentation:
            return None
        return existing(OUTPUTS["dseg"].beside(self.folder, self.source))

    @property
    def segmentation_in_spaces(self) -> dict[str, Path]:
        """Files of the tissue labels in other spaces, keyed by the label of the space."""
        if self.segmentation is None:
            return {}
        return OUTPUTS["dseg"].in_all_spaces(self.folder, self.source)

    @property
    def tissue_names(self) -> Path:
        """File with the names of the tissue labels, which is written with the labels."""
        return OUTPUTS["labels"].beside(self.folder, self.source)

    @cached_property
    def segmentation_sidecar(self) -> SegmentationSidecar | None:
        """Sidecar fields of the segmentation; None if the last run did not use a segmentation."""
        path = OUTPUTS["dseg"].beside(self.folder, self.source)
        used = self.sidecar.segmentation and _has_sidecar(path)
        return read_sidecar(path, SegmentationSidecar) if used else None

    @property
    def lesions(self) -> Path | None:
        """File of the lesion numbers; None if the last run did not use lesion masks."""
        if not self.sidecar.lesions:
            return None
        return existing(OUTPUTS["lesions"].beside(self.folder, self.source))

    @cached_property
    def lesions_sidecar(self) -> LesionsSidecar | None:
        """Sidecar fields of the lesion numbers; None if the last run did not use lesion masks."""
        return read_sidecar(self.lesions, LesionsSidecar) if self.lesions else None

    @property
    def b1_map(self) -> Path | None:
        """File of the ``|B1+|`` map that at least one method used; None without such a file."""
        for origin in OUTPUTS["b1"].variants:
            path = OUTPUTS["b1"].beside(self.folder, self.source, origin)
            if self.with_b1(origin) and path.exists():
                return path
        return None

    def with_b1(self, origin: str) -> list[MapResult]:
        """Return the conductivity maps that were computed with ``|B1+|`` of the given origin."""
        return [one for one in self.maps if one.sidecar.b1_map == origin]

    @property
    def mask(self) -> Path:
        """File of the mask, which is always written with the maps."""
        kind = self.sidecar.mask_type
        kinds = [kind] if kind else OUTPUTS["mask"].variants
        paths = [OUTPUTS["mask"].beside(self.folder, self.source, one) for one in kinds]
        return next((path for path in paths if path.exists()), paths[0])

    @cached_property
    def mask_sidecar(self) -> MaskSidecar:
        """Fields of the mask's sidecar."""
        return read_sidecar(self.mask, MaskSidecar)

    @property
    def magnitude(self) -> Path | None:
        """File of the magnitude that belongs to phi0; None if it does not exist."""
        found = sorted(visible(self.folder, OUTPUTS["magnitude"].file_name(self.source)))
        if self.record is not None and self.record.acquisition:
            # a magnitude with another suffix belongs to an acquisition from an earlier run
            suffix = parse_name(f"{self.record.acquisition}.nii.gz")[1]
            found = [path for path in found if parse_name(path.name)[1] == suffix]
        return found[0] if found else None


def _compared_medians(statistics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the medians that are compared between methods, in S/m, keyed by tissue."""
    rows = [row for row in statistics if row["erosion"] == 0]
    tissues = {row["tissue"]: row["median"] for row in rows if row["tissue"] in _COMPARED}
    return tissues or {row["tissue"]: row["median"] for row in rows if row["label"] == WHOLE_MASK}


def existing(path: Path) -> Path | None:
    """Return the path if the file exists, otherwise None."""
    return path if path.exists() else None


def read_sidecar(image: Path, schema: type[_Schema]) -> _Schema:
    """Return the fields of a derivative's own sidecar, without inheritance.

    Raises
    ------
    InputError
        If the sidecar cannot be read.
    """
    path = sidecar_path(image)
    try:
        return schema.from_dict(read_json_object(path, "compute the map again"))
    except (AttributeError, TypeError) as error:
        raise _wrong_fields(path, error) from error


def _has_sidecar(image: Path) -> bool:
    return sidecar_path(image).exists()


def reported_participants(output_dir: Path, labels: Sequence[str] = ()) -> list[str]:
    """Return the participants with maps or run records in a derivative dataset.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset of this app.
    labels : sequence of str
        Requested labels without ``sub-``; empty for all participants.

    Returns
    -------
    list of str
        Sorted labels with ``sub-``, such as ``sub-01``.

    Raises
    ------
    NoInputError
        If the folder is not a derivative dataset of this app, or has no participants.
    SelectionError
        If the dataset lacks a requested participant.
    """
    remedy = "use the OUTPUT_DIR of a participant-level run"
    if not is_ours(output_dir):
        raise NoInputError(output_dir, "is not a derivative dataset of bids_qcm", remedy)
    paths = [*visible(output_dir, "sub-*/"), *visible(output_dir, f"{LOGS}/sub-*.json")]
    names = {re.split(r"[_.]", path.name)[0] for path in paths}
    if not names:
        raise NoInputError(output_dir, "has no participant", remedy)
    wanted = {f"sub-{label}" for label in labels} or names
    absent = ", ".join(sorted(wanted - names))
    if absent:
        raise SelectionError(output_dir, f"has no participant {absent}", "choose other labels")
    return sorted(wanted)


def find_results(
    output_dir: Path,
    participant: str,
    damaged: list[InputError] | None = None,
    *,
    from_tables: bool = False,
) -> list[Result]:
    """Return the results of a participant in a derivative dataset.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset of this app.
    participant : str
        Label with ``sub-``, such as ``sub-01``.
    damaged : list of InputError, optional
        List to which an error is added for each record, sidecar or table that cannot be read.
    from_tables : bool
        Whether a map with a statistics table counts even if its image is missing.

    Returns
    -------
    list of Result
        Sorted by session and acquisition; empty for a participant without maps. Maps whose sidecar
        cannot be read are left out, and damaged tables and records are not used.
    """
    damaged = [] if damaged is None else damaged
    records = {record.source: record for record in read_records(output_dir, participant, damaged)}
    try:
        maps = find_maps(output_dir, participant, from_tables=from_tables)
    except NoInputError:
        return []
    found = [
        _readable(_result(participant, source, list(of_source), records), damaged)
        for source, of_source in groupby(maps, key=attrgetter("source"))
    ]
    return [result for result in found if result is not None]


def _readable(result: Result, damaged: list[InputError]) -> Result | None:
    """Return a result without its damaged files; None if no map can be used."""
    maps = []
    for one in result.maps:
        try:
            _ = one.sidecar
        except InputError as error:
            damaged.append(error)
            continue
        tables = set()
        for table, contents in _TABLES.items():
            try:
                _ = [getattr(one, content) for content in contents]
            except InputError as error:
                damaged.append(error)
                tables.add(table)
        maps.append(replace(one, damaged_tables=frozenset(tables)) if tables else one)
    if not maps:
        return None
    result = replace(result, maps=tuple(maps))
    try:
        _ = result.sidecar, result.segmentation_sidecar, result.lesions_sidecar
    except InputError as error:
        damaged.append(error)
        return None
    return result


def wrong_fields(result: Result, error: Exception) -> InputError:
    """Return the error for an acquisition's sidecar that has a value of the wrong type."""
    return _wrong_fields(result.folder / f"{result.source}_*.json", error)


def _wrong_fields(where: Path, error: Exception) -> InputError:
    problem = f"has a value of the wrong type ({error!r})"
    return InputError(where, problem, "compute the map again")


def duplicate_maps(results: Sequence[Result]) -> list[str]:
    """Return a warning for each pair of results that were computed from the same images.

    Acquisitions that differ only in their suffix get longer output names. If such an acquisition
    is added to the dataset later, the maps of the first acquisition are written again under a new
    name.
    """
    first: dict[frozenset[str], Result] = {}
    found = []
    for result in results:
        sources = map(str, result.sidecar.sources or ())
        images = frozenset(uri for uri in sources if "_part-" in uri)
        other = first.setdefault(images, result)
        if images and other is not result:
            found.append(
                f"{other.source}_* and {result.source}_* were computed from the same images, so "
                "these images count twice in the group; delete the files from the earlier run"
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


def map_warnings(result: Result) -> list[str]:
    """Return the warnings about the maps of an acquisition.

    Returns
    -------
    list of str
        Warnings from all sidecars, and warnings derived from their numbers, without duplicates.
    """
    sidecar = result.sidecar
    found = list(sidecar.warnings or ())
    if sidecar.phase_sign_weak:
        found.append(_weak_sign(sidecar))
    if result.segmentation_sidecar:
        found += result.segmentation_sidecar.warnings or ()
    if result.lesions_sidecar:
        found += result.lesions_sidecar.warnings or ()
    invalid = {one.method: one.sidecar.invalid_fraction or 0 for one in result.maps}
    mostly = [f"{method} ({share:.0%})" for method, share in invalid.items() if share > _MOSTLY]
    if mostly:
        found.append(f"more than half of the mask is invalid for {', '.join(mostly)}")
    for one in result.maps:
        found += one.sidecar.warnings or ()
        found += one.region_warnings
        found += _warnings_of_map(one, result)
    return list(dict.fromkeys(found))


def _weak_sign(sidecar: Phi0Sidecar) -> str:
    agreement = sidecar.phase_sign_agreement
    share = "an unknown fraction" if agreement is None else f"{agreement:.0%}"
    evidence = (
        f"the evidence for the sign of the phase is weak: {share} of the voxels agree with the "
        "automatic sign; "
    )
    if sidecar.phase_sign_origin == "Manufacturer":
        evidence += f"the usual sign of this manufacturer, {sidecar.phase_sign}, was used; "
    return evidence + "check the map, and set --sign if you know the correct sign"


def _warnings_of_map(one: MapResult, result: Result) -> list[str]:
    found = []
    predicted, target = one.sidecar.predicted_std, one.sidecar.target_std
    if predicted is not None and target is not None and predicted > target:
        found.append(
            f"{one.method}: even with twice the published radii, the predicted noise standard "
            f"deviation is {predicted:.2g} S/m, above the target of {target:.2g} S/m; larger radii "
            "would average out the anatomy"
        )
    differing = [
        json_key(name)
        for name in _SHARED
        if getattr(one.sidecar, name) != getattr(result.sidecar, name)
    ]
    if differing:
        found.append(
            f"{one.condmap.name} is from an earlier run and differs from phi0 in "
            f"{' and '.join(differing)}; delete the map, or compute it again"
        )
    return found
