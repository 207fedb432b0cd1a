import logging
import os
import pty
from contextlib import contextmanager, redirect_stderr

import pytest

from bids_qcm.cli.display import progress_display
from bids_qcm.workflows.progress import Progress

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
ERASE_LINE = "\x1b[2K"


class Terminal:
    """A terminal to which standard error and the log are written in a ``with`` block."""

    def __init__(self):
        self._ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w", buffering=1)

    @contextmanager
    def __call__(self):
        logger = logging.getLogger("bids_qcm")
        before, logger.handlers = logger.handlers, [logging.StreamHandler(self.stream)]
        try:
            with redirect_stderr(self.stream):
                yield logger
            assert logger.handlers[0].stream is self.stream
        finally:
            logger.handlers = before

    def read(self):
        """Return the text that was printed; wait until it has all arrived."""
        print("END", file=self.stream)
        said = ""
        while not said.endswith("END\r\n"):
            said += os.read(self._ours, 100_000).decode()
        return said.removesuffix("END\r\n")


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@pytest.fixture
def progress():
    progress = Progress({"sub_01_T2w_wf.phi0": 3e3, "sub_01_T2w_wf.sign": 3e3}, 6e3)
    progress.start("sub_01_T2w_wf.phi0")
    progress.end("sub_01_T2w_wf.phi0")
    progress.start("sub_01_T2w_wf.sign")
    return progress


def test_a_terminal_shows_the_running_steps_the_progress_and_the_time_left(terminal, progress):
    with terminal() as logger, progress_display(progress):
        assert progress.displayed
        logger.warning("a warning")
    said = terminal.read()
    assert "sub_01_T2w_wf.sign" in said
    assert "50%, about 50 min left" in said
    assert "a warning" in said
    assert not progress.displayed


def test_long_log_lines_are_not_wrapped(terminal, progress):
    path = "/a folder/" + "/".join(["subfolder"] * 30) + "/[bold]map.nii.gz"
    with terminal() as logger, progress_display(progress):
        logger.warning("written: %s", path)
    assert f"written: {path}\r\n" in terminal.read()


def test_an_interruption_leaves_the_terminal_clean(terminal, progress):
    with pytest.raises(KeyboardInterrupt), terminal(), progress_display(progress):
        raise KeyboardInterrupt
    said = terminal.read()
    assert said.rindex(SHOW_CURSOR) > said.rindex(HIDE_CURSOR)
    # the last control sequence erases the first line of the display
    assert said.endswith(ERASE_LINE)


def test_a_terminal_without_cursor_control_has_no_display(terminal, progress, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with terminal(), progress_display(progress):
        assert not progress.displayed
    assert terminal.read() == ""


def test_a_file_has_no_display(progress, capsys):
    with progress_display(progress):
        assert not progress.displayed
    assert capsys.readouterr().err == ""
