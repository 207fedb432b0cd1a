"""Write the group tables, the group page and the group maps from a derivative dataset."""

from collections.abc import Hashable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import poisson

from bids_qcm.bids.errors import InputError, NoInputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.group_maps import GROUP_MAP_FILES, write_group_maps
from bids_qcm.bids.names import sidecar_path
from bids_qcm.bids.participants import PARTICIPANTS, Phenotype, read_phenotype
from bids_qcm.bids.privacy import without_paths
from bids_qcm.bids.results import MapResult, Result, find_results, wrong_fields
from bids_qcm.bids.run_records import read_records
from bids_qcm.bids.scan_order import scan_order
from bids_qcm.bids.session_differences import DIFFERENCE_FILES, write_differences
from bids_qcm.bids.tables import CONDSTATS, Dictionary, remove_table, write_table
from bids_qcm.recon import METHODS
from bids_qcm.reports.changes import DICTIONARY as CHANGES
from bids_qcm.reports.changes import changes_of, changes_section
from bids_qcm.reports.difference_figures import draw_differences
from bids_qcm.reports.group_columns import COLUMNS, SCAN, scan_cells
from bids_qcm.reports.group_effects import DICTIONARY, group_effects
from bids_qcm.reports.group_images import draw_group_maps
from bids_qcm.reports.group_plots import Scans, axis_around, effect_rows, region_blocks
from bids_qcm.reports.group_regions import OWN_COLUMNS, RegionTable
from bids_qcm.reports.group_request import GroupRequest
from bids_qcm.reports.outliers import (
    LEAST_VALUES,
    OUTLIER_COLUMNS,
    OUTLIER_SCORE,
    expected_outliers,
    with_outliers,
)
from bids_qcm.reports.pages import embedded, link, link_to_scan, write_page
from bids_qcm.reports.quality import count_verdicts, quality_plots, quality_row, write_quality
from bids_qcm.reports.repeatability import DICTIONARY as REPEATABILITY
from bids_qcm.reports.repeatability import (
    comparable_rows,
    repeatability_of,
    repeatability_section,
)
from bids_qcm.reports.states import group_state
from bids_qcm.statistics import EROSIONS

_MAP = (*SCAN, "method")

# Columns with equal values in all rows of a tissue in comparable maps.
_TISSUE = ["acquisition", "method", "label", "tissue"]

_STATISTICS = ("n", "mean", "sd", "median", "iqr", "invalid_fraction")


def _columns() -> Dictionary:
    columns: dict[str, Mapping[str, str]] = {
        **{name: COLUMNS[name] for name in _MAP},
        "label": CONDSTATS["label"],
        "tissue": CONDSTATS["tissue"],
        "imaging_frequency": {"Description": "Larmor frequency", "Units": "MHz"},
        "literature": {
            "Description": "Literature value of the tissue's conductivity at this frequency "
            "(Gabriel et al. 1996, doi:10.1088/0031-9155/41/11/003)",
            "Units": "S/m",
        },
    }
    for erosion in EROSIONS:
        for name in _STATISTICS:
            entry = dict(CONDSTATS[name])
            if erosion:
                entry["Description"] += f", in the tissue eroded by {erosion} voxels"
            columns[_column(name, erosion)] = entry
    return {**columns, **OUTLIER_COLUMNS}


class WrittenGroup(NamedTuple):
    """Outputs and inputs of the group level.

    Attributes
    ----------
    paths : list of Path
        Files that were written.
    notes : list of str
        Notes about participants without a row in the tables, or left out of a comparison.
    results : list of Result
        Results of all participants.
    """

    paths: list[Path]
    notes: list[str]
    results: list[Result]


