"""Time and memory of the group level for a large study that consists only of tables."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.cases import STUDY_PARTICIPANTS, STUDY_REGIONS
from benchmarks.group import run_group
from tests.group_tables import write_study


def bench_study(measure: Callable[..., None], tmp_path: Path) -> None:
    """Measure the group level with two sessions and one method."""
    raw, out = write_study(tmp_path, STUDY_PARTICIPANTS, STUDY_REGIONS)
    name = f"{STUDY_PARTICIPANTS} participants, 2 sessions, {STUDY_REGIONS} regions"
    measure("study", lambda: run_group(raw, out), name=name, threads=1)
