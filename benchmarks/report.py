"""Tables of the benchmark report."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from benchmarks.cases import (
    ALL_METHODS_TARGET,
    ALL_WITH_UNCERTAINTY_TARGET,
    MEMORY_TARGET,
    PUBLISHED_CASES,
    SPEED_UP_TARGET,
)
from benchmarks.hardware import Peaks
from benchmarks.others import QUIET

Row = dict[str, Any]
"""A measurement: its ``table``, median ``seconds``, ``pairs``, ``others``, and other properties."""


def report(rows: Sequence[Row], peaks: Peaks | None) -> list[str]:
    """Return the lines of the report.

    Parameters
    ----------
    rows : sequence of dict
        Measurements.
    peaks : Peaks or None
        Peak performance of the hardware; None if no benchmark measured it.
    """
    lines: list[str] = []
    for table, make in _TABLES.items():
        chosen = [row for row in rows if row["table"] == table]
        if chosen:
            lines += ["", *make(chosen)]
        if chosen and table == "loops" and peaks is not None:
            lines += _peak_lines(peaks)
    lines += ["", "cpu: processor time / threads, which is the run time if no thread waits"]
    disturbed = [row["others"] for row in rows if _disturbed(row)]
    if disturbed:
        lines += [
            f"~ other programs used up to {max(disturbed):.1f} processors "
            "and slowed this measurement",
        ]
    return lines


def _methods(rows: Sequence[Row]) -> list[str]:
    cells = [
        (
            row["name"],
            " / ".join(f"{radius:g}" for radius in row["radii"]),
            _seconds(row),
            f"{_processor_seconds(row):.2f}",
            _nanoseconds(row["seconds"], row["pairs"]),
        )
        for row in rows
    ]
    lines = _table(
        f"Whole methods, {rows[0]['voxels']:,} voxels: median seconds",
        ("method", "radii mm", "s", "cpu s", "ns/pair"),
        cells,
    )
    for uncertainty, target in ((False, ALL_METHODS_TARGET), (True, ALL_WITH_UNCERTAINTY_TARGET)):
        published = [r for r in rows if r["published"] and r["uncertainty"] == uncertainty]
        if len(published) == len(PUBLISHED_CASES) / 2:
            total = sum(row["seconds"] for row in published)
            running = sum(map(_processor_seconds, published))
            verdict = _verdict(total, target, disturbed=any(map(_disturbed, published)))
            what = "ten published methods" + (" with uncertainty" if uncertainty else "")
            lines.append(f"{what}: {total:.0f} s (cpu {running:.0f}), target {verdict}")
    return lines


def _loops(rows: Sequence[Row]) -> list[str]:
    cells = []
    for row in rows:
        measured = row["seconds"] / row["pairs"]
        running = _processor_seconds(row) / row["pairs"]
        least = row["least"]
        cells.append(
            (
                f"{row['name']}: {row['part']}",
                f"{row['radius']:g}",
                row["support"],
                _seconds(row),
                f"{measured * 1e9:.3f}",
                f"{running * 1e9:.3f}",
                _verdict(measured * 1e9, row["target"], disturbed=_disturbed(row)),
                f"{row['float32']:.0f}+{row['float64']:.0f}",
                f"{least['operations'] / running:.0%}",
                f"{row['l1']:.0f}",
                f"{least['l1'] / running:.0%}",
                f"{row['memory']:.3f}",
                f"{least['memory'] / running:.1%}",
                f"{max(least.values()) * 1e9:.3f}",
            )
        )
    header = (
        "loop", "mm", "support", "s", "ns/pair", "cpu ns", "target", "op32+64", "peak",
        "L1 B", "peak", "mem B", "peak", "least",
    )  # fmt: skip
    return _table("Compiled loops, per output voxel x voxel of the ellipsoid (pair)", header, cells)


def _peak_lines(peaks: Peaks) -> list[str]:
    return [
        f"peak of {peaks.n_threads} threads: {peaks.float32 / 1e9:.0f} G float32 op/s, "
        f"{peaks.float64 / 1e9:.0f} G float64 op/s, {peaks.l1 / 1e9:.0f} GB/s in L1, "
        f"{peaks.l2 / 1e9:.0f} in L2, {peaks.memory / 1e9:.0f} from memory",
        "peak: fraction of the peak that was reached; least: ns/pair at the peak that limits the "
        "loop; costs.py describes the counts",
    ]


def _inversions(rows: Sequence[Row]) -> list[str]:
    cells = []
    for row in rows:
        running = row["processor_seconds"]
        least = row["bytes"] / row["bandwidth"] * row["threads"]
        cells.append(
            (
                row["name"],
                _seconds(row),
                f"{running:.1f}",
                _verdict(running, row["target"], disturbed=_disturbed(row)),
                row["loops"],
                f"{row['bytes'] / 1e9:.0f}",
                f"{least / running:.0%}",
            )
        )
    return _table(
        f"Inversions, {rows[0]['voxels']:,} voxels: processor time of all threads, and the bytes "
        "of the grids that compiled loops pass over",
        ("method", "s", "cpu s", "target", "loops", "GB", "peak"),
        cells,
    )


def _memory(rows: Sequence[Row]) -> list[str]:
    cells = [
        (
            row["name"],
            f"{row['memory_before'] / 1e9:.2f}",
            f"{row['memory_peak'] / 1e9:.2f}",
            _verdict(row["memory_peak"] / 1e9, MEMORY_TARGET / 1e9),
        )
        for row in rows
    ]
    title = "Resident memory of a process that reconstructs the head once, GB"
    return _table(title, ("method", "before", "peak", "target"), cells)


def _scaling(varied: str) -> Callable[[Sequence[Row]], list[str]]:
    def make(rows: Sequence[Row]) -> list[str]:
        cells = [
            (
                row["name"],
                f"{row['radius']:g}",
                row["voxels"],
                row["support"],
                _seconds(row, "fastest"),
                _nanoseconds(row["fastest"], row["pairs"]),
                _nanoseconds(_processor_seconds(row), row["pairs"]),
            )
            for row in rows
        ]
        header = ("loop", "mm", "voxels", "support", "s", "ns/pair", "cpu ns")
        return _table(f"Growing number of {varied}: seconds of the fastest round", header, cells)

    return make


def _threads(rows: Sequence[Row]) -> list[str]:
    cells = []
    for name, group in groupby(rows, key=itemgetter("name")):
        same = list(group)
        for row in same:
            disturbed = any(map(_disturbed, same))
            speed_up = same[0]["fastest"] / row["fastest"]
            target = SPEED_UP_TARGET * row["threads"] if row["threads"] > 1 else None
            cells.append(
                (
                    name,
                    row["threads"],
                    _seconds(row, "fastest"),
                    f"{speed_up:.2f}",
                    ""
                    if target is None
                    else _verdict(speed_up, target, at_least=True, disturbed=disturbed),
                )
            )
    header = ("loop", "threads", "s", "speed-up", "target")
    return _table("Threads: seconds of the fastest round", header, cells)


def _start(rows: Sequence[Row]) -> list[str]:
    cells = [
        (
            row["name"],
            row["cache"],
            f"{row['calls']:.2f}",
            _verdict(row["calls"], row["target"], disturbed=_disturbed(row)),
            f"{row['import'] + row['calls']:.2f}{_mark(row)}",
            _verdict(row["import"] + row["calls"], row["target"], disturbed=_disturbed(row)),
        )
        for row in rows
    ]
    header = ("first call of", "cache", "s", "target", "with import", "target")
    return _table("First call in a process, with a tiny head: seconds", header, cells)


def _commands(rows: Sequence[Row]) -> list[str]:
    cells = [
        (
            row["name"],
            f"{row['processor_time']:.1f}{_mark(row)}",
            _verdict(row["processor_time"], row["target"], disturbed=_disturbed(row)),
            f"{row['memory_peak'] / 1e9:.2f}",
            _verdict(row["memory_peak"] / 1e9, row["memory_target"] / 1e9),
        )
        for row in rows
    ]
    header = ("command", "cpu s", "target", "GB", "target")
    return _table("Commands: processor time, and peak resident memory", header, cells)


_TABLES: dict[str, Callable[[Sequence[Row]], list[str]]] = {
    "methods": _methods,
    "loops": _loops,
    "inversions": _inversions,
    "memory": _memory,
    "output voxels": _scaling("output voxels"),
    "support voxels": _scaling("support voxels"),
    "threads": _threads,
    "start": _start,
    "commands": _commands,
}


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return lines with aligned columns: the first to the left, the others to the right."""
    cells = [list(header), *([_text(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return [title, lines[0], "-" * sum(widths, 2 * (len(widths) - 1)), *lines[1:]]


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _seconds(row: Row, which: str = "seconds") -> str:
    return f"{row[which]:.2f}{_mark(row)}"


def _processor_seconds(row: Row) -> float:
    return row["processor_seconds"] / row["threads"]


def _nanoseconds(seconds: float, pairs: float) -> str:
    return f"{seconds / pairs * 1e9:.3f}" if pairs else ""


def _verdict(
    value: float, target: float | None, *, at_least: bool = False, disturbed: bool = False
) -> str:
    """Return the target and whether the value meets the target.

    If other programs disturbed the measurement, a missed target is reported as unclear.
    """
    if target is None:
        return ""
    if value >= target if at_least else value <= target:
        return f"{target:g} met"
    return f"{target:g} {'unclear' if disturbed else 'MISSED'}"


def _mark(row: Row) -> str:
    return "~" if _disturbed(row) else " "


def _disturbed(row: Row) -> bool:
    return row["others"] is not None and row["others"] > QUIET
