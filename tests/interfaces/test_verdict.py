import numpy as np
import pytest

from bids_qcm.bids.anatomy.label_tables import write_names
from bids_qcm.bids.images import save_array
from bids_qcm.interfaces.verdict import JudgeMap


@pytest.fixture
def judge(ball, make_node, tmp_path):
    """A function that returns the provenance of a map of these values."""

    def run(values, **inputs):
        path = tmp_path / "condmap.nii.gz"
        save_array(path, np.where(ball.mask, values, 0).astype(np.float32), np.eye(4))
        node = make_node(
            JudgeMap(
                condmap_file=str(path),
                mask_file=ball.files["mask"],
                frequency=ball.frequency,
                **inputs,
            )
        )
        return node.run().outputs.provenance

    return run


def test_a_verdict_is_added_to_the_provenance(judge):
    found = judge(0.6, provenance={"InvalidFraction": 0.0})
    assert found["InvalidFraction"] == 0
    assert (found["Verdict"], found["VerdictReasons"]) == ("green", [])
    assert (found["ImplausibleFraction"], found["LiteratureRatio"]) == (0, {})


def test_a_trend_that_cannot_be_computed_is_omitted(judge):
    """JSON has no NaN."""
    assert "TrendLeftRight" not in judge(-0.6)


def test_tissues_are_compared_with_the_literature(ball, judge):
    names = ball.folder / "names.tsv"
    write_names(names, {1: "White Matter", 2: "Gray Matter"})
    files = {"labels_file": ball.files["labels"], "names_file": str(names)}
    found = judge(np.where(ball.labels == 1, 0.342, 0.587), **files)
    assert found["LiteratureRatio"] == pytest.approx(
        {"White Matter": 1, "Gray Matter": 1}, abs=0.002
    )
    assert found["Verdict"] == "green"
    assert judge(np.where(ball.labels == 1, 0.587, 0.342), **files)["Verdict"] == "red"


def test_noise_and_chi_square_are_evidence(ball, judge):
    save_array(ball.folder / "std.nii.gz", np.full(ball.mask.shape, 3.0, np.float32), np.eye(4))
    found = judge(0.6, condstd_file=str(ball.folder / "std.nii.gz"))
    assert found["NoiseRatio"] == pytest.approx(5)
    assert found["Verdict"] == "red"
    found = judge(0.6, provenance={"ReducedChiSquare": 30.0})
    assert found["Verdict"] == "red"
    assert "30.0" in found["VerdictReasons"][0]
