"""nipype's configuration, which it reads once, when imported."""

import os

from bids_qcm.bids.derivatives import write_text
from bids_qcm.settings import Settings

_NIPYPE_CONFIG = """\
[logging]
workflow_level = {level}
utils_level = {level}
interface_level = {level}
[execution]
hash_method = content
local_hash_check = false
create_report = false
check_version = false
crashfile_format = txt
crashdump_dir = {crash_dir}
poll_sleep_duration = 0.05
stop_on_first_crash = {stop_on_first_crash}
"""


def configure_nipype(settings: Settings, *, verbose: bool) -> None:
    """Settle nipype's configuration, before its first import.

    It reads a file when imported, in this process and in every worker; by default one in the
    user's home. Without the second variable it would look for updates on the network.

    Parameters
    ----------
    settings : Settings
    verbose : bool
        Let nipype log each step of each node.
    """
    config = _NIPYPE_CONFIG.format(
        level="INFO" if verbose else "CRITICAL",
        crash_dir=settings.output_dir / "logs",
        stop_on_first_crash=str(settings.stop_on_first_crash).lower(),
    )
    write_text(settings.work_dir / "nipype.cfg", config.replace("%", "%%"))
    os.environ["NIPYPE_CONFIG_DIR"] = str(settings.work_dir)
    os.environ["NIPYPE_NO_ET"] = "1"
