import numpy as np
import pytest
from nibabel.affines import from_matvec

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.anatomy.regions import Regions, import_regions, plan_regions
from bids_qcm.bids.anatomy.transforms import write_affine
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import save_array
from bids_qcm.grids import Grid
from bids_qcm.settings import Atlas

ANAT = "derivatives/seg/sub-01/anat/sub-01"
GRID = Grid((8, 9, 7), np.diag([1.0, 1.5, 2.0, 1.0]))
MOVED = from_matvec(np.eye(3), [1, 2, 3])


@pytest.fixture
def plan(dataset):
    dataset.pair()

    def plan(*atlases, tissues=None, **options):
        settings = dataset.settings(atlases=atlases, **options)
        searched = SearchedDatasets.of(settings, {"seg": dataset.root / "derivatives/seg"})
        return plan_regions(
            dataset.acquisition(),
            GRID,
            searched,
            settings,
            tissues=tissues,
        )

    return plan


@pytest.fixture
def put(dataset):
    def put(relative, values=None, affine=MOVED):
        values = np.full((4, 4, 4), 1011, np.int16) if values is None else values
        return dataset.image(relative, values, affine)

    return put


def test_the_finest_segmentation_is_used(plan, put):
    assert plan().regions == ()
    put(f"{ANAT}_dseg.nii.gz")
    put(f"{ANAT}_space-MNI152NLin6Asym_desc-aparcaseg_dseg.nii.gz")
    assert plan().regions == ()
    for kind in ("aseg", "synthseg", "aparcaseg"):
        path = put(f"{ANAT}_desc-{kind}_dseg.nii.gz")
        (found,) = plan().regions
        assert (found.name, found.image.path) == (kind, path)
    assert plan(segmentation="none").regions == plan(segmentation="t1w").regions == ()


def test_regions_have_the_names_of_the_segmentation_labels(plan, put):
    labels = np.zeros((4, 4, 4), np.int16)
    labels[0], labels[1], labels[2] = 10, 1011, 99
    put(f"{ANAT}_desc-aparcaseg_dseg.nii.gz", labels, np.eye(4))
    (found,) = plan().regions
    resampled, names = import_regions(found, Grid((4, 4, 4), np.eye(4)), None)
    np.testing.assert_array_equal(resampled, labels)
    assert names == {10: "Left-Thalamus", 99: "label 99", 1011: "ctx-lh-lateraloccipital"}


def test_a_label_table_of_the_tissues_does_not_rename_the_regions_of_another_file(plan, put):
    tissues = put(f"{ANAT}_dseg.nii.gz")
    regions = put(f"{ANAT}_desc-aparcaseg_dseg.nii.gz")
    table = write_table(regions.parent, "index\tname\ttissue\n1011\tmine\tGM\n")
    grid = Grid((4, 4, 4), np.eye(4))
    for path, name in ((tissues, "ctx-lh-lateraloccipital"), (regions, "mine")):
        image = AuxiliaryImage((path,), regions.parents[2])
        (found,) = plan(tissues=image, label_table=table).regions
        assert import_regions(found, grid, None)[1] == {1011: name}


def test_labels_are_resampled_by_nearest_neighbour(plan, put):
    labels = np.arange(1, 65).reshape(4, 4, 4).astype(np.int16)
    path = put("atlas_space-T1w_dseg.nii.gz", labels, np.eye(4))
    (found,) = plan(Atlas("mine", path)).regions
    finer = Grid((8, 8, 8), from_matvec(np.eye(3) / 2, [-0.25] * 3))
    resampled, names = import_regions(found, finer, lambda points: points + np.array([1, 0, 0]))
    np.testing.assert_array_equal(resampled[:6], labels[1:].repeat(2, 0).repeat(2, 1).repeat(2, 2))
    assert not resampled[6:].any()
    assert names[64] == "label 64"
    with pytest.raises(InputError, match="has no region in the field of view of the phase"):
        import_regions(found, finer, lambda points: points + 100)