def write_group(
    request: GroupRequest, damaged: list[InputError], n_threads: int = 1
) -> WrittenGroup:
    """Write the group tables and their dictionaries, the maps in template spaces, and the page.

    Parameters
    ----------
    request : GroupRequest
        Inputs and comparisons of the group level. The only images that are read are maps in
        template spaces and, for differences, maps of repeated scans.
    damaged : list of InputError
        List to which an error is added for each file that cannot be read. Content that depends on
        such a file is left out.
    n_threads : int
        Number of threads for registering repeated scans.

    Returns
    -------
    WrittenGroup

    Raises
    ------
    NoInputError
        If no map has a statistics table.
    InputError
        If the groups and covariates cannot be compared.
    """
    state = group_state(request)
    output_dir = request.output_dir
    found = _read(request, damaged)
    phenotype = read_phenotype(request.bids_dir, request.participants, damaged, OWN_COLUMNS)
    notes = _without_row(request, phenotype)
    regions = RegionTable(found.results, phenotype)
    effects = pd.DataFrame(columns=list(DICTIONARY))
    if request.group_by is not None or request.covariates:
        effects, left_out = group_effects(regions, phenotype, request)
        notes += left_out
    columns = _columns()
    table = with_outliers(pd.DataFrame(found.rows), _TISSUE)
    order = scan_order(found.results, phenotype)
    repeated_rows = comparable_rows(regions.comparable, table, order)
    repeated = repeatability_of(repeated_rows)
    changes = changes_of(regions.comparable, order)
    paths = _write_tables(
        output_dir,
        {
            "group_condmap.tsv": (table.reindex(columns=list(columns)), columns),
            "group_regions.tsv": (regions.rows, regions.dictionary),
            "group_effects.tsv": (effects, DICTIONARY),
            "group_repeatability.tsv": (repeated, REPEATABILITY),
            "group_changes.tsv": (changes, CHANGES),
        },
    )
    qc = write_quality(output_dir, found.quality)
    maps = write_group_maps(output_dir, found.results, damaged)
    differences = (
        write_differences(output_dir, found.results, order, damaged, n_threads)
        if request.differences
        else []
    )
    files = [path for one in maps for path in one.files.values()]
    files += [one.path for one in differences]
    # remove the figures, too, because all figures are drawn again
    _remove_others(output_dir, {*files, *map(sidecar_path, files)})
    figures = draw_group_maps(output_dir, maps)
    for one in differences:
        notes += [f"{one.second.name}, {one.method}: {text}" for text in one.warnings]
    figures_of_differences = draw_differences(output_dir, differences)
    write_page(
        state.page,
        "group.html",
        # as on the pages of participants, there is no fingerprint if files are damaged, so that
        # each run lists these files
        fingerprint="" if damaged else state.fingerprint(),
        **_content(request, found, phenotype, table, regions, effects),
        images=figures,
        repeatability=repeatability_section(repeated_rows, repeated),
        changes=changes_section(changes, {one.source: one.name for one in found.results}),
        differences=figures_of_differences,
        by_time=order.by_time,
        notes=notes,
        damaged=[without_paths(str(error), _places(request)) for error in damaged],
    )
    written = [*paths, qc, qc.with_suffix(".json"), *files, state.page]
    return WrittenGroup(written, notes, found.results)


def _write_tables(
    output_dir: Path, tables: Mapping[str, tuple[pd.DataFrame, Dictionary]]
) -> list[Path]:
    """Write the tables that have rows, with their dictionaries, and return the paths.

    The other tables are removed, because tables of an earlier run do not belong to this page.
    """
    paths = []
    for name, (content, dictionary) in tables.items():
        path = output_dir / name
        if content.empty:
            remove_table(path)
        else:
            write_table(path, content, dictionary)
            paths += [path, path.with_suffix(".json")]
    return paths


def _remove_others(output_dir: Path, written: Set[Path]) -> None:
    """Remove the maps and figures of an earlier run, which do not belong to this page."""
    for pattern in (*GROUP_MAP_FILES, *DIFFERENCE_FILES):
        for path in {*visible(output_dir, pattern)} - written:
            path.unlink()
            for folder in (path.parent, path.parents[1]):
                with suppress(OSError):  # keep a folder that is not empty
                    folder.rmdir()


