"""Progress of a run, computed from the estimated durations of its steps."""

import time
from collections.abc import Mapping, Sequence

from bids_qcm.bids.planning import Plan
from bids_qcm.settings import Settings
from bids_qcm.workflows.duration import report_seconds, seconds, step_durations
from bids_qcm.workflows.names import acquisition_wf_name

# Steps that take less time than this, in s, say little about the speed of the machine: most of
# them write a file or reuse a cached result.
_SHORT = 1.0

# Weight of the estimates against the measured durations, as a fraction of the run. The first steps
# are short and their durations vary, so they must not determine the time left alone.
_WEIGHT_OF_ESTIMATES = 0.1

REPORTS = "reports"
"""Name of the step that writes all reports of a run."""


class Progress:
    """Progress of a run: which steps are running, the fraction that is done, and the time left.

    Parameters
    ----------
    steps : mapping of str to float
        Estimated duration of each step in s, by name.
    seconds : float
        Estimated duration of the run in s. It is shorter than the sum over the steps if steps run
        at the same time.

    Attributes
    ----------
    displayed : bool
        Whether a display shows the progress, so that steps need not be logged.
    """

    def __init__(self, steps: Mapping[str, float], seconds: float) -> None:
        self.displayed = False
        self._steps = dict(steps)
        self._total = sum(self._steps.values())
        self._seconds = seconds
        self._started: dict[str, float] = {}
        self._done = 0.0
        # durations of the finished steps, except short steps, and the estimates of these durations
        self._measured = self._estimated = 0.0

    @property
    def running(self) -> list[str]:
        """Names of the steps that are running, in the order of their start."""
        return list(self._started)

    def estimate(self, step: str) -> float:
        """Return the estimated duration of a step in s; 0 if there is no estimate."""
        return self._steps.get(step, 0.0)

    def start(self, step: str) -> None:
        """Record the start of a step, or another start of a step whose process was killed."""
        self._started[step] = time.monotonic()

    def end(self, step: str) -> float:
        """Record the end of a step and return its duration in s."""
        duration = time.monotonic() - self._started.pop(step)
        self._done += self.estimate(step)
        if duration >= _SHORT:
            self._measured += duration
            self._estimated += self.estimate(step)
        return duration

    @property
    def fraction(self) -> float:
        """Estimated fraction of the run that is done, from 0 to 1."""
        now = time.monotonic()
        running = (min(now - at, self.estimate(step)) for step, at in self._started.items())
        return min((self._done + sum(running)) / self._total, 1.0) if self._total else 0.0

    @property
    def seconds_left(self) -> float:
        """Estimated time in s until the end, corrected for the speed of the finished steps."""
        known = _WEIGHT_OF_ESTIMATES * self._total
        pace = (known + self._measured) / (known + self._estimated) if self._total else 1.0
        return self._seconds * (1 - self.fraction) * pace


def run_progress(plans: Sequence[Plan], settings: Settings) -> Progress:
    """Return the progress of a run that computes these plans, before its start."""
    steps = {
        f"{acquisition_wf_name(plan.acquisition)}.{step}": estimate
        for plan in plans
        for step, estimate in step_durations(plan, settings).items()
    }
    steps[REPORTS] = sum(map(report_seconds, plans))
    return Progress(steps, sum(seconds(plan, settings) for plan in plans))
