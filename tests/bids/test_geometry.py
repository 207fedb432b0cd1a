import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_grid, save_array

SHAPE = (64, 64, 40)


@pytest.fixture(params=[".nii", ".nii.gz"])
def write(request, tmp_path):
    """Write an image with the given header fields, without nibabel's checks."""

    def write(affine=None, *, codes=(1, 1), sizes=None, change=None):
        affine = np.diag([2.0, 2, 2.5, 1]) if affine is None else affine
        path = tmp_path / f"image{request.param}"
        image = nib.Nifti1Image(np.ones(SHAPE, np.uint8), affine)
        image.set_sform(affine, codes[0])
        image.set_qform(affine, codes[1], strip_shears=True)
        if sizes is not None:
            image.header["pixdim"][1:4] = sizes
        if change is not None:
            change(image.header)
        # nib.save would correct the header, so the bytes are written directly.
        with nib.openers.ImageOpener(path, "wb") as file:
            image.header.write_to(file)
            file.write(bytes(4) + image.get_fdata().astype(np.uint8).tobytes(order="F"))
        return path

    return write


def turned(degrees, sizes=(2, 2, 2.5)):
    angle = np.radians(degrees)
    rotation = np.eye(3)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(sizes)
    affine[:3, 3] = -70, -80, 13
    return affine


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (2, 1), (4, 3)])
@pytest.mark.parametrize("degrees", [0, 33, 179.99])
def test_a_consistent_geometry_is_accepted(write, codes, degrees):
    grid = read_grid(write(turned(degrees), codes=codes))
    assert grid.voxel_size == pytest.approx((2, 2, 2.5), rel=1e-5)


def test_rounding_is_accepted(write):
    """Voxel sizes and direction cosines that are rounded to three decimals are accepted."""
    affine = turned(33, (0.4688, 0.4688, 1.2))
    affine[:3, :3] = (affine[:3, :3] / (0.4688, 0.4688, 1.2)).round(3) * (0.469, 0.469, 1.2)
    read_grid(write(affine, codes=(1, 0), sizes=(0.4688, 0.4688, 1.2)))


@pytest.mark.parametrize("factor", [0.5, 0.99, 1.01, 1.25])
@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 1), (1, 0)])
def test_the_error_for_two_voxel_sizes_states_both(write, factor, codes):
    def change(header):
        header["srow_y"] *= factor

    with pytest.raises(InputError) as error:
        read_grid(write(codes=codes, change=change))
    assert f"2 x {2 * factor:.4g} x 2.5 mm in its sform" in str(error.value)
    assert "but 2 x 2 x 2.5 mm in its qform and pixdim. Remedy: create" in str(error.value)


def test_an_unset_sform_is_ignored(write):
    def change(header):
        header["srow_x"] = 7

    assert read_grid(write(codes=(0, 1), change=change)).voxel_size == (2, 2, 2.5)


@pytest.mark.parametrize("sizes", [(0, 2, 2.5), (2, 2, 0), (2, np.nan, 2.5), (2, np.inf, 2.5)])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0)])
def test_a_voxel_size_of_zero_is_refused(write, sizes, codes):
    with pytest.raises(
        InputError, match=r"has a pixdim \(voxel size\) of .*create the image again"
    ):
        read_grid(write(codes=codes, sizes=sizes))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_voxel_size_of_zero_is_found_in_any_header(tmp_path, order, kind):
    """nibabel replaces a size of 0 with 1, which may equal the voxel size of the sform."""
    path = tmp_path / "image.nii.gz"
    header = kind.header_class(endianness=order)
    header.set_data_shape((4, 4, 4))
    header.set_sform(np.eye(4), 1)
    header["magic"] = b"n+1" if kind is nib.Nifti1Image else header["magic"]
    for size in (1, 0):
        header["pixdim"][1:4] = 1, size, 1
        with nib.openers.ImageOpener(path, "wb") as file:
            header.write_to(file)
            file.write(bytes(int(header.get_data_offset()) - header.sizeof_hdr + 256))
        if size:
            assert read_grid(path).voxel_size == (1, 1, 1)
        else:
            with pytest.raises(InputError, match="of 1 x 0 x 1 mm"):
                read_grid(path)


def test_neither_sform_nor_qform_is_refused(write):
    with pytest.raises(InputError, match=r"neither sform nor qform .*pixdim of 2 x 2 x 2\.5 mm"):
        read_grid(write(codes=(0, 0)))


@pytest.mark.parametrize(("cosine", "refused"), [(0.002, False), (0.02, True), (-0.3, True)])
def test_shear_is_refused(write, cosine, refused):
    affine = turned(20)
    x, y = affine[:3, 0] / 2, affine[:3, 1] / 2
    affine[:3, 1] = 2 * (cosine * x + np.sqrt(1 - cosine**2) * y)
    path = write(affine, codes=(1, 0), sizes=(2, 2, 2.5))
    if not refused:
        assert read_grid(path).voxel_size == pytest.approx((2, 2, 2.5), rel=1e-5)
        return
    degrees = np.degrees(np.arccos(cosine))
    with pytest.raises(InputError, match=rf"axes i and j meet at {degrees:.1f} degrees, not 90"):
        read_grid(path)


def test_sform_and_qform_with_the_same_code_must_agree(write):
    def change(header):
        header.set_sform(turned(25))

    with pytest.raises(
        InputError, match=r"the same code, 1, but their voxel positions differ by .* mm"
    ):
        read_grid(write(turned(20), change=change))


def test_an_sform_with_another_code_may_differ_from_the_qform(write):
    def change(header):
        header.set_sform(turned(25))

    assert read_grid(write(turned(20), codes=(2, 1), change=change)).shape == SHAPE


def test_a_broken_quaternion_is_refused(write):
    def change(header):
        header["quatern_b"] = header["quatern_c"] = 1

    with pytest.raises(InputError, match="has a qform that is not a rotation"):
        read_grid(write(change=change))


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 3)])
def test_our_own_images_are_accepted(tmp_path, codes):
    path = tmp_path / "x.nii.gz"
    save_array(path, np.ones(SHAPE, np.float32), turned(12, (0.7, 0.8, 3)), codes=codes)
    assert read_grid(path).voxel_size == pytest.approx((0.7, 0.8, 3), rel=1e-5)


def test_freesurfer_images_have_no_sform_or_qform(tmp_path):
    path = tmp_path / "x.mgz"
    nib.save(nib.MGHImage(np.ones((4, 5, 6), np.uint8), turned(12)), path)
    assert read_grid(path).voxel_size == pytest.approx((2, 2, 2.5), rel=1e-5)