def test_an_atlas_is_resampled_with_the_transform_of_its_space(plan, put, dataset):
    path = put("tpl-MNI152NLin6Asym_atlas-x_dseg.nii.gz")
    refused = plan(Atlas("x", path)).refused["--atlas x"]
    assert "is in the space MNI152NLin6Asym, but no transform from this space was found" in refused
    transform = dataset.root / f"{ANAT}_from-T1w_to-MNI152NLin6Asym_mode-image_xfm.txt"
    transform.parent.mkdir(parents=True)
    write_affine(transform, np.eye(4))
    (found,) = plan(Atlas("x", path)).regions
    assert [step.path for step in found.alignment.steps] == [transform]
    # a space from the command line takes precedence over the file name
    (found,) = plan(Atlas("x", path, None, "T1w")).regions
    assert found.alignment.steps == ()


def test_an_atlas_of_the_shipped_template_needs_no_transform(plan, put, dataset):
    atlas = Atlas("x", put("tpl-MNI152NLin2009aSym_atlas-x_dseg.nii.gz"))
    assert "has no T1w image" in plan(atlas).refused["--atlas x"]
    t1w = put("sub-01/anat/sub-01_T1w.nii.gz")
    (found,) = plan(atlas).regions
    assert found.alignment == Alignment(coreg="auto", anatomical=t1w, template_t1w=t1w)
    assert not found.alignment.checked_in_planning
    assert t1w in found.files
    # a transform from a derivative dataset takes precedence over the registration
    transform = dataset.root / f"{ANAT}_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.txt"
    transform.parent.mkdir(parents=True)
    write_affine(transform, np.eye(4))
    (found,) = plan(atlas).regions
    assert found.alignment.template_t1w is None
    assert [step.path for step in found.alignment.steps] == [transform]


def test_an_atlas_of_another_participant_is_not_used(plan, put):
    atlases = [Atlas("x", put(f"sub-{one}_space-T1w_dseg.nii.gz")) for one in ("01", "02")]
    found = plan(*atlases)
    assert [one.image.path for one in found.regions] == [atlases[0].path]
    assert not found.refused


def test_atlases_with_the_same_name_are_refused(plan, put):
    atlases = [Atlas("x", put(f"{one}_space-T1w_dseg.nii.gz")) for one in "ab"]
    other = Atlas("y", atlases[0].path)
    found = plan(*atlases, other)
    assert [one.name for one in found.regions] == ["y"]
    refused = found.refused["--atlas x"]
    assert "is one of several atlases with the name x: a_space-T1w_dseg.nii.gz, b_s" in refused


def write_table(folder, text):
    path = folder / "table.tsv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "values", "table", "message"),
    [
        ("a.nii.gz", np.ones((4, 4, 4)), None, "is in an unknown space"),
        ("a_space-T1w.nii.gz", np.ones((4, 4, 4, 2)), None, "is 4-D"),
        (
            "a_space-T1w.nii.gz",
            np.full((4, 4, 4), 0.5),
            None,
            "has values that are not 32-bit integers",
        ),
        ("a_space-T1w.nii.gz", np.zeros((4, 4, 4)), None, "contains only zeros"),
        (
            "a_space-T1w.nii.gz",
            np.ones((4, 4, 4)),
            "number\tname\n1\tx\n",
            "lacks the column index",
        ),
    ],
)
def test_an_unusable_atlas_is_refused(plan, dataset, name, values, table, message):
    path = dataset.root / name
    save_array(path, values.astype(np.float32), MOVED)
    table = table and write_table(dataset.root, table)
    found = plan(Atlas("x", path, table))
    assert found.regions == ()
    assert message in found.refused["--atlas x"]
    assert "Remedy: " in found.refused["--atlas x"]


def test_an_unusable_segmentation_gives_a_warning(plan, put):
    put(f"{ANAT}_desc-aseg_dseg.nii.gz", np.full((4, 4, 4), 0.5, np.float32))
    found = plan()
    assert found.regions == ()
    assert "no statistics were computed for the regions of a segmentation" in found.warnings[0]


def test_all_regions_share_one_registration(plan, put):
    put("sub-01/anat/sub-01_T1w.nii.gz")
    put(f"{ANAT}_desc-preproc_T1w.nii.gz")
    put(f"{ANAT}_desc-aseg_dseg.nii.gz")
    found = plan(Atlas("x", put("x_space-T1w.nii.gz"))).regions
    assert all(isinstance(one, Regions) for one in found)
    assert len(found) == 2
    assert len({one.alignment.anatomical for one in found}) == 1
    assert found[0].alignment.anatomical.name == "sub-01_desc-preproc_T1w.nii.gz"
