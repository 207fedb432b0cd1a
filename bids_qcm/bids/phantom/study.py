"""Write a study of phantoms with groups and sessions as a BIDS dataset."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from bids_qcm.bids.anatomy.transforms import write_deformation
from bids_qcm.bids.derivatives import write_text
from bids_qcm.bids.phantom.dataset import (
    TRUTH_DATASET,
    suffix_of,
    write_descriptions,
    write_scan,
)
from bids_qcm.bids.tables import Dictionary, write_table
from bids_qcm.phantom.make import make_head
from bids_qcm.phantom.parameters import PhantomParameters, StudyParameters
from bids_qcm.phantom.study import DAYS_BETWEEN_SESSIONS, Participant, Scan, make_participant
from bids_qcm.phantom.tissues import HEALTHY_BRAIN, TISSUE_ORDER, conductivities
from bids_qcm.segmentation.registration import Deformation
from bids_qcm.settings import SHIPPED_TEMPLATE

_ABOUT = (
    "The anatomy of each participant is a smooth deformation of the MNI152 average brain, with",
    "a skull and a scalp. participants.tsv contains the groups. The conductivity of white matter",
    "differs between the groups. It does not depend on age or sex. The sessions of a participant",
    "differ in noise, head position and lesion conductivity. Only patients have a lesion. In the",
    "truth dataset, the tables contain the true conductivities and movements, and the transforms",
    "contain the deformations.",
)

_ID = {"participant_id": {"Description": "Participant"}}

PARTICIPANTS: Dictionary = {
    **_ID,
    "age": {"Description": "Age of the participant", "Units": "year"},
    "sex": {"Description": "F: female, M: male"},
    "group": {"Description": "control or patient"},
}
"""Columns of ``participants.tsv``."""

TRUE_PARTICIPANTS: Dictionary = {
    **_ID,
    "group": PARTICIPANTS["group"],
    **{
        f"conductivity_{tissue}": {
            "Description": f"True conductivity of {tissue} without other tissues",
            "Units": "S/m",
        }
        for tissue in HEALTHY_BRAIN
    },
}
"""Columns of ``participants.tsv`` in the truth dataset."""

_SESSION = {"session_id": {"Description": "Session"}}

SESSIONS: Dictionary = {
    **_SESSION,
    "days": {"Description": "Time since the first session", "Units": "day"},
}
"""Columns of ``sessions.tsv``."""

TRUE_SESSIONS: Dictionary = {
    **_SESSION,
    "conductivity_L": {
        "Description": "True conductivity of the lesion; n/a without a lesion",
        "Units": "S/m",
    },
    **{
        f"{kind}_{axis}": {
            "Description": f"{meaning} of the head since the first session, RAS axes",
            "Units": unit,
        }
        for kind, meaning, unit in (
            ("translation", "Translation", "mm"),
            ("rotation", "Component of the rotation vector", "degree"),
        )
        for axis in "xyz"
    },
}
"""Columns of ``sessions.tsv`` in the truth dataset."""


def write_study_dataset(out: Path, parameters: PhantomParameters, study: StudyParameters) -> None:
    """Write a study of phantoms.

    Parameters
    ----------
    out : Path
        Folder of the raw dataset. The truth is written to its subfolder ``derivatives/phantom``:
        true conductivity, labels and masks of each scan, tables with the true values and movements,
        and the transforms from the template to each scan.
    parameters : PhantomParameters
        Parameters of the head and the scanner.
    study : StudyParameters
    """
    write_descriptions(out, _ABOUT, asdict(parameters) | asdict(study))
    # BIDS does not define transforms.
    write_text(out / TRUTH_DATASET / ".bidsignore", "*_condmap.nii.gz\n*_condmap.json\n*_xfm.h5\n")
    rows, true_rows = [], []
    for number in range(study.participants):
        name = f"sub-{number + 1:02d}"
        person = make_participant(parameters, study, number)
        rows.append([name, person.age, person.sex, person.group])
        true_rows.append([name, person.group, *_true_values(person, parameters)])
        _write_sessions(out, name, person)
    _write(out / "participants.tsv", rows, PARTICIPANTS)
    _write(out / TRUTH_DATASET / "participants.tsv", true_rows, TRUE_PARTICIPANTS)


def _true_values(person: Participant, parameters: PhantomParameters) -> list[float]:
    """Return the conductivity of each healthy brain tissue of a participant, S/m."""
    values = conductivities(parameters.frequency, parameters.lesion_conductivity)
    return [values[TISSUE_ORDER[name]] * person.tissue_factors[name] for name in HEALTHY_BRAIN]


def _write_sessions(out: Path, name: str, person: Participant) -> None:
    """Write the scans and the session tables of a participant."""
    rows, true_rows = [], []
    for number, scan in enumerate(person.scans):
        session = f"ses-{number + 1:02d}"
        truth = write_scan(
            out, f"{name}_{session}", make_head(scan.parameters, scan.subject), scan.parameters
        )
        _write_transform(truth, f"{name}_{session}", scan)
        rows.append([session, number * DAYS_BETWEEN_SESSIONS])
        lesion = scan.parameters.lesion_conductivity if scan.parameters.lesion else None
        true_rows.append([session, lesion, *scan.translation, *scan.rotation])
    table = f"{name}/{name}_sessions.tsv"
    _write(out / table, rows, SESSIONS)
    _write(out / TRUTH_DATASET / table, true_rows, TRUE_SESSIONS)


def _write_transform(folder: Path, name: str, scan: Scan) -> None:
    """Write the transform that resamples images from the template to a scan."""
    warp = scan.subject.warp
    suffix = suffix_of(scan.parameters)
    path = folder / f"{name}_from-{SHIPPED_TEMPLATE}_to-{suffix}_mode-image_xfm.h5"
    deformation = Deformation(warp.displacement, warp.grid)
    write_deformation(path, deformation, warp.movement, affine_first=True)


def _write(path: Path, rows: list[list[object]], columns: Dictionary) -> None:
    write_table(path, pd.DataFrame(rows, columns=list(columns)), columns)
