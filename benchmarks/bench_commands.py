"""Time and memory of commands that handle many participants."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.cases import (
    ENGINE_MEMORY,
    GROUP_TARGETS,
    N_MAPPED,
    N_PLANNED,
    NODE_SECONDS,
    PLAN_OF_ONE_TARGETS,
    PLAN_TARGETS,
    STUDY_PARTICIPANTS,
    STUDY_REGIONS,
)
from benchmarks.command import run_command
from tests.group_tables import write_study
from tests.synthetic import write_subjects


def bench_study(measure: Callable[..., None], tmp_path: Path) -> None:
    """Measure the group level of a study that consists only of tables, with two sessions."""
    raw, out = write_study(tmp_path, STUDY_PARTICIPANTS, STUDY_REGIONS)
    options = ("--group-by", "group", "--covariates", "age", "sex")
    command = (raw, out, "group", "-w", tmp_path / "work", *options)
    name = f"group: {STUDY_PARTICIPANTS} participants, 2 sessions, {STUDY_REGIONS} regions"
    measure("commands", lambda: run_command(*command), name=name, threads=1, **GROUP_TARGETS)


def bench_plan(measure: Callable[..., None], tmp_path: Path) -> None:
    """Measure the plan of a dataset with many participants."""
    raw = write_subjects(tmp_path / "raw", N_PLANNED)
    command = (raw, tmp_path / "out", "participant", "-w", tmp_path / "work", "--dry-run")
    name = f"plan: {N_PLANNED} participants"
    measure("commands", lambda: run_command(*command), name=name, threads=1, **PLAN_TARGETS)


def bench_plan_of_one(measure: Callable[..., None], tmp_path: Path) -> None:
    """Measure the plan of one of many participants."""
    raw = write_subjects(tmp_path / "raw", N_PLANNED)
    command = (raw, tmp_path / "out", "participant", "-w", tmp_path / "work", "--dry-run")
    measure(
        "commands",
        lambda: run_command(*command, "--participant-label", "0500"),
        name=f"plan: one of {N_PLANNED} participants",
        threads=1,
        **PLAN_OF_ONE_TARGETS,
    )


def bench_workflow_engine(measure: Callable[..., None], tmp_path: Path) -> None:
    """Measure the maps of tiny participants, for which the workflow engine takes most of the time.

    All steps run in one process.
    """
    raw = write_subjects(tmp_path / "raw", N_MAPPED, n_echoes=1)
    plugin = tmp_path / "plugin.yml"
    plugin.write_text("plugin: Linear")
    command = (raw, tmp_path / "out", "participant", "-w", tmp_path / "work")
    options = ("--method", "laplacian", "--fit-radius", "3", "--use-plugin", plugin)

    def run() -> dict[str, float]:
        found = run_command(*command, *options)
        n_nodes = sum(1 for _ in (tmp_path / "work").rglob("result_*.pklz"))
        return {**found, "target": n_nodes * NODE_SECONDS, "memory_target": ENGINE_MEMORY}

    measure("commands", run, name=f"maps: {N_MAPPED} tiny participants", threads=1)
