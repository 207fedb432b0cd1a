"""Tables of how near conductivity maps come to the truth of phantoms."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bids_qcm.bids.tables import TISSUE_STATISTICS, Dictionary, write_table
from bids_qcm.phantom.score import Score

_MAP: Dictionary = {
    "participant_id": {"Description": "Participant of the phantom dataset"},
    "method": {"Description": "Name of the method; else the label of the file's desc entity"},
    "filename": {"Description": "File with the conductivity map, relative to its dataset"},
}
_TISSUE = {name: TISSUE_STATISTICS[name] for name in ("label", "tissue")}

COLUMNS: dict[str, Dictionary] = {
    "brain": {
        **_MAP,
        "n": {"Description": "Voxels of the brain, invalid ones included"},
        "mae": {"Description": "Mean absolute error over the valid voxels", "Units": "S/m"},
        "nrmse": {
            "Description": "Root mean square error over the root mean square of the truth, both "
            "over the valid voxels"
        },
        "nrmse_best99": {
            "Description": "nrmse of the voxels whose absolute error is at most its 99 % quantile"
        },
        "invalid_fraction": {"Description": "Share of the brain's voxels that are invalid"},
    },
    "tissues": {
        **_MAP,
        **TISSUE_STATISTICS,
        "true_mean": {"Description": "Mean of the truth over the valid voxels", "Units": "S/m"},
        "rmse": {"Description": "Root mean square error over the valid voxels", "Units": "S/m"},
        "nrmse": {
            "Description": "rmse over the root mean square of the truth over the same voxels"
        },
    },
    "lesions": {
        **_MAP,
        "diameter": {"Description": "Diameter of the lesion", "Units": "mm"},
        "number": {"Description": "Number of the lesion among those of its diameter"},
        "label": {"Description": "Label of the surroundings, as of most of the lesion's voxels"},
        "tissue": {"Description": "Tissue of the surroundings"},
        "n": {"Description": "Voxels of the lesion, invalid ones included"},
        "n_around": {"Description": "Voxels of its surroundings, invalid ones included"},
        "contrast": {
            "Description": "Mean of the map in the lesion less mean in its surroundings, over the "
            "valid voxels",
            "Units": "S/m",
        },
        "true_contrast": {"Description": "The same of the truth", "Units": "S/m"},
        "recovered": {"Description": "contrast over true_contrast"},
        "invalid_fraction": {"Description": "Share of the lesion's voxels that are invalid"},
    },
    "variation": {
        **_MAP,
        **_TISSUE,
        "erosion": TISSUE_STATISTICS["erosion"],
        "n": {"Description": "Voxels that are neither lesion nor mixed, invalid ones included"},
        "true_sd": {
            "Description": "Standard deviation of the truth over the valid voxels",
            "Units": "S/m",
        },
        "slope": {
            "Description": "Slope of the map against the truth: 1 if its variation is recovered, "
            "0 if it is averaged flat"
        },
    },
}
"""Tables, and the columns of each."""


@dataclass
class ScoreTables:
    """Scores of maps, row by row.

    Attributes
    ----------
    rows : dict of str to list of dict
        By the name of the table; a table may have none.
    """

    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {table: [] for table in COLUMNS}
    )

    def add(self, names: dict[str, str], score: Score, tissue_names: dict[int, str]) -> None:
        """Add the score of a map.

        Parameters
        ----------
        names : dict of str to str
            The columns that tell which map it is: ``participant_id``, ``method`` and ``filename``.
        score : Score
        tissue_names : dict of int to str
            By label.
        """
        of_map = asdict(score)
        for table, columns in COLUMNS.items():
            of_table = of_map[table] if table != "brain" else [of_map[table]]
            for row in of_table:
                row = {**names, **row, "tissue": tissue_names.get(row.get("label"))}
                self.rows[table].append({column: row[column] for column in columns})

    def write(self, folder: Path) -> list[Path]:
        """Write the tables that have rows, and remove those of an earlier run that have none.

        Returns
        -------
        list of Path
            TSV files; a JSON data dictionary stands beside each.
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