@dataclass
class _Found:
    """Results in the derivative dataset.

    Attributes
    ----------
    results : list of Result
        Results with usable sidecars.
    rows, quality : list of dict
        Rows of the tissue table and rows of the quality table.
    without : list of str
        Maps without a statistics table.
    """

    results: list[Result] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    quality: list[dict[str, Any]] = field(default_factory=list)
    without: list[str] = field(default_factory=list)


def _read(request: GroupRequest, damaged: list[InputError]) -> _Found:
    """Read the results of all participants; raise NoInputError if there is no table."""
    found = _Found()
    for participant in request.participants:
        for result in find_results(request.output_dir, participant, damaged, from_tables=True):
            try:
                quality_of_maps = [quality_row(one, result) for one in result.maps]
                rows_of_maps = [row for one in result.maps for row in _rows(one, result)]
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                damaged.append(wrong_fields(result, error))
                continue
            found.results.append(result)
            found.quality += quality_of_maps
            found.rows += rows_of_maps
            found.without += [
                f"{result.name}, {one.method}" for one in result.maps if one.condstats is None
            ]
    if not found.rows:
        raise NoInputError(
            request.output_dir,
            "has no statistics table (*_condstats.tsv)",
            "compute the conductivity maps first, with bids-qcm participant",
        )
    return found


def _without_row(request: GroupRequest, phenotype: Phenotype) -> list[str]:
    """Return a note about the participants who are not in ``participants.tsv``."""
    absent = [one for one in request.participants if one not in phenotype.of_participants]
    if not phenotype.of_participants or not absent:
        return []
    return [f"{PARTICIPANTS} has no row for {', '.join(absent)}"]


def _places(request: GroupRequest) -> dict[str, str]:
    return {f"{request.output_dir}": "OUTPUT_DIR/", f"{request.bids_dir}": "BIDS_DIR/"}


def _content(
    request: GroupRequest,
    found: _Found,
    phenotype: Phenotype,
    table: pd.DataFrame,
    regions: RegionTable,
    effects: pd.DataFrame,
) -> dict[str, Any]:
    """Return the content of the page without images and notes."""
    scans = Scans(found.results)
    tissues = _tissues(table, scans)
    quality = quality_plots(found.quality, scans)
    blocks, is_complete = region_blocks(regions, scans)
    plots = {one["anchor"]: one.pop("plot") for one in (*tissues, *quality)}
    names = {result.source: result.name for result in found.results}
    sizes = table.groupby(_TISSUE)["outlier_score"].count()
    n = len(request.participants)
    return {
        "title": "Conductivity of " + ("one participant" if n == 1 else f"{n} participants"),
        "tissues": tissues,
        "quality": quality,
        "has_regions": bool(blocks),
        "is_complete": is_complete,
        "has_effects": len(effects) > 0,
        "group_by": request.group_by,
        "covariates": request.covariates,
        "data": embedded(
            {
                "scans": scans.described(phenotype),
                "plots": plots,
                "blocks": blocks,
                "effects": effect_rows(effects),
                "colour": request.group_by,
            }
        ),
        "verdicts": count_verdicts(found.quality),
        "outliers": _outliers(table, names),
        "expected": f"{sum(map(expected_outliers, sizes)):.2g}",
        "sessions": _outlying_maps(regions, names),
        "n_region_outliers": int(regions.rows["outlier"].sum()) if len(regions.rows) else 0,
        "expected_regions": f"{regions.n_expected:.2g}" if len(regions.rows) else "0",
        "without": found.without,
        "failures": _failures(request.output_dir, request.participants),
        "score": f"{OUTLIER_SCORE:g}",
        "least": LEAST_VALUES,
    }


def _column(name: str, erosion: int) -> str:
    return f"{name}_eroded{erosion}" if erosion else name


