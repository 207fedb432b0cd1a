from types import SimpleNamespace

import pytest

from bids_qcm.bids.sidecar_schema import MapSidecar, MaskSidecar
from bids_qcm.reports.participant import _b1_of_maps, _mask

MADE = {"Type": "Brain", "Sources": ["bids:raw:x"], "MaskOverlap": 0.957}
INFORMATION = {"MutualInformation": 0.4686, "MutualInformationChance": 0.1878}


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        (
            {"Type": "Brain", "Sources": ["bids:seg:x"]},
            "the brain mask seg:x, on the grid of the phase",
        ),
        (
            {**MADE, "MaskOrigin": "T1w", "Coregistration": "header"},
            "a brain mask computed from the T1w image raw:x, aligned by the headers; 96% of the "
            "brain has signal",
        ),
        (
            {**MADE, **INFORMATION, "MaskOrigin": "template"},
            "a brain mask computed from the magnitude with the MNI152 template (mutual information "
            "0.469, expected by chance 0.188); 96% of the brain has signal",
        ),
        ({"Type": "ROI", "MaskOrigin": "signal"}, "the region of reliable signal in the magnitude"),
        (
            {"Type": "ROI", "MaskNote": "it is a ball"},
            "the region of reliable signal in the magnitude (it is a ball)",
        ),
    ],
)
def test_the_mask_is_described(sidecar, expected):
    result = SimpleNamespace(mask_sidecar=MaskSidecar.from_dict(sidecar))
    assert _mask(result) == expected


def test_b1_is_described_with_the_methods_that_used_it():
    measured = {
        "B1Map": "measured",
        "B1MapUnits": "percent",
        "B1MapSmoothing": 8.0,
        "B1MapFilledFraction": 0.031,
        "B1MapRange": [0.8, 1.21],
        "Sources": ["bids:raw:sub-01/anat/x", "bids:raw:sub-01/fmap/sub-01_TB1map.nii.gz"],
    }
    maps = [
        SimpleNamespace(method="integral", sidecar=MapSidecar()),
        SimpleNamespace(method="inversion", sidecar=MapSidecar.from_dict(measured)),
    ]
    assert _b1_of_maps(SimpleNamespace(maps=maps)) == [
        "assumed to be constant (integral)",
        "measured, raw:sub-01/fmap/sub-01_TB1map.nii.gz (percent), smoothed over 8 mm, extended "
        "over 3% of the mask, 0.80 to 1.21 times its median (5th to 95th percentile) (inversion)",
    ]
    assert _b1_of_maps(SimpleNamespace(maps=maps[:1])) == ["assumed to be constant"]
