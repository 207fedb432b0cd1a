"""Find the participants and the acquisitions of a raw BIDS dataset."""

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_qcm.bids.acquisitions import (
    Acquisition,
    group_acquisitions,
    merge_coils,
    merge_repetitions,
)
from bids_qcm.bids.errors import DatasetError, InputError, NoInputError, SelectionError
from bids_qcm.bids.files import is_hidden, require_content, visible
from bids_qcm.bids.filters import passes
from bids_qcm.bids.four_d import parts_in_volumes
from bids_qcm.bids.images import count_volumes
from bids_qcm.bids.names import IMAGE_EXTENSIONS, parse_name
from bids_qcm.bids.readers import read_json_object
from bids_qcm.settings import Settings

LOGGER = logging.getLogger("bids_qcm")

_NAME = r"([a-z]+-[0-9A-Za-z+]+_)+[0-9A-Za-z]+\.nii(\.gz)?"

_PARTS = ("mag", "phase", "real", "imag")


def check_description(bids_dir: Path) -> dict[str, Any]:
    """Return the content of ``dataset_description.json``.

    Raises
    ------
    DatasetError
        If the file is missing or malformed, or lacks ``Name`` or ``BIDSVersion``.
    """
    path = bids_dir / "dataset_description.json"
    remedy = "add a valid dataset_description.json, or use --skip-bids-validation"
    try:
        description = read_json_object(path, remedy)
    except InputError as error:
        raise DatasetError(*error.args) from error
    missing = [key for key in ("Name", "BIDSVersion") if not description.get(key)]
    if missing:
        raise DatasetError(path, f"has no {' and no '.join(missing)}", remedy)
    return description


def select_participants(bids_dir: Path, labels: Sequence[str]) -> list[str]:
    """Return the labels of the participants to process.

    Parameters
    ----------
    bids_dir : Path
    labels : sequence of str
        Requested labels without ``sub-``; empty for all participants.

    Returns
    -------
    list of str
        Sorted labels without ``sub-``.

    Raises
    ------
    NoInputError
        If the dataset has no participants.
    SelectionError
        If the dataset lacks a requested participant.
    """
    # Check the names, because the folder may contain other entries, such as sub-01.html or
    # sub-01_old.
    present = sorted(
        path.name[4:]
        for path in visible(bids_dir, "sub-*")
        if path.is_dir() and re.fullmatch(r"sub-[0-9A-Za-z+]+", path.name)
    )
    if not present:
        raise NoInputError(
            bids_dir,
            "has no folder named sub-<letters and digits>",
            "use the root folder of a BIDS dataset as BIDS_DIR",
        )
    absent = sorted(set(labels) - set(present))
    if absent:
        shown = ", ".join(present[:10]) + (", ..." if len(present) > 10 else "")
        raise SelectionError(
            bids_dir, f"has no participant {', '.join(absent)}", f"choose from {shown}"
        )
    return [label for label in present if not labels or label in labels]


def find_acquisitions(settings: Settings) -> list[Acquisition]:
    """Return the acquisitions of the selected participants.

    Returns
    -------
    list of Acquisition
        Sorted by name, at least one acquisition.

    Raises
    ------
    NoInputError
        If the dataset has no participants, or the selected participants have no phase image.
    SelectionError
        If a selected participant is missing, or no acquisition passes the filters.
    """
    participants = select_participants(settings.bids_dir, settings.participant_labels)
    images = _images(settings, participants)
    parts = {
        path: listed
        for path in images
        if "part" not in parse_name(path.name)[0]
        and (listed := parts_in_volumes(path, settings.bids_dir))
    }
    with_part = [path for path in images if parse_name(path.name)[0].get("part") in _PARTS]
    found = group_acquisitions([*with_part, *parts], parts)
    if not found:
        _check_no_volumes(images)
        raise NoInputError(
            settings.bids_dir,
            f"has no phase image for participant {', '.join(participants)}",
            "name the images sub-*/anat/*_part-phase_*.nii.gz and *_part-mag_*.nii.gz "
            "(or part-real and part-imag)",
        )
    # The filters apply after grouping, because the derivative names depend on all acquisitions of
    # the participant.
    selected = [acquisition for acquisition in found if _is_selected(acquisition, settings)]
    if not selected:
        names = ", ".join(acquisition.name for acquisition in found[:5])
        raise SelectionError(
            settings.bids_dir,
            f"has phase images ({names}{', ...' if len(found) > 5 else ''}), but none matches "
            "--session-label and --bids-filter-file",
            "use less restrictive filters",
        )
    return merge_repetitions(merge_coils(selected), settings.average_runs)


