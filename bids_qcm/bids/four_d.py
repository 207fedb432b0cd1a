"""Echoes in the volumes of 4-D images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import count_volumes


def volume_echo_times(pair: tuple[Path, Path], sidecar: Mapping[str, Any]) -> list[Any]:
    """Return the echo time of each volume in a pair of 4-D images.

    Parameters
    ----------
    pair : pair of Path
        Magnitude and phase, or real and imaginary part.
    sidecar : mapping
        Merged sidecars of both images.

    Returns
    -------
    list
        Echo times as in the sidecar; empty for 3-D images.

    Raises
    ------
    InputError
        If the numbers of volumes differ, or if the sidecar does not describe the volumes.
    """
    counts = [count_volumes(path) for path in pair]
    n = max(counts)
    if min(counts) != n:
        more, fewer = pair if counts[0] == n else pair[::-1]
        raise InputError(
            more,
            f"has {n} volumes, but {fewer.name} has {min(counts)}",
            "use images of one acquisition that have the same volumes",
        )
    times = sidecar.get("EchoTime")
    if n == 1:
        return []
    if not isinstance(times, list) or len(times) != n:
        raise InputError(
            pair[1],
            f"has {n} volumes, but its sidecar does not describe them: its EchoTime is "
            f"{'missing' if times is None else times}",
            f"if the volumes are echoes, set EchoTime to a list of {n} echo times (seconds); "
            "if they are repetitions, coils or parts of the signal, store each volume in a file "
            "with its own name (run-1, part-phase)",
        )
    return times
