"""A study of phantoms: groups, sessions, anatomies and true effects."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bids_qcm.phantom.deformation import Warp, random_displacement, rigid_movement
from bids_qcm.phantom.make import Subject
from bids_qcm.phantom.parameters import PhantomParameters, StudyParameters, scan_parameters
from bids_qcm.phantom.tissues import HEALTHY_BRAIN

Group = Literal["control", "patient"]

EFFECT_TISSUE = "WM"
"""Tissue whose conductivity differs between the groups."""

AGES = (20, 80)
"""Minimum and maximum age of a participant, years."""

DAYS_BETWEEN_SESSIONS = 180

_HEAD_CENTRE = (0.0, -18.0, 8.0)
"""Centre of the rotations of the head, mm."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One session of a participant.

    Attributes
    ----------
    parameters : PhantomParameters
        Parameters of the scan, with its own noise seed and lesion conductivity.
    subject : Subject
        Anatomy in the position of this session, and tissue conductivities.
    translation, rotation : ndarray of float64, shape (3,)
        Movement of the head since the first session: translation in mm, and rotation vector in
        degrees about the centre of the head.
    """

    parameters: PhantomParameters
    subject: Subject
    translation: NDArray[np.float64]
    rotation: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Participant:
    """Participant of a study.

    Attributes
    ----------
    age : int
        Age in years. The conductivity does not depend on the age.
    sex : {"F", "M"}
        The conductivity does not depend on the sex.
    group : {"control", "patient"}
    tissue_factors : dict of str to float
        Conductivity of each brain tissue, divided by the conductivity in the default head, keyed by
        tissue abbreviation.
    scans : list of Scan
        One scan for each session.
    """

    age: int
    sex: str
    group: Group
    tissue_factors: dict[str, float]
    scans: list[Scan] = field(default_factory=list)


def make_participant(
    parameters: PhantomParameters, study: StudyParameters, number: int
) -> Participant:
    """Draw a participant of a study.

    Parameters
    ----------
    parameters
        Parameters of the head and the scanner. Only patients have the tumour. The seed of the noise
        increases by one from scan to scan.
    study
        Parameters of the study.
    number
        Number of the participant, counted from 0. Controls have even numbers and patients have odd
        numbers.

    Returns
    -------
    Participant
        The same arguments always return the same participant.

    Raises
    ------
    ValueError
        As :func:`scan_parameters`.
    """
    rng = np.random.default_rng([parameters.anatomy_seed, number])
    group: Group = "patient" if number % 2 else "control"
    age = int(rng.integers(*AGES, endpoint=True))
    spread = study.subject_sd * rng.standard_normal(len(HEALTHY_BRAIN)).clip(-2.5, 2.5)
    factors = dict(zip(HEALTHY_BRAIN, (1 + spread).tolist(), strict=True))
    if group == "patient":
        factors[EFFECT_TISSUE] *= 1 + study.group_effect
    displacement, grid = random_displacement(study.deformation, rng)
    person = Participant(age, "FM"[number // 2 % 2], group, factors)
    for session in range(study.sessions):
        translation, rotation = rng.uniform(-study.movement, study.movement, (2, 3))
        if session == 0:
            translation, rotation = np.zeros((2, 3))
        moved = rigid_movement(translation, rotation, _HEAD_CENTRE)
        subject = Subject(Warp(displacement, grid, np.linalg.inv(moved)), factors)
        own = scan_parameters(parameters, study, number, session)
        own = replace(own, lesion=own.lesion and group == "patient")
        person.scans.append(Scan(own, subject, translation, rotation))
    return person