def _check_no_volumes(images: Sequence[Path]) -> None:
    """Raise an error if an image has several volumes, which may be magnitude and phase."""
    for path in images:
        try:
            n = count_volumes(path)
        except InputError:  # a damaged image does not explain why there is no phase
            continue
        if n > 1 and "part" not in parse_name(path.name)[0]:
            raise NoInputError(
                path,
                f"has {n} volumes, but neither its name nor its sidecar says whether they include "
                "a phase",
                "if they are magnitude and phase, or real and imaginary parts, set "
                f"ComplexImageComponent in the sidecar to a list of {n} values (MAGNITUDE, PHASE, "
                "REAL, IMAGINARY); otherwise, add the phase with the entity part-phase",
            )


def _images(settings: Settings, participants: Sequence[str]) -> list[Path]:
    """Return the anatomical images of the participants; pybids indexes only these participants."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    chosen = "|".join(map(re.escape, participants))
    database = settings.bids_database_dir
    if database is not None:
        # pybids uses an existing database without checking which dataset it indexes, so each
        # dataset and selection of participants gets its own database.
        key = f"{settings.bids_dir}:{chosen}"
        database = database / hashlib.sha256(key.encode()).hexdigest()[:16]
    indexer = BIDSLayoutIndexer(
        validate=False,
        index_metadata=False,
        ignore=[
            # Search only the anat folders of the participants. Other folders, such as derivatives,
            # .git or a work directory, may contain copies of participant folders, and a link may
            # lead to a parent folder.
            re.compile(rf"^/(?!sub-(?:{chosen})(?:/ses-[^/]+)?(?:/anat(?:/[^/]+)?)?$)"),
            re.compile(r"/\."),
        ],
    )
    # pybids reads this file even without validation.
    require_content(settings.bids_dir / "dataset_description.json")
    try:
        layout = BIDSLayout(
            settings.bids_dir, validate=False, database_path=database, indexer=indexer
        )
    except Exception as error:  # pybids may raise any exception for a damaged file
        raise DatasetError(
            settings.bids_dir,
            f"cannot be indexed by pybids ({error!r})",
            "correct dataset_description.json, or choose another --bids-database-dir",
        ) from error
    files = map(Path, layout.get(extension=list(IMAGE_EXTENSIONS), return_type="filename"))
    # pybids parses entities from the whole path, including the folders above the dataset, so the
    # file name and its folder are checked again.
    images = [
        path
        for path in files
        if path.parent.name == "anat"
        # An older database may still contain hidden files, which are ignored now.
        and not is_hidden(path, settings.bids_dir)
    ]
    named = [path for path in images if _is_bids_name(path)]
    for path in sorted(set(images) - set(named)):
        if parse_name(path.name)[0].get("part") in _PARTS:
            LOGGER.warning("%s is ignored: its name is not a valid BIDS file name", path)
    return named


def _is_bids_name(path: Path) -> bool:
    """Whether a file name is well-formed and has the ``sub`` entity of its participant folder."""
    subject = path.parts[-3] if path.parts[-3].startswith("sub-") else path.parts[-4]
    return path.name.startswith(f"{subject}_") and bool(re.fullmatch(_NAME, path.name))


def _is_selected(acquisition: Acquisition, settings: Settings) -> bool:
    if settings.session_labels and acquisition.session not in settings.session_labels:
        return False
    present = {**acquisition.entities, "suffix": acquisition.suffix, "datatype": "anat"}
    return passes(present, settings.bids_filters)
