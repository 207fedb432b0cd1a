import numpy as np
import pytest

from bids_qcm.checks.evidence import gather_evidence, relative_trend
from bids_qcm.checks.literature import literature_conductivity
from bids_qcm.checks.plausible import is_implausible
from bids_qcm.grids import Grid, Volume

FREQUENCY = 127.74e6
SHAPE = (20, 24, 18)
NAMES = {1: "Gray Matter", 2: "White Matter", 3: "Cerebrospinal Fluid", 100: "Lesion"}
MASK = np.ones(SHAPE, bool)
IDENTITY = np.eye(4)


@pytest.fixture
def head():
    """Return the labels of three tissue layers and a map of their literature conductivities."""
    labels = np.ones(SHAPE, np.int32)
    labels[:, 8:16], labels[:, 16:] = 2, 3
    literature = literature_conductivity(FREQUENCY, NAMES.values())
    conductivity = np.zeros(SHAPE)
    for label in (1, 2, 3):
        conductivity[labels == label] = literature[NAMES[label]]
    return conductivity, labels


def gather(conductivity, labels=None, mask=MASK, affine=IDENTITY, **options):
    condmap = Volume(conductivity, Grid(conductivity.shape, affine))
    return gather_evidence(
        condmap, mask, frequency=FREQUENCY, labels=labels, names=NAMES, **options
    )


def test_values_outside_the_range_of_tissues_are_implausible():
    values = np.array([-0.1, 0.0, 0.5, 10.0, 10.1, np.nan, np.inf])
    assert is_implausible(values).tolist() == [True, False, False, False, True, False, False]


def test_literature_values_have_a_ratio_of_one(head):
    found = gather(*head)
    assert found.literature_ratio == pytest.approx(
        {"Gray Matter": 1, "White Matter": 1, "Cerebrospinal Fluid": 1}
    )
    assert found.medians["White Matter"] == pytest.approx(0.342, abs=1e-3)
    assert (found.implausible_fraction, found.invalid_fraction) == (0, 0)
    assert (found.noise_ratio, found.expected_implausible) == (None, None)


def test_fractions_are_relative_to_the_mask(head):
    conductivity, labels = head
    conductivity[0], conductivity[1], conductivity[2:4] = -1, 11, np.nan
    mask = MASK.copy()
    mask[10:] = False
    found = gather(conductivity, labels, mask)
    assert found.implausible_fraction == pytest.approx(0.2)
    assert found.invalid_fraction == pytest.approx(0.2)


def test_a_tissue_of_a_few_voxels_has_no_ratio(head):
    conductivity, labels = head
    labels[labels == 3] = 0
    labels[0, 0, :10] = 3
    assert set(gather(conductivity, labels).literature_ratio) == {"Gray Matter", "White Matter"}


def test_a_lesion_has_a_median_but_no_ratio(head):
    conductivity, labels = head
    labels[:5, :8] = 100
    found = gather(conductivity, labels)
    assert "Lesion" in found.medians
    assert "Lesion" not in found.literature_ratio


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Liver", 0.511),
        ("kidney_left", 0.852),
        ("Right-Kidney", 0.852),
        ("spleen", 0.835),
        ("skeletal_muscle", 0.719),
        ("quadriceps_femoris_right", 0.719),
        ("subcutaneous fat", 0.0369),
        ("Breast fat", 0.0303),
        ("breast_gland", 0.804),
        ("heart", 0.766),
        ("aorta", 1.249),
    ],
)
def test_labels_of_the_body_have_literature_values(name, expected):
    """Values of the calculator of the Institute for Applied Physics, Florence, at 128 MHz."""
    found = literature_conductivity(128e6, [name])
    assert found == {name: pytest.approx(expected, rel=2e-3)}


@pytest.mark.parametrize("name", ["Lesion", "Bone", "Soft Tissue", "", "liver cyst", "brain fat"])
def test_other_labels_have_no_literature_value(name):
    assert literature_conductivity(128e6, [name]) == {}


@pytest.mark.parametrize("level", [0.2, 0.5, 1.0])
def test_expected_implausible_voxels_agree_with_noise(level):
    noise = level * np.random.default_rng(0).standard_normal(SHAPE)
    found = gather(0.5 + noise, std=np.full(SHAPE, level))
    assert found.noise_ratio == pytest.approx(level / 0.5, rel=0.05)
    assert found.expected_implausible == pytest.approx(found.implausible_fraction, abs=0.01)


def test_a_trend_is_found_along_scanner_axes(head):
    conductivity, labels = head
    # the first axis of the volume points down, and the third axis points to the left
    affine = np.array([[0, 0, -2, 0], [0, 3, 0, 0], [-4, 0, 0, 0], [0, 0, 0, 1]], float)
    slope = np.linspace(1.25, 0.75, SHAPE[0])[:, None, None]
    found = gather(conductivity * slope, labels, affine=affine)
    # the trend is measured between the middles of the first and the last of ten slabs
    assert found.trend_inferior_superior == pytest.approx(0.5 * 18 / 19, rel=0.05)
    assert found.trend_left_right == pytest.approx(0, abs=0.01)
    assert found.largest_voxel_size == 4


def test_tissues_at_different_heights_do_not_cause_a_trend(head):
    conductivity, labels = (np.roll(volume, 8, axis=1) for volume in head)
    # the layers from bottom to top are cerebrospinal fluid, gray matter and white matter
    affine = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
    assert gather(conductivity, labels, affine=affine).trend_inferior_superior == pytest.approx(0)
    assert gather(conductivity, affine=affine).trend_inferior_superior < -1


def test_outlying_slabs_have_little_effect_on_a_trend():
    positions = np.arange(1000.0)
    values = 1 + 0.2 * positions / 900
    values[300:500] = 9
    assert relative_trend(values, positions) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("n", [10, 1000])
def test_the_trend_of_few_voxels_or_one_slice_is_unknown(n):
    assert np.isnan(relative_trend(np.ones(n), np.zeros(n)))


def test_quality_measures_that_are_not_defined_are_nan():
    found = gather(np.full(SHAPE, np.nan))
    assert found.invalid_fraction == 1
    assert np.isnan(found.median)
    assert np.isnan(gather(np.full(SHAPE, -0.3)).trend_left_right)


def test_an_empty_mask_raises_an_error(head):
    with pytest.raises(ValueError, match="mask is empty"):
        gather(*head, mask=~MASK)
