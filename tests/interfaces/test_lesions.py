from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.images import read_integers, save_array
from bids_qcm.interfaces.lesions import CompareLesions, ImportLesions

SHAPE = (24, 26, 20)
AFFINE = np.diag([4.0, 4, 4, 1])
AFFINE[:3, 3] = [-46, -50, -38]
# the plane x = 0
PLANE = [1.0, 0, 0, 0.0]


@pytest.fixture
def save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save(name, values):
        path = tmp_path / "in" / name
        save_array(path, values, AFFINE)
        return str(path)

    return save


def box(x, value=1):
    values = np.zeros(SHAPE, np.int32)
    values[x, 10:14, 8:12] = value
    return values


@pytest.fixture
def head():
    x, y, z = (np.indices(SHAPE) - np.reshape([11.5, 12.5, 9.5], (3, 1, 1, 1))) / [
        [[[11]]],
        [[[12]]],
        [[[9]]],
    ]
    return x**2 + y**2 + z**2 < 1


@pytest.fixture
def imported(save, head):
    def imported(values, **options):
        path = Path(save("sub-01_label-lesion_mask.nii.gz", values))
        interface = ImportLesions(
            auxiliary=AuxiliaryImage((path,), path.parent, "lesions"),
            alignment=Alignment(same_grid=True),
            reference_file=save("magnitude.nii.gz", np.where(head, 1.0, 0.1)),
            mask_file=save("mask.nii.gz", head.astype(np.uint8)),
            **options,
        )
        outputs = interface.run().outputs
        found = read_integers(Path(outputs.lesions_file), allow_empty=True)
        return found, outputs.mirror_plane, outputs.provenance

    return imported


def test_lesions_and_the_mirror_plane_are_found(imported, head):
    found, plane, provenance = imported(box(slice(5, 8)) + box(slice(15, 17), 2))
    assert set(np.unique(found)) == {0, 1, 2}
    assert not found[~head].any()
    np.testing.assert_allclose(plane, PLANE, atol=0.1)
    assert provenance["LesionVolumes"] == {"1": 48 * 0.064, "2": 32 * 0.064}
    assert provenance["Warnings"] == []
    assert provenance["MirrorCorrelation"] > 0.99


def test_the_plane_of_other_parts_of_the_body_is_not_searched(imported):
    found, plane, provenance = imported(box(slice(5, 8)), shows_head=False)
    assert found.any()
    assert plane == []
    assert provenance["Warnings"] == []
    assert "MirrorCorrelation" not in provenance


def test_a_lesion_outside_the_mask_gives_a_warning(imported):
    found, _, provenance = imported(box(slice(5, 8)) + box(slice(0, 1), 4))
    assert set(np.unique(found)) == {0, 1}
    (warning,) = provenance["Warnings"]
    assert "lie mostly outside the mask: 4;" in warning


@pytest.mark.parametrize(
    ("values", "options", "part"),
    [
        (np.zeros(SHAPE, np.uint8), {}, "is empty"),
        (box(5), {"pose_failure": ["T1w", "is flipped", "convert it"]}, "is flipped"),
    ],
)
def test_unusable_masks_give_a_warning(imported, values, options, part):
    found, plane, provenance = imported(values, **options)
    assert not found.any()
    assert plane == []
    (warning,) = provenance["Warnings"]
    assert warning.startswith("the lesion masks are not used: ")
    assert part in warning


@pytest.fixture
def compare(save, tmp_path, head):
    def compare(conductivity, lesions, labels=None, noise=None, plane=PLANE):
        files = {}
        if labels is not None:
            names = tmp_path / "names.tsv"
            names.write_text("index\tname\n1\tGray Matter\n2\tWhite Matter\n7\tLesion\n")
            files = {"labels_file": save("labels.nii.gz", labels), "names_file": str(names)}
        if noise is not None:
            np.save(tmp_path / "noise.npy", noise)
            files["noise_maps_file"] = str(tmp_path / "noise.npy")
        outputs = (
            CompareLesions(
                condmap_file=save("condmap.nii.gz", conductivity.astype(np.float32)),
                mask_file=save("mask.nii.gz", head.astype(np.uint8)),
                lesions_file=save("lesions.nii.gz", lesions),
                mirror_plane=plane,
                **files,
            )
            .run()
            .outputs
        )
        return pd.read_csv(outputs.table_file, sep="\t")

    return compare


