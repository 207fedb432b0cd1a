import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.anatomy.search import (
    find_lesions,
    find_mask,
    find_regions,
    find_segmentation,
    find_t1w,
    other_masks,
)
from bids_qcm.bids.anatomy.sources import BIDS_LABELS, FREESURFER_LABELS
from bids_qcm.bids.errors import InputError
from bids_qcm.grids import Grid

ANAT = "derivatives/seg/sub-01/anat/sub-01"
# Kinds of segmentation, best first.
PREFERENCE = (
    f"{ANAT}_dseg.nii.gz",
    f"{ANAT}_T1w_synthseg.nii.gz",
    f"{ANAT}_desc-aseg_dseg.nii.gz",
    f"{ANAT}_desc-aparcaseg_dseg.nii.gz",
    f"{ANAT}_desc-mine_dseg.nii.gz",
    "derivatives/seg/sub-01/mri/aseg.mgz",
    "derivatives/seg/sub-01/mri/aparc+aseg.mgz",
    "derivatives/seg/sub-01/mri/aparc.DKTatlas+aseg.mapped.mgz",
    "derivatives/seg/sub-01/mri/aparc.DKTatlas+aseg.deep.mgz",
    "derivatives/seg/sub-01/mri/aseg.auto_noCCseg.mgz",
    f"{ANAT}_space-MNI152NLin2009cAsym_dseg.nii.gz",
)


@pytest.fixture
def look(dataset, label_values, affine):
    """Find an image for the only acquisition of the dataset."""

    def look(finder=find_segmentation, datasets=("seg",), **filters):
        grid = Grid(label_values.shape, affine)
        folders = [dataset.root / "derivatives" / name for name in datasets]
        return finder(dataset.acquisition(), grid, folders, filters)

    return look


@pytest.fixture
def find(dataset, look):
    """Return the path of the image that `look` finds."""

    def find(*args, **options):
        found = look(*args, **options)
        return found and found.path.relative_to(dataset.root / "derivatives").as_posix()

    return find


@pytest.fixture
def put(dataset, label_values, affine):
    """Write labels in a grid other than the grid of the phase."""
    elsewhere = affine.copy()
    elsewhere[0, 3] = 5

    def put(name):
        path = dataset.path(name)
        kind = nib.MGHImage if name.endswith(".mgz") else nib.Nifti1Image
        nib.save(kind(label_values.astype(np.int32), elsewhere), path)
        return path

    return put


def test_kinds_of_segmentations_are_preferred_in_a_fixed_order(dataset, look, put):
    dataset.pair()
    for name in reversed(PREFERENCE):
        path = put(name)
        assert look().path == path
        numbered_by_bids = "desc-mine" in name or name.endswith(
            ("01_dseg.nii.gz", "Asym_dseg.nii.gz")
        )
        assert look().numbering == (BIDS_LABELS if numbered_by_bids else FREESURFER_LABELS)


def test_the_grid_of_the_phase_has_priority_over_the_kind(dataset, find, put):
    dataset.pair()
    put(f"{ANAT}_dseg.nii.gz")
    dataset.segmentation(f"{ANAT}_space-x_desc-y_dseg.nii.gz")
    assert find() == "seg/sub-01/anat/sub-01_space-x_desc-y_dseg.nii.gz"


@pytest.mark.parametrize("space", ["T1w", "orig", "individual", "anat"])
def test_all_labels_of_the_participant_space_are_recognised(dataset, look, put, space):
    dataset.pair()
    put(f"{ANAT}_space-{space}_desc-y_dseg.nii.gz")
    put(f"{ANAT}_space-MNI152Lin_dseg.nii.gz")
    assert look().space == "T1w"
    assert "MNI" not in look().path.name


def test_probability_maps_are_one_segmentation(dataset, look, put):
    dataset.pair()
    paths = [put(f"{ANAT}_label-{label}_probseg.nii.gz") for label in ("CSF", "GM")]
    put(f"{ANAT}_space-MNI152Lin_label-WM_probseg.nii.gz")
    put(f"{ANAT}_label-brain_probseg.nii.gz")
    assert look() is None
    paths.append(put(f"{ANAT}_label-WM_probseg.nii.gz"))
    found = look()
    assert (found.kind, found.paths) == ("probabilities", tuple(paths))
    put(f"{ANAT}_desc-x_dseg.nii.gz")
    assert look().kind == "labels"


