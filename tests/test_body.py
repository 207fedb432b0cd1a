"""The commands on images of an abdomen; the report and the verdict must not assume a head."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest

from bids_qcm.cli.run import main
from tests.abdomen import make_abdomen
from tests.synthetic import Dataset

pytestmark = pytest.mark.slow

HEAD = r"brain|head|skull|cortex|gr[ae]y matter|white matter|cerebrospinal"
# an example on the page, and titles in the list of references
EXPECTED = r"in a simulated head|of the human brain|brain imaging data structure"


@pytest.fixture(scope="module")
def output(tmp_path_factory, in_process):
    root = tmp_path_factory.mktemp("body")
    abdomen = make_abdomen(0, in_phase=True)
    volumes = {"mag": np.abs(abdomen.signal), "phase": np.angle(abdomen.signal)}
    volumes = {part: values.astype(np.float32) for part, values in volumes.items()}
    dataset = Dataset(root / "bids", abdomen.affine, volumes)
    frequency = abdomen.frequency / 1e6
    dataset.pair(BodyPartExamined="ABDOMEN", ImagingFrequency=frequency, Units=None)
    folder = "derivatives/seg/sub-01/anat"
    dataset.derivative()
    dataset.image(f"{folder}/sub-01_dseg.nii.gz", abdomen.labels)
    table = pd.DataFrame(abdomen.names.items(), columns=["index", "name"])
    table.to_csv(dataset.path(f"{folder}/sub-01_dseg.tsv"), sep="\t", index=False)
    out = root / "out"
    options = ["--method", "integral-magseg", "-w", str(root / "work"), *in_process]
    assert main([str(dataset.root), str(out), "participant", *options]) == 0
    return out


def test_tissues_are_compared_with_the_literature(output):
    (sidecar,) = output.glob("sub-01/anat/*_condmap.json")
    found = json.loads(sidecar.read_text())
    ratios = found["LiteratureRatio"]
    assert {"liver", "spleen", "skeletal_muscle", "torso_fat"} <= set(ratios)
    assert ratios["liver"] == pytest.approx(1, abs=0.15)
    assert found["PhaseSign"] == "+"
    assert found["Verdict"] != "red"


def test_the_report_has_no_words_for_a_head(output):
    page = (output / "sub-01.html").read_text()
    text = html.unescape(re.sub(r"<(style|script|svg)\b.*?</\1>|<[^>]+>", " ", page, flags=re.S))
    text = re.sub(EXPECTED, "", " ".join(text.split()), flags=re.I)
    assert "liver" in text
    assert re.findall(rf"\b(?:{HEAD})\b.{{0,40}}", text, flags=re.I) == []