def _rows(one: MapResult, result: Result) -> list[dict[str, Any]]:
    """Return the rows of a map, one for each tissue in its statistics table."""
    literature = result.literature(entry["tissue"] for entry in one.statistics)
    found: dict[int, dict[str, Any]] = {}
    for entry in one.statistics:
        row = found.setdefault(
            entry["label"],
            {
                **scan_cells(result),
                "method": one.method,
                "label": entry["label"],
                "tissue": entry["tissue"],
                "imaging_frequency": result.sidecar.imaging_frequency,
                "literature": literature.get(entry["tissue"], np.nan),
            },
        )
        row |= {_column(name, entry["erosion"]): entry[name] for name in _STATISTICS}
    return list(found.values())


def _tissues(table: pd.DataFrame, scans: Scans) -> list[dict[str, Any]]:
    """Return one strip plot for each tissue, with its name, anchor and literature values."""
    order = [method for method in METHODS if method in set(table["method"])]
    order += sorted(set(table["method"]) - set(order))
    plots = []
    for (label, tissue), of_tissue in table.groupby(["label", "tissue"]):
        rows = []
        for method in order:
            of_method = of_tissue[of_tissue["method"] == method].set_index("source")
            values = of_method["median"].dropna()
            if len(values):
                outliers = scans.numbers(of_method.index[of_method["outlier"]])
                rows.append(scans.row(method, values, outliers=outliers))
        literature = sorted(set(of_tissue["literature"].dropna().round(3)))
        usual = of_tissue.loc[~of_tissue["outlier"], "median"]
        plots.append(
            {
                "name": tissue,
                "anchor": f"tissue-{label}",
                "plot": {
                    "unit": "median conductivity, S/m",
                    "axis": axis_around(usual, literature),
                    "marks": literature,
                    "rows": rows,
                },
                "literature": ", ".join(f"{value:.3f}" for value in literature),
            }
        )
    return plots


def _outlying_maps(regions: RegionTable, names: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the maps that are outliers or have more outlying regions than expected by chance."""
    if regions.rows.empty:
        return []
    table = regions.sessions()
    sizes = table.groupby(["acquisition", "method"])["source"].transform("count")
    by_chance = [
        expected_outliers(n) / n * one for n, one in zip(sizes, table["n_regions"], strict=True)
    ]
    table = table.assign(by_chance=by_chance)
    # maps with more outliers than 99.9 % of maps would have by chance if their regions were
    # independent
    many = table["n_outliers"] > poisson.isf(0.001, table["by_chance"])
    worst = table[table["session_outlier"].astype(bool) | many]
    worst = worst.sort_values("session_score", key=abs, ascending=False)
    return [
        {
            "name": names[row["source"]],
            "link": _link(row),
            "method": row["method"],
            "score": f"{row['session_score']:+.1f}" if np.isfinite(row["session_score"]) else "n/a",
            "regions": f"{row['n_outliers']} of {row['n_regions']}",
            "by_chance": f"{row['by_chance']:.2g}",
        }
        for row in worst.to_dict("records")
    ]


def _outliers(table: pd.DataFrame, names: Mapping[str, str]) -> list[dict[str, str]]:
    worst = table[table["outlier"]].sort_values("outlier_score", key=abs, ascending=False)
    return [
        {
            "name": names[row["source"]],
            "link": _link(row),
            "method": row["method"],
            "tissue": row["tissue"],
            "median": f"{row['median']:.3f}",
            "score": f"{row['outlier_score']:+.1f}",
        }
        for row in worst.to_dict("records")
    ]


def _link(row: Mapping[Hashable, Any]) -> str:
    return link_to_scan(row["participant_id"], row["source"])


def _failures(output_dir: Path, participants: Sequence[str]) -> list[dict[str, str]]:
    """Return the failures in the last run of each participant."""
    return [
        {
            "name": record.acquisition,
            "link": f"{link(participant)}.html#errors",
            "step": failure.step,
            "error": without_paths(failure.error, {str(output_dir): "OUTPUT_DIR/"}),
        }
        for participant in participants
        for record in read_records(output_dir, participant)
        for failure in record.failures
    ]
