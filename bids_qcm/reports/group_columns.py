"""Descriptions of the columns that several tables of a group share."""

from bids_qcm.bids.tables import CONDREGIONS, Dictionary

COLUMNS: Dictionary = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a for a participant without sessions"},
    "source": {"Description": "Prefix that the file names of the acquisition share"},
    "acquisition": {
        "Description": "Entities that distinguish kinds of acquisitions, without run; n/a if there "
        "are none. Only maps of the same kind and method are compared"
    },
    "method": {"Description": "Name of the method"},
    **{name: CONDREGIONS[name] for name in ("atlas", "erosion", "label", "region")},
}
"""Columns that identify a scan, a map and a region."""
