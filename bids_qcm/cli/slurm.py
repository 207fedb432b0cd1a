"""Scripts that run the app as a Slurm job array with one task for each participant."""

import logging
import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bids_qcm.bids.derivatives import write_text
from bids_qcm.bids.planning import Plan
from bids_qcm.cli.exits import Parser
from bids_qcm.settings import Settings
from bids_qcm.workflows.duration import run_seconds
from bids_qcm.workflows.memory import SCHEDULER_MARGIN, acquisition_gb

LOGGER = logging.getLogger("bids_qcm")

# Memory in GB of the main process, which plans the run and writes the reports. The nodes need
# additional memory.
_PARENT_GB = 0.7

# Time limit of a task: factor by which the estimated time is multiplied, and minutes that are
# added. Other machines may take twice the estimated time, and other jobs may use the same memory
# and file system.
_TIME_MARGIN = 4
_MORE_MINUTES = 15

# Time limit of the group level in minutes. The group level needs less than a second per
# participant.
_GROUP_MINUTES = 60

_HEAD = """\
#!/bin/bash
#SBATCH --job-name=bids-qcm-{level}
#SBATCH --cpus-per-task={cpus}
#SBATCH --mem={megabytes}M
#SBATCH --time={minutes}
# A task that was preempted is queued again, and resumes from the work directory.
#SBATCH --requeue
#SBATCH --open-mode=append
"""

_PARTICIPANT = """\
#SBATCH --array=1-{n_participants}
#SBATCH --output={task_log}
# There is one task for each line of participants.txt. A task exits with the exit status of the app.
# Set BIDS_QCM to the command that starts the app, if that is not bids-qcm.
set -eu
cd {here}
label=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {list})
exec ${{BIDS_QCM:-bids-qcm}} {arguments} \\
    --participant-label "$label" --nprocs "$SLURM_CPUS_PER_TASK" --mem {nodes_megabytes}
"""

_GROUP = """\
#SBATCH --output={group_log}
set -eu
cd {here}
exec ${{BIDS_QCM:-bids-qcm}} {bids_dir} {output_dir} group
"""

_SUBMIT = """\
#!/bin/bash
# Submit all participants. The group level starts after all participants have ended, and
# combines the maps of those that succeeded.
# Options are passed to sbatch, for example: bash submit.sh --partition=long
set -eu
job=$(sbatch --parsable "$@" {participant})
sbatch --dependency=afterany:"${{job%%;*}}" "$@" {group}
"""


def task_arguments(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments of a task, without ``--write-slurm`` and ``--participant-label``."""
    parser = Parser(add_help=False)
    parser.add_argument("--write-slurm")
    parser.add_argument("--participant-label", nargs="+")
    return tuple(parser.parse_known_args(argv)[1])


def write_slurm_scripts(plans: Sequence[Plan], settings: Settings, folder: Path) -> None:
    """Write Slurm scripts that compute the plans and request the required memory and time.

    Parameters
    ----------
    plans : sequence of Plan
        At least one plan.
    settings : Settings
        Settings of the run.
    folder : Path
        Folder to write to.
    """
    labels = sorted({plan.acquisition.subject for plan in plans})
    peak_gb = max(acquisition_gb(plan, settings) for plan in plans)
    nodes_gb = settings.memory_gb or peak_gb * SCHEDULER_MARGIN
    paths = {
        "here": Path.cwd(),
        "bids_dir": settings.bids_dir,
        "output_dir": settings.output_dir,
        "list": folder / "participants.txt",
        "participant": folder / "participant.sbatch",
        "group": folder / "group.sbatch",
        "task_log": folder / "participant-%a.log",
        "group_log": folder / "group.log",
    }
    fields = {
        **{name: shlex.quote(str(path)) for name, path in paths.items()},
        "arguments": shlex.join(settings.slurm_arguments),
        "n_participants": len(labels),
        "nodes_megabytes": round(nodes_gb * 1000),
    }
    needs: dict[str, dict[str, int]] = {
        "participant": {
            "cpus": settings.omp_nthreads,
            "megabytes": _megabytes(nodes_gb),
            "minutes": _minutes(plans, replace(settings, nprocs=settings.omp_nthreads)),
        },
        "group": {"cpus": 1, "megabytes": _megabytes(0), "minutes": _GROUP_MINUTES},
    }
    for level, body in (("participant", _PARTICIPANT), ("group", _GROUP)):
        text = (_HEAD + body).format(level=level, **needs[level], **fields)
        write_text(paths[level], text)
    write_text(paths["list"], "".join(f"{label}\n" for label in labels))
    write_text(folder / "submit.sh", _SUBMIT.format(**fields))
    LOGGER.info("submit %d participant(s) with: bash %s", len(labels), folder / "submit.sh")


def _minutes(plans: Sequence[Plan], settings: Settings) -> int:
    """Return the time limit, in minutes, for the participant with the longest run time."""
    of_participants: defaultdict[str, list[Plan]] = defaultdict(list)
    for plan in plans:
        of_participants[plan.acquisition.subject].append(plan)
    longest = max(run_seconds(one, settings) for one in of_participants.values())
    return math.ceil(_TIME_MARGIN * longest / 60) + _MORE_MINUTES


def _megabytes(nodes_gb: float) -> int:
    return round((nodes_gb + _PARENT_GB) * 1000)
