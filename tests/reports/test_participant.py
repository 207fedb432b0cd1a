import json
from types import SimpleNamespace

import pytest

from bids_qcm.reports.participant import _mask

MADE = {"Type": "Brain", "Sources": ["bids:raw:x"], "MaskOverlap": 0.957}
INFORMATION = {"MutualInformation": 0.4686, "MutualInformationChance": 0.1878}


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        (
            {"Type": "Brain", "Sources": ["bids:seg:x"]},
            "brain mask seg:x, in the grid of the phase",
        ),
        (
            {**MADE, "MaskOrigin": "T1w", "Coregistration": "header"},
            "a brain mask made from the T1w image raw:x, placed by the headers; 96% of it has "
            "signal",
        ),
        (
            {**MADE, **INFORMATION, "MaskOrigin": "template"},
            "a brain mask made from the magnitude by the MNI152 template (mutual information "
            "0.469, by chance 0.188); 96% of it has signal",
        ),
        ({"Type": "ROI", "MaskOrigin": "signal"}, "reliable signal of the magnitude"),
        (
            {"Type": "ROI", "MaskNote": "it is a ball"},
            "reliable signal of the magnitude (it is a ball)",
        ),
    ],
)
def test_the_mask_is_described(tmp_path, sidecar, expected):
    (tmp_path / "mask.json").write_text(json.dumps(sidecar))
    assert _mask(SimpleNamespace(mask=tmp_path / "mask.nii.gz")) == expected
