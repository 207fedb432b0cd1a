import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest

from bids_qcm.bids.sidecar_schema import CondmapSidecar, Phi0Sidecar
from bids_qcm.checks.verdict import Verdict
from bids_qcm.reports.group_plots import Scans
from bids_qcm.reports.quality import count_verdicts, quality_plots, quality_row, write_quality

PHI0 = {"MedianPhaseNoise": 0.01, "SignalToNoiseRatio": 80.0, "PhaseSignAgreement": 0.9}
CONDMAP = {
    "InvalidFraction": 0.05,
    "ImplausibleFraction": 0.01,
    "LiteratureRatio": {"White Matter": 1.2},
    "MaskOrigin": "template",
}


def make_row(participant="sub-01", method="integral", colour="green", **condmap):
    result = SimpleNamespace(
        participant=participant,
        session_id=None,
        source=participant,
        sidecar=Phi0Sidecar.from_dict(PHI0),
        segmentation_sidecar=None,
        disagreements={"integral": 0.1},
        verdicts={method: colour and Verdict(colour)},
    )
    sidecar = CondmapSidecar.from_dict(CONDMAP | condmap)
    return quality_row(SimpleNamespace(method=method, sidecar=sidecar), result)


def test_a_row_contains_the_values_of_the_sidecars():
    row = make_row(ReducedChiSquare=1.1)
    expected = {"snr": 80, "phase_noise": 0.01, "ratio_wm": 1.2, "chi_square": 1.1}
    expected |= {"verdict": "green", "mask_origin": "template", "disagreement": 0.1}
    assert row | expected == row
    absent = ("session_id", "echo_misfit", "coverage", "ratio_csf", "registration")
    assert all(row[name] is None for name in absent)


def test_a_map_of_a_version_without_verdicts_has_a_row(tmp_path):
    row = make_row(colour=None)
    path = write_quality(tmp_path, [row])
    table = pd.read_csv(path, sep="\t")
    assert math.isnan(table.verdict[0])
    assert path.read_text().splitlines()[1].endswith("\ttemplate\tn/a")
    assert count_verdicts([row]) == {"none": 1}


def test_every_column_is_in_the_dictionary(tmp_path):
    path = write_quality(tmp_path, [make_row()])
    dictionary = json.loads(path.with_suffix(".json").read_text())
    columns = list(pd.read_csv(path, sep="\t").columns)
    assert list(dictionary) == columns == list(make_row())
    assert dictionary["phase_noise"]["Units"] == "rad"


def test_verdicts_are_counted_from_the_best_to_the_worst():
    rows = [make_row(colour=colour) for colour in ("red", "green", "red", None)]
    assert count_verdicts(rows) == {"green": 1, "red": 2, "none": 1}


@pytest.fixture
def plots():
    rows = [
        make_row(method="integral", colour="red"),
        make_row(method="laplacian", colour="green"),
        make_row("sub-02", colour="amber"),
    ]
    scans = Scans([SimpleNamespace(source=source) for source in ("sub-01", "sub-02")])
    return {one["anchor"]: one["plot"] for one in quality_plots(rows, scans)}


def test_each_map_is_a_point_in_the_row_of_its_method(plots):
    rows = {row["name"]: row for row in plots["qc-ratio_wm"]["rows"]}
    assert rows["integral"]["verdicts"] == {0: "red", 1: "amber"}
    assert rows["laplacian"]["verdicts"] == {0: "green"}
    assert plots["qc-ratio_wm"]["marks"] == [1]


def test_maps_that_share_a_number_share_a_point(plots):
    (row,) = plots["qc-snr"]["rows"]
    assert row["verdicts"] == {0: "red", 1: "amber"}


def test_a_column_without_values_has_no_plot(plots):
    assert "qc-echo_misfit" not in plots
