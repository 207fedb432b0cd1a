"""Tables of scores that compare conductivity maps with the true conductivity of phantoms."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bids_qcm.bids.tables import TISSUE_STATISTICS, Dictionary, write_table
from bids_qcm.phantom.score import Score

_MAP: Dictionary = {
    "participant_id": {"Description": "Participant of the phantom dataset"},
    "method": {"Description": "Name of the method, or the desc label if no method has that label"},
    "filename": {"Description": "Conductivity map file, relative to its dataset"},
}
_TISSUE = {name: TISSUE_STATISTICS[name] for name in ("label", "tissue")}

COLUMNS: dict[str, Dictionary] = {
    "brain": {
        **_MAP,
        "n": {"Description": "Number of brain voxels, including invalid voxels"},
        "mae": {"Description": "Mean absolute error over the valid voxels", "Units": "S/m"},
        "nrmse": {
            "Description": "Root mean square error divided by the root mean square of the true "
            "conductivity, both over the valid voxels"
        },
        "nrmse_best99": {
            "Description": "nrmse over the voxels whose absolute error does not exceed its 99th "
            "percentile"
        },
        "invalid_fraction": {"Description": "Fraction of brain voxels that are invalid"},
    },
    "tissues": {
        **_MAP,
        **TISSUE_STATISTICS,
        "true_mean": {
            "Description": "Mean true conductivity over the valid voxels",
            "Units": "S/m",
        },
        "rmse": {"Description": "Root mean square error over the valid voxels", "Units": "S/m"},
        "nrmse": {
            "Description": "rmse divided by the root mean square of the true conductivity over the "
            "same voxels"
        },
    },
    "lesions": {
        **_MAP,
        "diameter": {"Description": "Diameter of the lesion", "Units": "mm"},
        "number": {"Description": "Number of the lesion among the lesions of the same diameter"},
        "label": {"Description": "Label of the surrounding tissue: the lesion's most common label"},
        "tissue": {"Description": "Name of the surrounding tissue"},
        "n": {"Description": "Number of lesion voxels, including invalid voxels"},
        "n_around": {"Description": "Number of surrounding voxels, including invalid voxels"},
        "contrast": {
            "Description": "Mean of the map in the lesion minus the mean in its surroundings, over "
            "the valid voxels",
            "Units": "S/m",
        },
        "true_contrast": {
            "Description": "Contrast of the true conductivity, over the same voxels",
            "Units": "S/m",
        },
        "recovered": {"Description": "contrast divided by true_contrast"},
        "invalid_fraction": {"Description": "Fraction of lesion voxels that are invalid"},
    },
    "variation": {
        **_MAP,
        **_TISSUE,
        "erosion": TISSUE_STATISTICS["erosion"],
        "n": {
            "Description": "Number of voxels outside lesions that contain a single tissue, "
            "including invalid voxels"
        },
        "true_sd": {
            "Description": "Standard deviation of the true conductivity over the valid voxels",
            "Units": "S/m",
        },
        "slope": {
            "Description": "Regression slope of the map on the true conductivity: 1 if the "
            "variation is fully recovered, 0 if it is averaged out"
        },
    },
}
"""Data dictionary of each score table."""


@dataclass
class ScoreTables:
    """The rows of all score tables.

    Attributes
    ----------
    rows : dict of str to list of dict
        Rows, keyed by table name. A list may be empty.
    """

    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {table: [] for table in COLUMNS}
    )

    def add(self, names: dict[str, str], score: Score, tissue_names: dict[int, str]) -> None:
        """Add the scores of a map to all tables.

        Parameters
        ----------
        names : dict of str to str
            Columns that identify the map: ``participant_id``, ``method`` and ``filename``.
        score : Score
        tissue_names : dict of int to str
            Tissue names by label.
        """
        of_map = asdict(score)
        for table, columns in COLUMNS.items():
            of_table = of_map[table] if table != "brain" else [of_map[table]]
            for row in of_table:
                row = {**names, **row, "tissue": tissue_names.get(row.get("label"))}
                self.rows[table].append({column: row[column] for column in columns})

    def write(self, folder: Path) -> list[Path]:
        """Write the tables that have rows, and remove older files of the tables without rows.

        Returns
        -------
        list of Path
            TSV files that were written. Each has a JSON data dictionary in the same folder.
        """
        written = []
        for table, rows in self.rows.items():
            path = folder / f"{table}.tsv"
            if rows:
                write_table(path, pd.DataFrame(rows), COLUMNS[table])
                written.append(path)
            else:
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)
        return written