def test_images_of_other_participants_and_sessions_are_not_used(dataset, look, put):
    dataset.pair("sub-01_ses-a_{}_T2w", folder="sub-01/ses-a/anat")
    put("derivatives/seg/sub-02/anat/sub-02_dseg.nii.gz")
    put("derivatives/seg/sub-02/mri/aseg.mgz")
    put("derivatives/seg/sub-01/ses-b/anat/sub-01_ses-b_dseg.nii.gz")
    put("derivatives/seg/sub-01_ses-b/mri/aseg.mgz")
    assert look() is None
    assert "ses-b" in str(look(session="b", suffix="dseg").path)
    assert look(session=["b", "c"]).path.name == "sub-01_ses-b_dseg.nii.gz"
    assert look(session="c") is None


@pytest.mark.parametrize("folder", ["sub-01_ses-a", "sub-01/ses-a"])
def test_the_freesurfer_folder_of_the_session_comes_first(dataset, find, put, folder):
    dataset.pair("sub-01_ses-a_{}_T2w", folder="sub-01/ses-a/anat")
    put("derivatives/seg/sub-01/mri/aseg.mgz")
    assert find() == "seg/sub-01/mri/aseg.mgz"
    put(f"derivatives/seg/{folder}/mri/aseg.mgz")
    assert find() == f"seg/{folder}/mri/aseg.mgz"


def test_the_session_has_priority_over_the_order_of_datasets(dataset, find, put):
    dataset.pair("sub-01_ses-a_{}_T2w", folder="sub-01/ses-a/anat")
    put("derivatives/a/sub-01/anat/sub-01_dseg.nii.gz")
    put("derivatives/b/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz")
    assert find(datasets=("a", "b")) == "b/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz"


@pytest.mark.parametrize(
    ("filters", "name"),
    [
        ({"description": "b"}, "desc-b_dseg"),
        ({"description": ["a", "x"]}, "desc-a_dseg"),
        ({"suffix": "aseg"}, "aseg.mgz"),
        ({"space": "MNI152Lin"}, "space-MNI152Lin_dseg"),
        ({"description": None, "space": None, "suffix": "dseg"}, None),
    ],
)
def test_filters_select_a_segmentation(dataset, look, put, filters, name):
    dataset.pair()
    for stem in ("desc-a", "desc-b", "space-MNI152Lin"):
        put(f"{ANAT}_{stem}_dseg.nii.gz")
    put("derivatives/seg/sub-01/mri/aseg.mgz")
    with pytest.raises(InputError, match="--bids-filter-file"):
        look()
    found = look(**filters)
    assert name in found.path.name if name else found is None


def test_brain_masks_are_preferred_in_a_fixed_order(dataset, look, put):
    dataset.pair()
    for name in (
        "derivatives/seg/sub-01/mri/brainmask.mgz",
        "derivatives/seg/sub-01/mri/mask.mgz",
        f"{ANAT}_desc-brain_mask.nii.gz",
    ):
        path = put(name)
        put(f"{ANAT}_desc-ribbon_mask.nii.gz")
        assert look(find_mask).path == path


def test_several_t1w_images_are_refused(dataset, affine, label_values):
    dataset.pair()

    def find(any_of_equal=False, **filters):
        grid = Grid(label_values.shape, affine)
        return find_t1w(acquisition, grid, dataset.root, filters, any_of_equal=any_of_equal)

    acquisition = dataset.acquisition()
    assert find() is None
    path = dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values)
    dataset.image("sub-01/anat/sub-01_part-phase_T1w.nii.gz", label_values)
    assert (find().kind, find().path) == ("t1w", path)
    dataset.image("sub-01/anat/sub-01_run-2_T1w.nii.gz", label_values)
    with pytest.raises(InputError, match="several candidates for the T1w image"):
        find()
    assert find(run=None).path == path
    assert find(any_of_equal=True).path.name == "sub-01_T1w.nii.gz"


def test_a_4d_t1w_image_does_not_compete_with_a_3d_image(dataset, affine, label_values):
    """The volumes may be echoes or parts; the name of such a file has no entity part or echo."""
    dataset.pair()
    grid = Grid((4, 4, 4), affine)  # a T1w image on the grid of the phase would win anyway
    echoes = dataset.image("sub-01/anat/sub-01_T1w.nii.gz", np.stack([label_values] * 2, axis=-1))

    def find():
        return find_t1w(dataset.acquisition(), grid, dataset.root, {}, any_of_equal=True)

    with pytest.raises(InputError, match="is 4-D") as error:
        find()
    assert error.value.where == echoes
    path = dataset.image("sub-01/anat/sub-01_acq-mprage_T1w.nii.gz", label_values)
    (dataset.root / "sub-01/anat/sub-01_run-2_T1w.nii.gz").write_bytes(b"damaged")
    assert find().path == path


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_a_segmentation_is_found(dataset, find, extension):
    dataset.pair()
    name = f"seg/sub-01/anat/sub-01_space-x_dseg{extension}"
    dataset.segmentation(f"derivatives/{name}")
    assert find() == name


