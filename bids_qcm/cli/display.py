"""Display of the progress on a terminal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bids_qcm.workflows.duration import format_time
from bids_qcm.workflows.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LOGGER = logging.getLogger("bids_qcm")

_UPDATES_PER_SECOND = 2


@contextmanager
def progress_display(progress: Progress) -> Iterator[None]:
    """Show the progress below the log in a ``with`` block, if standard error is a terminal.

    The display is removed at the end, even after an interruption or an error.

    Parameters
    ----------
    progress : Progress
        Its attribute ``displayed`` is true while the progress is shown.
    """
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if not console.is_interactive:  # the terminal cannot move its cursor
        yield
        return
    live = Live(
        get_renderable=lambda: _render(progress),
        console=console,
        refresh_per_second=_UPDATES_PER_SECOND,
        transient=True,
        redirect_stdout=False,
    )
    with _log_above(console), live:
        progress.displayed = True
        try:
            yield
        finally:
            progress.displayed = False


@contextmanager
def _log_above(console: "Console") -> Iterator[None]:
    """Print log messages above the display instead of writing them to standard error."""
    before = LOGGER.handlers
    LOGGER.handlers = [
        _ConsoleHandler(console, one.formatter)
        if isinstance(one, logging.StreamHandler) and one.stream is sys.stderr
        else one
        for one in before
    ]
    try:
        yield
    finally:
        LOGGER.handlers = before


class _ConsoleHandler(logging.Handler):
    """Handler that prints to a console and leaves the wrapping of long lines to the terminal.

    rich would insert line ends, which break paths that a user copies.
    """

    def __init__(self, console: "Console", formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.print(
                self.format(record), soft_wrap=True, markup=False, highlight=False, emoji=False
            )
        except Exception:  # the handlers in the logging package treat all exceptions in this way
            self.handleError(record)


def _render(progress: Progress) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    table.add_row(
        ProgressBar(total=1.0, completed=progress.fraction, width=30),
        Text(f"{progress.fraction:.0%}, about {format_time(progress.seconds_left)} left"),
    )
    running = Text(", ".join(progress.running), overflow="ellipsis", no_wrap=True)
    lines = Table.grid()
    lines.add_row(table)
    lines.add_row(running)
    return lines
