"""Derivative datasets that contain only tables, for the group level."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bids_qcm.bids.tables import CONDREGIONS, CONDSTATS, write_table
from bids_qcm.recon import METHODS

TISSUES = {1: ("Cerebrospinal Fluid", 2.1), 2: ("Gray Matter", 0.59), 3: ("White Matter", 0.34)}


def region_table(medians: Mapping[str, float], atlas="aparcaseg", erosions=(0, 1)) -> pd.DataFrame:
    """Return a region table with these medians."""
    rows = [
        dict.fromkeys(CONDREGIONS, 0.01)
        | {"atlas": atlas, "label": label, "region": region, "erosion": erosion, "n": 500}
        | {"mean": value, "median": value, "invalid_fraction": 0.0}
        for label, (region, value) in enumerate(medians.items(), start=1)
        for erosion in erosions
    ]
    return pd.DataFrame(rows, columns=list(CONDREGIONS))


def write_scan(
    out: Path,
    participant: str,
    session: str | None,
    medians: Mapping[str, float],
    methods: Sequence[str] = ("integral-magseg",),
    *,
    entities: str = "",
    scale: float = 1.0,
) -> str:
    """Write sidecars and tables of one acquisition; return its source."""
    source = participant + (f"_ses-{session}" if session else "") + entities
    folder = out / participant / (f"ses-{session}" if session else "") / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    for method in methods:
        start = f"{folder}/{source}_desc-{METHODS[method].desc}"
        sidecar = {"ImagingFrequency": 127.7, "Verdict": "green", "InvalidFraction": 0.01}
        Path(f"{start}_condmap.json").write_text(json.dumps(sidecar))
        tissues = pd.DataFrame(
            [
                dict.fromkeys(CONDSTATS, 0.01)
                | {"label": label, "tissue": name, "erosion": erosion, "n": 900}
                | {"median": scale * value, "mean": scale * value}
                for label, (name, value) in TISSUES.items()
                for erosion in (0, 2, 4)
            ]
        )
        write_table(Path(f"{start}_condstats.tsv"), tissues[list(CONDSTATS)], CONDSTATS)
        write_table(Path(f"{start}_condregions.tsv"), region_table(medians), CONDREGIONS)
    return source


def write_study(
    folder: Path,
    n: int,
    n_regions: int = 6,
    sessions: Sequence[str | None] = ("a", "b"),
    methods: Sequence[str] = ("integral-magseg",),
    effect: float = 0.0,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Write a study whose patients have a higher conductivity in the first region.

    Returns
    -------
    raw, out : Path
        BIDS dataset with the tables of the participants, and derivative dataset.
    """
    rng = np.random.default_rng(seed)
    raw, out = folder / "raw", folder / "out"
    raw.mkdir(parents=True)
    out.mkdir()
    (out / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "bids_qcm"}]}'
    )
    rows = []
    for number in range(n):
        participant = f"sub-{number:03d}"
        group = ("control", "patient")[number % 2]
        age = 20 + 60 * rng.random()
        rows.append((participant, f"{age:.1f}", "FM"[number % 3 // 2], group))
        own = 0.4 + 0.2 * np.arange(n_regions) / n_regions + 0.02 * rng.normal(size=n_regions)
        own[0] += effect * (group == "patient")
        for session in sessions:
            values = own + 0.005 * rng.normal(size=n_regions)
            medians = {f"region-{one:03d}": value for one, value in enumerate(values)}
            scale = 1 + 0.03 * rng.normal()
            write_scan(out, participant, session, medians, methods, scale=scale)
        if sessions[0] is not None:
            table = "".join(f"ses-{one}\t{k}\n" for k, one in enumerate(sessions))
            (raw / participant).mkdir()
            (raw / participant / f"{participant}_sessions.tsv").write_text(
                f"session_id\tmonths\n{table}"
            )
    table = pd.DataFrame(rows, columns=["participant_id", "age", "sex", "group"])
    table.to_csv(raw / "participants.tsv", sep="\t", index=False)
    (raw / "participants.json").write_text('{"age": {"Description": "Age", "Units": "year"}}')
    return raw, out
