"""Columns that several tables of a group share."""

from bids_qcm.bids.results import Result
from bids_qcm.bids.tables import CONDREGIONS, Dictionary

COLUMNS: Dictionary = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a for a participant without sessions"},
    "source": {"Description": "Prefix that the file names of the acquisition share"},
    "acquisition": {
        "Description": "Entities that distinguish kinds of acquisitions, without run; n/a without "
        "such entities. Only maps of the same kind and method are compared"
    },
    "method": {"Description": "Name of the method"},
    **{name: CONDREGIONS[name] for name in ("atlas", "erosion", "label", "region")},
}
"""Columns that identify a scan, a map and a region."""

SCAN = ("participant_id", "session_id", "source", "acquisition")
"""Columns that identify a scan."""


def scan_cells(result: Result) -> dict[str, str | None]:
    """Return the cells of a scan in the columns of `SCAN`."""
    return {
        "participant_id": result.participant,
        "session_id": result.session_id,
        "source": result.source,
        "acquisition": result.kind or "n/a",
    }
