"""Order of the repeated scans of a participant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

import numpy as np

from bids_qcm.bids.names import natural_key
from bids_qcm.bids.participants import Phenotype
from bids_qcm.bids.results import Result

_TIME = "acq_time"


@dataclass(frozen=True)
class ScanOrder:
    """The order of the scans of each participant.

    Attributes
    ----------
    position : mapping of str to int
        Position of each scan by its source. A later scan has a larger number than the earlier scans
        of the same participant.
    by_time : bool
        Whether sessions are in the order of their acquisition times, and not of their labels.
    """

    position: Mapping[str, int]
    by_time: bool


def scan_order(results: Sequence[Result], phenotype: Phenotype) -> ScanOrder:
    """Determine the order of the scans of each participant.

    Sessions are in the order of ``acq_time`` in ``sessions.tsv`` if all sessions of all
    participants with several sessions have a time. Otherwise, they are in the order of their
    labels, in which numbers are sorted by value. Runs, and sessions at the same time, are always in
    the order of their labels.

    Parameters
    ----------
    results : sequence of Result
        Results of all participants.
    phenotype : Phenotype
        Columns of the sessions.
    """
    times = _times(results, phenotype)
    ordered = sorted(
        results,
        key=lambda one: (
            one.participant,
            times.get((one.participant, one.session), 0.0),
            natural_key(one.source),
        ),
    )
    return ScanOrder({one.source: number for number, one in enumerate(ordered)}, bool(times))


def _times(results: Sequence[Result], phenotype: Phenotype) -> dict[tuple[str, str | None], float]:
    """Return the times of repeated sessions; empty if the time of a session is missing."""
    of_participants = {
        participant: {one.session for one in scans}
        for participant, scans in groupby(
            sorted(results, key=attrgetter("participant")), attrgetter("participant")
        )
    }
    found = {
        (participant, session): _time(phenotype, participant, session)
        for participant, sessions in of_participants.items()
        if len(sessions) > 1
        for session in sessions
    }
    return {} if np.isnan(list(found.values())).any() else found


def _time(phenotype: Phenotype, participant: str, session: str | None) -> float:
    """Return the acquisition time of a session in s; NaN if it is missing."""
    row = phenotype.of_sessions.get((participant, f"ses-{session}"), {})
    # the column has a prefix if participants.tsv has a column with the same name
    text = row.get(f"sessions_{_TIME}", row.get(_TIME))
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return np.nan
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
