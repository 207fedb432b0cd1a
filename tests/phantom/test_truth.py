import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.conductivity import conductivity_map
from bids_qcm.phantom.truth import Truth

BALL = 5.0


def in_a_block(voxel_size, centres, *, fluid_from=None):
    """Return balls of 10 mm diameter in a 60 mm block of white matter and, optionally, fluid."""
    shape = tuple(round(60 / size) for size in voxel_size)
    x, y, z = np.meshgrid(
        *((np.arange(n) + 0.5) * size for n, size in zip(shape, voxel_size, strict=True)),
        indexing="ij",
    )
    labels = np.full(shape, 2, np.uint8)
    if fluid_from is not None:
        labels[x > fluid_from] = 3
    lesions = np.zeros(shape, np.uint8)
    for centre in centres:
        square = sum((axis - at) ** 2 for axis, at in zip((x, y, z), centre, strict=True))
        lesions[square <= BALL**2] = 10
    return Truth(np.where(lesions, 0.9, 0.34), labels, np.ones(shape, bool), lesions, voxel_size)


@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 1.0), (1.0, 1.5, 3.0), (3.0, 3.0, 3.0)])
def test_surroundings_are_a_shell_in_mm(voxel_size):
    truth = in_a_block(voxel_size, [(30, 30, 30)])
    (lesion,) = truth.lesions
    distance = distance_transform_edt(truth.small_lesion_diameter == 0, sampling=voxel_size)
    shell = np.zeros(truth.labels.shape, bool)
    shell[lesion.box] = lesion.around
    assert (shell == ((distance > 2) & (distance <= 6))).all()
    assert (truth.small_lesion_diameter[lesion.box][lesion.inside] == 10).all()
    assert lesion.inside.sum() == (truth.small_lesion_diameter == 10).sum()


def test_surroundings_may_touch_the_border_of_the_volume():
    truth = in_a_block((1.0, 1.0, 1.0), [(2, 30, 58)])
    (lesion,) = truth.lesions
    assert lesion.around.any()
    assert lesion.box[0].start == 0


def test_surroundings_have_the_tissue_of_the_lesion_and_contain_no_other_lesion():
    truth = in_a_block((1.0, 1.0, 1.0), [(25, 30, 30), (25, 30, 42)], fluid_from=32)
    for number, lesion in enumerate(truth.lesions, start=1):
        assert (lesion.number, lesion.label) == (number, 2)
        assert (truth.labels[lesion.box][lesion.around] == 2).all()
        assert not truth.small_lesion_diameter[lesion.box][lesion.around].any()
        assert lesion.inside.sum() == (truth.small_lesion_diameter > 0).sum() / 2


def test_surroundings_are_in_the_brain():
    truth = in_a_block((1.0, 1.0, 1.0), [(30, 30, 30)])
    truth.brain[:27] = False
    (lesion,) = truth.lesions
    assert truth.brain[lesion.box][lesion.around].all()


def test_tissues_are_restricted_to_the_brain():
    truth = in_a_block((2.0, 2.0, 2.0), [], fluid_from=30)
    truth.brain[:, :, :10] = False
    assert {one.label for one in truth.tissues} == {2, 3}
    assert not any(one.voxels[:, :, :10].any() for one in truth.tissues)
    # tissue is eroded at the border of the brain, but not at the border of the volume
    eroded = next(one for one in truth.tissues if (one.label, one.erosion) == (2, 2))
    assert np.flatnonzero(eroded.voxels.any(axis=(0, 1)))[[0, -1]].tolist() == [12, 29]


def test_varying_tissues_are_free_of_lesions_and_mixtures():
    places, field = np.random.default_rng(0).spawn(2)
    anatomy = make_anatomy(2.0, tumour_diameter=20, small_lesions_rng=places)
    truth = Truth(
        conductivity_map(anatomy, 127.7e6, 0.9, 0.15, field),
        anatomy.labels,
        anatomy.brain,
        anatomy.small_lesion_diameter,
        (2.0, 2.0, 2.0),
    )
    assert {(one.label, one.erosion) for one in truth.varying_tissues} == {
        (1, 2), (1, 4), (2, 2), (2, 4), (3, 2)
    }  # fmt: skip
    mean = {1: 0.587, 2: 0.342, 3: 2.143}
    for one in truth.varying_tissues:
        assert not anatomy.small_lesion_fraction[one.voxels].any()
        assert not anatomy.fractions[5][one.voxels].any()  # tumour
        # the variation is limited to 2.5 standard deviations
        deviation = truth.conductivity[one.voxels] / mean[one.label] - 1
        assert np.abs(deviation).max() < 0.15 * 2.5 * 1.25
    white = truth.varying_tissues[2]
    assert truth.conductivity[white.voxels].std() == pytest.approx(0.15 * 0.342, rel=0.2)
