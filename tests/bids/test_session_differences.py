import json

import numpy as np
import pytest
from nibabel.affines import apply_affine

from bids_qcm.bids.anatomy.label_tables import write_names
from bids_qcm.bids.images import read_values, save_array
from bids_qcm.bids.outputs import OUTPUTS
from bids_qcm.bids.participants import Phenotype
from bids_qcm.bids.results import find_results
from bids_qcm.bids.scan_order import scan_order
from bids_qcm.bids.session_differences import write_differences
from bids_qcm.phantom.deformation import rigid_movement

AFFINE = np.array([[5.0, 0, 0, -70], [0, 5.0, 0, -80], [0, 0, 5.0, -65], [0, 0, 0, 1]])
SHAPE = (29, 33, 27)
NAMES = {1: "White Matter", 2: "Gray Matter"}
# the same tissues with other numbers
RENUMBERED = {1: "Gray Matter", 2: "White Matter"}
MOVED = rigid_movement((1.0, -0.7, 2.0), (2, -3, 1), (0, 0, 0))


def head(pose):
    """Label two tissues and an asymmetric structure inside a head."""
    indices = np.moveaxis(np.indices(SHAPE), 0, -1)
    points = apply_affine(np.linalg.inv(pose), apply_affine(AFFINE, indices))
    labels = np.zeros(SHAPE, np.int32)
    for value, centre, radii in [
        (2, (0, 0, 0), (55, 65, 50)),
        (1, (0, 0, 0), (40, 48, 35)),
        (2, (-22, 18, 8), (12, 20, 15)),
    ]:
        labels[(((points - centre) / radii) ** 2).sum(axis=-1) < 1] = value
    return labels


def write_scan(folder, session, pose=None, *, names=None, flipped=False, subject="1", change=0.0):
    """Write the maps of a scan, with a segmentation if there are names of its labels."""
    source = f"sub-{subject}_ses-{session}"
    start = folder / f"sub-{subject}" / f"ses-{session}" / "anat"
    start.mkdir(parents=True)
    labels = head(np.eye(4) if pose is None else pose)
    rng = np.random.default_rng(len(list(folder.rglob("*.nii.gz"))))
    std = np.float32([0, 0.05, 0.1])[labels]
    truth = np.float32([0, 0.4, 0.7])[labels] + np.float32(change) * (labels > 0)
    noise = rng.standard_normal(SHAPE, np.float32)
    magnitude = np.float32([0, 70, 100])[labels] + noise
    maps = {
        "condmap": ("integralSeg", truth + std * noise),
        "condstd": ("integralSeg", std),
        "mask": ("brain", (labels > 0).astype(np.uint8)),
        "magnitude": (None, magnitude[::-1] if flipped else magnitude),
    }
    if names is not None:
        numbers = {name: number for number, name in names.items()}
        of_head = [0, *(numbers[NAMES[label]] for label in (1, 2))]
        maps["dseg"] = (None, np.int32(of_head)[labels])
        write_names(OUTPUTS["labels"].beside(start, source), names)
    for output, (desc, values) in maps.items():
        path = start / OUTPUTS[output].file_name(source, desc, "T2w")
        save_array(path, values, AFFINE)
        sidecar = {"Segmentation": "labels" if names else None}
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return start


def replace_image(folder, pattern, values):
    (path,) = folder.glob(pattern)
    save_array(path, values, AFFINE)


def compare(folder, subjects="1"):
    damaged = []
    results = [one for n in subjects for one in find_results(folder, f"sub-{n}")]
    order = scan_order(results, Phenotype())
    return write_differences(folder, results, order, damaged), [str(error) for error in damaged]


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "bids_qcm"}]}'
    )
    return tmp_path


@pytest.mark.parametrize(
    ("first", "second", "labels_are_used"),
    [
        (NAMES, NAMES, True),
        # a small tissue may be absent from a scan
        (NAMES, NAMES | {3: "Lesion"}, True),
        (NAMES, RENUMBERED, False),
        (NAMES, None, False),
        (None, NAMES, False),
    ],
)
def test_labels_are_used_only_if_they_mean_the_same(dataset, first, second, labels_are_used):
    write_scan(dataset, "a", names=first)
    write_scan(dataset, "b", MOVED, names=second)
    (found,), damaged = compare(dataset)
    assert not damaged
    inside = head(np.eye(4)) > 0
    z = read_values(found.path)
    share = np.isfinite(z[inside]).mean()
    assert found.summary.share == pytest.approx(share)
    # the borders of tissues are left out if and only if tissues are compared
    assert share < 0.94 if labels_are_used else share > 0.95
    assert np.abs(z[inside & np.isfinite(z)]).mean() == pytest.approx(0.8, abs=0.3)
    texts = ["only their masks were compared" in text for text in found.warnings]
    assert texts == [] if labels_are_used else texts == [True]
    sidecar = json.loads(found.path.with_name(found.path.name[:-7] + ".json").read_text())
    assert sidecar.get("Warnings", []) == list(found.warnings)


def test_few_compared_voxels_cause_a_warning(dataset):
    write_scan(dataset, "a")
    folder = write_scan(dataset, "b")
    values = np.full(SHAPE, 0.5, np.float32)
    values[:18] = np.nan
    replace_image(folder, "*_condmap.nii.gz", values)
    (found,), _ = compare(dataset)
    assert found.summary.share < 0.5
    assert f"only {found.summary.share:.0%} of the mask of the first scan" in found.warnings[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no mass", "cannot be aligned to the first scan"),
        ("no overlap", "has no valid voxel of the same tissue in common with sub-1_ses-a"),
        ("flipped", "with left and right swapped"),
        ("shape", "has a different grid from sub-1_ses-b_desc-brain_mask.nii.gz"),
    ],
)
def test_a_pair_that_cannot_be_compared_is_reported_and_left_out(dataset, damage, message):
    earlier = write_scan(dataset, "a")
    folder = write_scan(dataset, "b", flipped=damage == "flipped")
    for session in "ab":
        write_scan(dataset, session, subject="2")
    if damage == "no mass":
        values = np.where(np.indices(SHAPE).sum(axis=0) % 2, 1.0, -1.0) * (head(np.eye(4)) > 0)
        values[13, 16, 13] -= values.sum()
        replace_image(folder, "*part-mag*.nii.gz", values.astype(np.float32))
    elif damage == "no overlap":
        for one, invalid in ((earlier, slice(14)), (folder, slice(13, None))):
            values = np.full(SHAPE, 0.5, np.float32)
            values[invalid] = np.nan
            replace_image(one, "*_condmap.nii.gz", values)
    elif damage == "shape":
        replace_image(folder, "*_condstd.nii.gz", np.ones((9, 9, 9), np.float32))
    written, (error,) = compare(dataset, "12")
    assert message in error
    assert "ses-b" in error
    assert [one.first.participant for one in written] == ["sub-2"]
