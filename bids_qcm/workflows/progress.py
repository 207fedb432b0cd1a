"""Progress of a run, computed from the estimated durations of its steps."""

import time
from collections.abc import Iterable, Mapping, Sequence

from bids_qcm.bids.planning import Plan
from bids_qcm.settings import Settings
from bids_qcm.workflows.duration import report_seconds, run_seconds, step_durations
from bids_qcm.workflows.names import acquisition_wf_name

# Steps shorter than this limit, in s, are not used to estimate the speed of the machine, because
# most of them write a file or reuse a cached result.
_SHORT = 1.0

# Weight of the estimates relative to the measured durations, as a fraction of the run. The first
# steps are short and their durations vary, so they alone must not determine the time left.
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
        # estimates of the steps that have not ended, and the sum of the estimates of the ended
        # steps
        self._left = dict(steps)
        self._done = 0.0
        self._total = sum(self._left.values())
        # the run is shorter than the sum of its steps, because steps run at the same time
        self._shortening = seconds / self._total if self._total else 0.0
        self._started: dict[str, float] = {}
        # durations of the finished steps, except short steps, and the estimates of these durations
        self._measured = self._estimated = 0.0

    @property
    def running(self) -> list[str]:
        """Names of the steps that are running, in the order of their start."""
        return list(self._started)

    def estimate(self, step: str) -> float:
        """Return the estimated duration of a step in s; 0 without an estimate or after its end."""
        return self._left.get(step, 0.0)

    def start(self, step: str) -> None:
        """Record the start of a step, or another start of a step whose process was killed."""
        self._started[step] = time.monotonic()

    def end(self, step: str) -> float:
        """Record the end of a step and return its duration in s."""
        duration = time.monotonic() - self._started.pop(step)
        estimate = self._left.pop(step, 0.0)
        self._done += estimate
        if duration >= _SHORT:
            self._measured += duration
            self._estimated += estimate
        return duration

    def skip(self, steps: Iterable[str]) -> None:
        """Remove steps that failed or that will not start; steps that have ended still count."""
        for step in steps:
            self._started.pop(step, None)
            self._left.pop(step, None)
        self._total = self._done + sum(self._left.values())

    @property
    def fraction(self) -> float:
        """Estimated fraction of the run that is done, from 0 to 1; 1 if there are no steps."""
        now = time.monotonic()
        running = (min(now - at, self.estimate(step)) for step, at in self._started.items())
        return min((self._done + sum(running)) / self._total, 1.0) if self._total else 1.0

    @property
    def seconds_left(self) -> float:
        """Estimated time in s until the end, corrected for the speed of the finished steps."""
        known = _WEIGHT_OF_ESTIMATES * self._total
        pace = (known + self._measured) / (known + self._estimated) if self._total else 1.0
        return self._shortening * self._total * (1 - self.fraction) * pace


def run_progress(plans: Sequence[Plan], settings: Settings) -> Progress:
    """Return the progress of a run that computes these plans, before its start."""
    steps = _durations(plans, settings)
    steps[REPORTS] = sum(map(report_seconds, plans))
    return Progress(steps, run_seconds(plans, settings))


def skip_acquisitions(progress: Progress, plans: Sequence[Plan], settings: Settings) -> None:
    """Remove the steps of acquisitions that will not be computed, or not completely."""
    progress.skip(_durations(plans, settings))


def _durations(plans: Sequence[Plan], settings: Settings) -> dict[str, float]:
    """Return the estimated duration of each step of acquisitions in s, by the name of the node."""
    return {
        f"{acquisition_wf_name(plan.acquisition)}.{step}": estimate
        for plan in plans
        for step, estimate in step_durations(plan, settings).items()
    }
