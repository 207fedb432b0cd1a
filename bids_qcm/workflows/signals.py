"""Signal handler that ends worker processes."""

import signal
from types import FrameType

_SECONDS_TO_CLEAN_UP = 2


def exit_cleanly_on(number: signal.Signals) -> None:
    """Remove the temporary files of this process on a signal, and exit.

    The signal handler raises ``SystemExit``, so that context managers remove temporary files while
    the stack unwinds. nipype may catch this exception in a node; in that case an alarm ends the
    process after two seconds.

    Parameters
    ----------
    number : signal.Signals
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.alarm(_SECONDS_TO_CLEAN_UP)
        raise SystemExit(128 + number)

    signal.signal(number, end)