def test_lesions_are_compared_with_both_regions(compare, head):
    lesions = box(slice(5, 7), 3)
    tissues = np.where(np.arange(24) < 12, 1, 2)[:, None, None]
    labels = np.where(lesions, 7, tissues).astype(np.int32)
    conductivity = np.where(lesions, 0.9, np.where(labels == 1, 0.6, 0.35))
    conductivity[17, 10:14, 8:12] = 0.45
    mirrored, same = compare(conductivity, lesions, labels).to_dict("records")
    assert (mirrored["reference"], mirrored["reference_tissue"]) == ("mirrored", "White Matter")
    assert (mirrored["lesion"], mirrored["n"], mirrored["reference_n"]) == (3, 32, 32)
    assert mirrored["volume_ml"] == pytest.approx(32 * 0.064)
    assert mirrored["difference"] == pytest.approx(0.9 - 0.4)
    assert (same["reference"], same["reference_tissue"]) == ("same tissue", "White Matter")
    assert same["reference_n"] == np.count_nonzero(head[12:])
    assert np.isnan(same["standard_error"])
    assert np.isnan(same["difference_standard_error"])


def test_standard_errors_agree_with_the_error_of_a_mean(compare, head):
    """With noise that is independent between voxels, the standard errors are known."""
    lesions = box(slice(5, 7))
    noise = np.random.default_rng(0).normal(0, 0.3, (400, np.count_nonzero(head)))
    conductivity = np.where(lesions, 0.9, 0.4)
    conductivity[5, 10:12, 8:12] = np.nan
    (row,) = compare(conductivity, lesions, noise=noise.astype(np.float32)).to_dict("records")
    assert row["n"] == 32
    expected = 0.3 * np.sqrt([1 / 24, 1 / 24 + 1 / 32])
    found = [row["standard_error"], row["difference_standard_error"]]
    np.testing.assert_allclose(found, expected, rtol=0.1)


def test_a_voxel_without_noise_does_not_count_in_standard_errors(compare, head):
    lesions = box(slice(5, 7))
    noise = np.full((2, np.count_nonzero(head)), 0.2, np.float32)
    noise[1] = -0.2
    inside = np.flatnonzero(lesions[head])
    noise[:, inside[0]] = np.nan
    mirrored = np.flatnonzero(lesions[::-1][head])
    noise[:, mirrored] = 0
    noise[:, mirrored[0]] = np.nan
    (row,) = compare(np.full(SHAPE, 0.4), lesions, noise=noise).to_dict("records")
    assert row["standard_error"] == pytest.approx(0.2)
    assert row["difference_standard_error"] == pytest.approx(0.2)


def test_tissue_near_a_lesion_outside_the_mask_is_not_a_reference(compare, head):
    lesions = box(slice(5, 7))
    sides = np.where(np.arange(24) < 12, 1, 2).astype(np.int32)[:, None, None]
    labels = np.broadcast_to(sides, SHAPE)
    _, before = compare(np.full(SHAPE, 0.4), lesions, labels).to_dict("records")
    # the margin of 5 mm is one voxel of 4 mm
    outside = ~head & (np.arange(24) >= 12)[:, None, None]
    lesions[outside] = 2
    mirrored, same = compare(np.full(SHAPE, 0.4), lesions, labels).to_dict("records")
    assert (mirrored["lesion"], same["lesion"]) == (1, 1)
    near = ndimage.distance_transform_edt(~outside, sampling=4) <= 5
    assert same["reference_n"] == before["reference_n"] - np.count_nonzero(near & head)
    assert same["n"] == 32


def test_without_a_plane_there_is_no_mirrored_region(compare):
    (row,) = compare(np.full(SHAPE, 0.4), box(slice(5, 7)), plane=[]).to_dict("records")
    assert row["reference_n"] == 0
    assert np.isnan(row["reference_mean"])
    assert np.isnan(row["difference"])
    assert row["mean"] == pytest.approx(0.4)


def test_no_lesions_give_an_empty_table(compare):
    assert compare(np.full(SHAPE, 0.4), np.zeros(SHAPE, np.int32)).empty