def test_only_files_with_the_segmentation_suffix_are_used(dataset, find):
    dataset.pair()
    dataset.segmentation("derivatives/seg/sub-01/anat/sub-01_label-GM_probseg.nii.gz")
    dataset.segmentation("derivatives/seg/sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    assert find() is None
    assert find(find_mask) == "seg/sub-01/anat/sub-01_desc-brain_mask.nii.gz"


def test_files_of_the_session_have_priority_over_files_without_a_session(dataset, find):
    dataset.pair("sub-01_ses-a_{}_T2w", folder="sub-01/ses-a/anat")
    dataset.segmentation()
    assert find() == "seg/sub-01/anat/sub-01_dseg.nii.gz"
    dataset.segmentation("derivatives/seg/sub-01/ses-b/anat/sub-01_ses-b_dseg.nii.gz")
    assert find() == "seg/sub-01/anat/sub-01_dseg.nii.gz"
    dataset.segmentation("derivatives/seg/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz")
    assert find() == "seg/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz"


def test_the_first_dataset_has_priority(dataset, find):
    dataset.pair()
    for name in ("a", "b"):
        dataset.segmentation(f"derivatives/{name}/sub-01/anat/sub-01_dseg.nii.gz")
    assert find(datasets=("b", "a")) == "b/sub-01/anat/sub-01_dseg.nii.gz"


def test_several_segmentations_in_one_folder_are_refused(dataset, find):
    dataset.pair()
    for label in "ab":
        dataset.segmentation(f"derivatives/seg/sub-01/anat/sub-01_desc-{label}_dseg.nii.gz")
    with pytest.raises(InputError, match="keep only one") as error:
        find()
    assert "sub-01_desc-a_dseg.nii.gz, sub-01_desc-b_dseg.nii.gz" in str(error.value)


def test_the_finest_regions_of_all_datasets_are_used(dataset, look):
    dataset.pair("sub-01_ses-a_{}_T2w", folder="sub-01/ses-a/anat")
    names = {"aseg": "a", "synthseg": "b", "aparcaseg": "c"}
    for kind, folder in names.items():
        anat = f"derivatives/{folder}/sub-01/ses-a/anat/sub-01_ses-a"
        path = dataset.segmentation(f"{anat}_desc-{kind}_dseg.nii.gz")
        assert look(find_regions, names.values()).path == path
    dataset.segmentation("derivatives/d/sub-01/ses-a/anat/sub-01_ses-a_desc-aparcaseg_dseg.nii.gz")
    assert look(find_regions, "dcba").path.is_relative_to(dataset.root / "derivatives/d")
    assert look(find_regions, "ab").regions == "synthseg"


def test_regions_of_the_session_are_preferred_to_finer_regions(dataset, look):
    dataset.pair("sub-01_ses-a_{}_T2w", folder="sub-01/ses-a/anat")
    dataset.segmentation(f"{ANAT}_desc-aparcaseg_dseg.nii.gz")
    own = "derivatives/seg/sub-01/ses-a/anat/sub-01_ses-a_desc-aseg_dseg.nii.gz"
    path = dataset.segmentation(own)
    assert look(find_regions).path == path


def test_the_segmentation_of_the_same_run_is_used(dataset, find):
    dataset.pair("sub-01_run-2_{}_T2w")
    for run in "123":
        dataset.segmentation(f"derivatives/seg/sub-01/anat/sub-01_run-{run}_desc-x_dseg.nii.gz")
    assert find() == "seg/sub-01/anat/sub-01_run-2_desc-x_dseg.nii.gz"


def test_the_error_for_a_damaged_candidate_names_its_file(dataset, find):
    dataset.pair()
    path = dataset.segmentation()
    path.write_bytes(b"")
    with pytest.raises(InputError) as error:
        find()
    assert str(path) in str(error.value)


@pytest.mark.parametrize("hidden", ["sub-01/anat/._sub-01{}", "sub-01/anat/.sub-01{}"])
def test_hidden_files_are_not_candidates(dataset, look, put, hidden):
    dataset.pair()
    for ending in ("_dseg.nii.gz", "_desc-brain_mask.nii.gz", "_label-GM_probseg.nii.gz"):
        dataset.json("derivatives/seg/" + hidden.format(ending), "")
    assert look() is None
    assert look(find_mask) is None
    path = put(f"{ANAT}_dseg.nii.gz")
    assert look().path == path


@pytest.mark.parametrize("name", ["desc-brain_mask", "label-brain_mask", "label-brain_desc-x_mask"])
def test_names_of_a_brain_mask(dataset, look, put, name):
    dataset.pair()
    for other in ("mask", "desc-bet_mask", "label-lesion_mask", "label-GM_desc-brain_mask"):
        put(f"{ANAT}_{other}.nii.gz")
    assert look(find_mask) is None
    path = put(f"{ANAT}_{name}.nii.gz")
    assert look(find_mask).path == path


def test_desc_brain_has_priority_over_label_brain(dataset, look, put):
    dataset.pair()
    put(f"{ANAT}_label-brain_mask.nii.gz")
    path = put(f"{ANAT}_desc-brain_mask.nii.gz")
    assert look(find_mask).path == path


@pytest.mark.parametrize("filters", [{"description": "bet"}, {"desc": "bet", "label": None}])
def test_filters_by_desc_select_any_mask(dataset, look, put, filters):
    dataset.pair()
    put(f"{ANAT}_desc-brain_mask.nii.gz")
    path = put(f"{ANAT}_desc-bet_mask.nii.gz")
    assert look(find_mask, **filters).path == path


def test_only_other_masks_of_the_participant_and_session_are_listed(dataset, put):
    dataset.pair("sub-01_ses-a_{}_T2w", folder="sub-01/ses-a/anat")
    seg = "derivatives/seg"
    ours = [put(f"{seg}/sub-01/ses-a/anat/sub-01_ses-a_desc-bet_mask.nii.gz")]
    ours.append(put(f"{ANAT}_mask.nii.gz"))
    put(f"{seg}/sub-01/ses-b/anat/sub-01_ses-b_desc-bet_mask.nii.gz")
    put(f"{seg}/sub-02/anat/sub-02_desc-bet_mask.nii.gz")
    put(f"{ANAT}_dseg.nii.gz")
    assert other_masks(dataset.acquisition(), [dataset.root / seg]) == ours


@pytest.mark.parametrize(
    "name",
    [
        "label-lesion_mask",
        "label-lesion_roi",
        "desc-lesion_mask",
        "desc-lesion_roi",
        "T1w_label-lesion_roi",
        "label-lesion_desc-tumour_mask",
        "desc-lesion2_mask",
        "desc-Lesions_mask",
    ],
)
def test_names_of_lesion_masks(dataset, look, put, name):
    dataset.pair()
    path = put(f"{ANAT}_{name}.nii.gz")
    found = look(find_lesions)
    assert (found.paths, found.kind, found.space) == ((path,), "lesions", "T1w")


@pytest.mark.parametrize("name", ["label-L_desc-4mm_mask", "desc-lesion_dseg", "desc-brain_mask"])
def test_other_images_are_not_lesion_masks(dataset, look, put, name):
    dataset.pair()
    put(f"{ANAT}_{name}.nii.gz")
    assert look(find_lesions) is None


def test_a_filter_selects_lesion_masks_of_another_name(dataset, look, put):
    dataset.pair()
    path = put(f"{ANAT}_label-L_desc-T1lesion_mask.nii.gz")
    put(f"{ANAT}_desc-lesion_mask.nii.gz")
    assert look(find_lesions, label="L").paths == (path,)


def test_all_lesion_masks_of_the_best_space_are_used(dataset, look, put):
    dataset.pair()
    native = [put(f"{ANAT}_label-lesion_desc-{one}_mask.nii.gz") for one in "ba"]
    put(f"{ANAT}_space-MNI152Lin_label-lesion_mask.nii.gz")
    assert look(find_lesions).paths == tuple(reversed(native))
    own = dataset.segmentation(f"{ANAT}_acq-qcm_label-lesion_roi.nii.gz")
    assert look(find_lesions).paths == (own,)


def test_lesion_masks_with_different_entities_are_all_used(dataset, look, put):
    dataset.pair("sub-01_acq-qcm_{}_T2w")
    first = put(f"{ANAT}_desc-lesion1_mask.nii.gz")
    other = put(f"{ANAT}_acq-hires_desc-lesion2_mask.nii.gz")
    assert look(find_lesions).paths == (other, first)
    # masks of the same lesion in two scans
    put(f"{ANAT}_acq-hires_desc-lesion3_mask.nii.gz")
    own = put(f"{ANAT}_acq-qcm_desc-lesion3_mask.nii.gz")
    assert look(find_lesions).paths == (other, own, first)


def test_a_lesion_mask_is_not_listed_as_an_unused_mask(dataset, look, put):
    dataset.pair()
    put(f"{ANAT}_label-lesion_mask.nii.gz")
    other = put(f"{ANAT}_desc-head_mask.nii.gz")
    folders = [dataset.root / "derivatives/seg"]
    assert other_masks(dataset.acquisition(), folders) == [other]
