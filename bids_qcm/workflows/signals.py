"""How workers end when they are told to."""

import signal
from types import FrameType

_SECONDS_TO_TIDY = 2


def end_tidily_at(number: signal.Signals) -> None:
    """Let a signal end this process after taking away what it has half written.

    The signal is raised where the process is, so that temporary files go as the stack unwinds.
    nipype catches whatever is raised in a node, so that an alarm ends the process for sure.

    Parameters
    ----------
    number : signal.Signals
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.alarm(_SECONDS_TO_TIDY)
        raise SystemExit(128 + number)

    signal.signal(number, end)
