"""A raw BIDS dataset: who is in it, and which images have a phase."""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_qcm.bids.acquisitions import Acquisition, group_acquisitions
from bids_qcm.bids.errors import DatasetError, InputError, NoInputError, SelectionError
from bids_qcm.bids.files import is_hidden, require_content, visible
from bids_qcm.bids.filters import passes
from bids_qcm.bids.names import IMAGE_EXTENSIONS, parse_name
from bids_qcm.settings import Settings

LOGGER = logging.getLogger("bids_qcm")

_OTHER_DATATYPES = r"/(beh|dwi|eeg|fmap|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet)(/|$)"

_NAME = r"([a-z]+-[0-9A-Za-z+]+_)+[0-9A-Za-z]+\.nii(\.gz)?"

_PARTS = ("mag", "phase", "real", "imag")


def check_description(bids_dir: Path) -> dict[str, Any]:
    """Read a dataset's description.

    Raises
    ------
    DatasetError
        If it is missing, malformed, or has no Name or BIDSVersion.
    """
    path = bids_dir / "dataset_description.json"
    remedy = "add a valid dataset_description.json, or give --skip-bids-validation"
    try:
        require_content(path)
        description = json.loads(path.read_text(encoding="utf-8-sig"))
    except InputError as error:
        raise DatasetError(*error.args) from error
    except (OSError, ValueError) as error:
        raise DatasetError(path, f"cannot be read ({error})", remedy) from error
    if not isinstance(description, dict):
        raise DatasetError(path, "is not a JSON object", remedy)
    missing = [key for key in ("Name", "BIDSVersion") if not description.get(key)]
    if missing:
        raise DatasetError(path, f"has no {' and no '.join(missing)}", remedy)
    return description


def select_participants(bids_dir: Path, labels: Sequence[str]) -> list[str]:
    """List the participants to process.

    Parameters
    ----------
    bids_dir : Path
    labels : sequence of str
        Those asked for, without ``sub-``; empty for all.

    Returns
    -------
    list of str
        Sorted, without ``sub-``.

    Raises
    ------
    NoInputError
        If the dataset has no participants.
    SelectionError
        If one that was asked for is not there.
    """
    # other tools leave folders such as sub-01.html or sub-01_old beside the participants'
    present = sorted(
        path.name[4:]
        for path in visible(bids_dir, "sub-*")
        if path.is_dir() and re.fullmatch(r"sub-[0-9A-Za-z+]+", path.name)
    )
    if not present:
        raise NoInputError(
            bids_dir,
            "has no folder sub-<letters and digits>",
            "give the folder of a BIDS dataset",
        )
    absent = sorted(set(labels) - set(present))
    if absent:
        shown = ", ".join(present[:10]) + (", ..." if len(present) > 10 else "")
        raise SelectionError(
            bids_dir, f"has no participant {', '.join(absent)}", f"choose from {shown}"
        )
    return [label for label in present if not labels or label in labels]


def find_acquisitions(settings: Settings) -> list[Acquisition]:
    """Find the acquisitions of the selected participants.

    Returns
    -------
    list of Acquisition
        Sorted by name; at least one.

    Raises
    ------
    NoInputError
        If the dataset, or what is selected of it, has no phase image.
    SelectionError
        If a filter leaves nothing.
    """
    participants = select_participants(settings.bids_dir, settings.participant_labels)
    found = group_acquisitions(_part_files(settings, participants))
    if not found:
        raise NoInputError(
            settings.bids_dir,
            f"has no phase image for participant {', '.join(participants)}",
            "name phase images sub-*/anat/*_part-phase_*.nii.gz beside *_part-mag_*.nii.gz "
            "(or part-real and part-imag)",
        )
    # Filtered only now: what else the participant has decides the names of derivatives.
    selected = [acquisition for acquisition in found if _is_selected(acquisition, settings)]
    if not selected:
        names = ", ".join(acquisition.name for acquisition in found[:5])
        raise SelectionError(
            settings.bids_dir,
            f"has phase images ({names}{', ...' if len(found) > 5 else ''}), but none passes "
            "--session-label and --bids-filter-file",
            "loosen the filters",
        )
    return selected


def _part_files(settings: Settings, participants: Sequence[str]) -> list[Path]:
    """Query pybids for images with a part entity, indexing the participants alone."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    chosen = "|".join(map(re.escape, participants))
    database = settings.bids_database_dir
    if database is not None:
        # pybids trusts what it finds there, whatever it was an index of
        key = f"{settings.bids_dir}:{chosen}"
        database = database / hashlib.sha256(key.encode()).hexdigest()[:16]
    layout = BIDSLayout(
        settings.bids_dir,
        validate=False,
        database_path=database,
        indexer=BIDSLayoutIndexer(
            validate=False,
            index_metadata=False,
            ignore=[
                # all but the participants': copies of them in derivatives, .git, a work folder
                re.compile(rf"^/(?!sub-(?:{chosen})(?:/|$))"),
                re.compile(_OTHER_DATATYPES),
                re.compile(r"/\."),
            ],
        ),
    )
    files = map(Path, layout.get(extension=list(IMAGE_EXTENSIONS), return_type="filename"))
    # pybids takes entities from anywhere in a path, from the folders above the dataset as well
    with_part = [
        path
        for path in files
        if path.parent.name == "anat"
        and parse_name(path.name)[0].get("part") in _PARTS
        # pybids may have read a database that was written before hidden files were ignored
        and not is_hidden(path, settings.bids_dir)
    ]
    named = [path for path in with_part if _is_bids_name(path)]
    for path in sorted(set(with_part) - set(named)):
        LOGGER.warning("%s is ignored: BIDS has no such file name", path)
    return named


def _is_bids_name(path: Path) -> bool:
    """Tell whether a name is well-formed, and of the participant whose folder it is in."""
    subject = path.parts[-3] if path.parts[-3].startswith("sub-") else path.parts[-4]
    return path.name.startswith(f"{subject}_") and bool(re.fullmatch(_NAME, path.name))


def _is_selected(acquisition: Acquisition, settings: Settings) -> bool:
    if settings.session_labels and acquisition.session not in settings.session_labels:
        return False
    present = {**acquisition.entities, "suffix": acquisition.suffix, "datatype": "anat"}
    return passes(present, settings.bids_filters)
