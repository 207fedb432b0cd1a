"""Detect echoes of one acquisition that a converter named as runs."""

from pathlib import Path

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import IMAGE_EXTENSIONS, parse_name
from bids_qcm.bids.sidecars import are_same, is_number, read_sidecar


def echoes_named_as_runs(image: Path, root: Path) -> dict[Path, float]:
    """Return the runs of an image if their echo times differ.

    Runs with different echo times are most likely echoes of one acquisition.

    Parameters
    ----------
    image : Path
        Phase image, or imaginary part.
    root : Path
        Folder of the dataset.

    Returns
    -------
    dict of Path to float
        Echo time of each run in s, sorted by echo time. Empty if the runs are repetitions, if the
        image has an echo entity or no run entity, or if an echo time is unknown.
    """
    entities, _ = parse_name(image.name)
    if "run" not in entities or "echo" in entities:
        return {}
    times = {}
    for path in _runs(image):
        try:
            time = read_sidecar(path, root).get("EchoTime")
        except InputError:  # ignored here: the error is reported when the other run is planned
            return {}
        if not is_number(time):
            return {}
        times[path] = float(time)
    first = times[image]
    if all(are_same(time, first) for time in times.values()):
        return {}
    return dict(sorted(times.items(), key=lambda item: (item[1], item[0])))


def _runs(image: Path) -> list[Path]:
    """Return the images in the same folder whose names differ only in the run entity."""
    entities, suffix = parse_name(image.name)
    del entities["run"]
    found = []
    for path in visible(image.parent, f"*_{suffix}.nii*"):
        its_entities, its_suffix = parse_name(path.name)
        has_run = its_entities.pop("run", None) is not None
        if has_run and (its_entities, its_suffix) == (entities, suffix):
            found.append(path)
    return [path for path in found if path.name.endswith(IMAGE_EXTENSIONS)]
