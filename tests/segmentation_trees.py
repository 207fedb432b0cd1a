"""Derivative datasets of other software for a phantom in another pose and on another grid."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, from_matvec
from nitransforms.linear import Affine
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_qcm.grids import Grid
from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.tissues import TISSUES
from tests.synthetic import Dataset

TISSUE_LABELS = {"GM": 1, "WM": 2, "CSF": 3}

# signal of gray and white matter, fluid, bone, soft tissue and lesion
_T1W = (60, 100, 20, 10, 80, 60)
_T2W = (80, 65, 100, 8, 60, 95)

# margin of air around the head in the T1w image, mm
MARGIN = 10


@dataclass
class Head:
    """A phantom head, as shown in the phase images and in the anatomical images.

    Attributes
    ----------
    labels, magnitude : ndarray
        Arrays on the grid of the phase.
    affine : ndarray
        Affine matrix of the phase.
    t1w, fractions, t1w_affine
        Arrays on a rotated, shifted and anisotropic grid, in coordinates after the pose.
    pose : ndarray
        Transformation from coordinates of the phase to coordinates of the T1w image.
    """

    labels: np.ndarray
    magnitude: np.ndarray
    affine: np.ndarray
    t1w: np.ndarray
    fractions: np.ndarray
    t1w_affine: np.ndarray
    pose: np.ndarray

    @property
    def t1w_grid(self):
        return Grid(self.t1w.shape, self.t1w_affine)

    @property
    def brain_labels(self):
        """Labels of gray matter, white matter and fluid on the grid of the T1w image."""
        filled = self.fractions[:3].sum(axis=0) > 0.5
        return np.where(filled, self.fractions[:3].argmax(axis=0) + 1, 0).astype(np.int16)

    def left(self):
        """Return the mask of the left hemisphere on the grid of the T1w image."""
        points = apply_affine(np.linalg.inv(self.pose), self.t1w_grid.points())
        return (points[:, 0] < 0).reshape(self.t1w.shape)


def make_head(resolution, degrees, shift, voxel_size, slices=slice(None)):
    """Make a head with a T1w image that is rotated by `degrees` and shifted by `shift` mm.

    The phase has only the given axial slices, and the T1w image covers the head in these slices.
    """
    anatomy = make_anatomy(resolution)
    fine = anatomy if resolution == 1 else make_anatomy(max(1, resolution / 2))
    labels = anatomy.labels[:, :, slices]
    first = slices.indices(anatomy.labels.shape[2])[0]
    affine = anatomy.grid.affine @ from_matvec(np.eye(3), [0, 0, first])
    signal = np.array([0, *_T2W], np.float32)
    lookup = {0: 0} | {tissue.index: row for row, tissue in enumerate(TISSUES, start=1)}
    rows = np.vectorize(lookup.get)(labels)
    centre = apply_affine(anatomy.grid.affine, np.array(anatomy.labels.shape) / 2)
    axis = np.array([1.0, -2.0, 2.0]) / 3
    rotation = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()
    pose = from_matvec(rotation, centre - rotation @ centre + np.array(shift))
    # rotate the grid as well
    turned = Rotation.from_euler("xyz", [12, -7, 9], degrees=True).as_matrix()
    size = np.array(voxel_size)
    # positions of the voxels of the head along the axes of the T1w image, with a margin of air
    along = apply_affine(pose @ affine, np.argwhere(labels)) @ turned
    low, high = along.min(axis=0) - MARGIN, along.max(axis=0) + MARGIN
    shape = np.ceil((high - low) / size).astype(int)
    t1w_affine = from_matvec(turned @ np.diag(size), turned @ low)
    to_index = np.linalg.inv(pose @ fine.grid.affine) @ t1w_affine
    fractions = np.stack(
        [
            ndimage.affine_transform(one, to_index, output_shape=tuple(shape), order=1)
            for one in fine.fractions
        ]
    )
    t1w = np.tensordot(np.array(_T1W, np.float32), fractions, axes=1)
    rng = np.random.default_rng(0)
    magnitude = signal[rows] + rng.normal(0, 2, rows.shape)
    return Head(
        labels,
        np.abs(magnitude).astype(np.float32),
        affine,
        t1w + np.abs(rng.normal(0, 1, t1w.shape)),
        fractions,
        t1w_affine,
        pose,
    )


def write_raw(root: Path, head: Head):
    """Write the raw dataset: a T2w image with its phase."""
    noise = np.random.default_rng(1).uniform(-np.pi, np.pi, head.labels.shape)
    # the phase is smooth in the head and consists of noise in air
    ramp = np.linspace(-1, 1, head.labels.shape[2])
    phase = np.where(head.labels > 0, ramp, noise).astype(np.float32)
    Dataset(root, head.affine, {"mag": head.magnitude, "phase": phase}).pair(EchoTime=0.08)
    return root


def write_fmriprep(root, head):
    """Write fMRIPrep's segmentation, T1w image and brain mask."""
    Dataset(root)
    save(root / "sub-01/anat/sub-01_dseg.nii.gz", head.brain_labels, head.t1w_affine)
    mask = (head.brain_labels > 0).astype(np.uint8)
    save(root / "sub-01/anat/sub-01_desc-brain_mask.nii.gz", mask, head.t1w_affine)
    save(root / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", head.t1w, head.t1w_affine)


def write_smriprep(root, head):
    """Write sMRIPrep's probability maps and T1w image."""
    Dataset(root)
    for row, tissue in enumerate(TISSUE_LABELS):
        path = root / f"sub-01/anat/sub-01_label-{tissue}_probseg.nii.gz"
        save(path, head.fractions[row], head.t1w_affine)
    save(root / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", head.t1w, head.t1w_affine)


def write_fmriprep_aseg(root, head):
    """Write fMRIPrep's aseg, with its table in the root of the dataset."""
    Dataset(root)
    save(root / "sub-01/anat/sub-01_desc-aseg_dseg.nii.gz", _aseg(head), head.t1w_affine)
    save(root / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", head.t1w, head.t1w_affine)
    names = "index\tname\tcolor\n2\tLeft-Cerebral-White-Matter\t#f5f5f5\n999\tsomething\t#000000\n"
    (root / "desc-aseg_dseg.tsv").write_text(names)


def write_freesurfer(root, head):
    """Write the relevant files of a FreeSurfer folder, without a dataset description."""
    save(root / "sub-01/mri/aseg.mgz", _aseg(head), head.t1w_affine)
    save(root / "sub-01/mri/aparc+aseg.mgz", _aparc(head), head.t1w_affine)
    save(root / "sub-01/mri/nu.mgz", head.t1w, head.t1w_affine)


def write_fastsurfer(root, head):
    """Write the relevant files of a FastSurfer folder after the segmentation step."""
    save(root / "sub-01/mri/aparc.DKTatlas+aseg.deep.mgz", _aparc(head), head.t1w_affine)
    save(root / "sub-01/mri/mask.mgz", (head.brain_labels > 0).astype(np.uint8), head.t1w_affine)
    save(root / "sub-01/mri/orig_nu.mgz", head.t1w, head.t1w_affine)


def write_synthseg(root, head):
    """Write SynthSeg's output for a T1w image in the raw dataset."""
    save(root / "sub-01/anat/sub-01_T1w_synthseg.nii.gz", _aseg(head), head.t1w_affine)
    raw = root.parents[1] / "sub-01/anat/sub-01_T1w.nii.gz"
    save(raw, head.t1w, head.t1w_affine)


PRODUCERS = {
    "fmriprep": write_fmriprep,
    "smriprep": write_smriprep,
    "fmriprep-aseg": write_fmriprep_aseg,
    "freesurfer": write_freesurfer,
    "fastsurfer": write_fastsurfer,
    "synthseg": write_synthseg,
}


def write_transform(root, head, name="sub-01_from-T1w_to-T2w_mode-image_xfm.txt"):
    """Write a dataset with the image transform from T1w to the phase as an ITK text file."""
    Dataset(root)
    path = root / "sub-01/anat" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Affine(head.pose).to_filename(path, fmt="itk")


def save(path, values, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mgz":
        stored = values.astype(np.int32 if values.dtype.kind in "iu" else np.float32)
        nib.save(nib.MGHImage(stored, affine), path)
    else:
        stored = values.astype(np.float32) if values.dtype.kind == "f" else values
        nib.save(nib.Nifti1Image(stored, affine), path)


def dice(one, other):
    """Return the overlap of two masks, from 0 to 1."""
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def _aseg(head):
    """Return FreeSurfer's label numbers of cortex, white matter and fluid on each side."""
    left, right = np.array([0, 3, 2, 4]), np.array([0, 42, 41, 43])
    labels = head.brain_labels
    return np.where(head.left(), left[labels], right[labels]).astype(np.int32)


def _aparc(head):
    """Replace the cortex labels by the labels of two parcels on each side."""
    aseg = _aseg(head)
    front = head.t1w_grid.points()[:, 1].reshape(aseg.shape) > 0
    for cortex, base in ((3, 1000), (42, 2000)):
        aseg[aseg == cortex] = base + np.where(front, 28, 11)[aseg == cortex]
    return aseg
