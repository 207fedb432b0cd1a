import gzip
import os
import subprocess
import sys
import time

import h5py
import nibabel as nib
import numpy as np
import pytest
from isal import igzip

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import (
    ImagePair,
    atomic_write,
    read_echo,
    read_grid,
    read_integers,
    read_stored,
    read_values,
    read_volumes,
    require_intact,
    save_array,
    to_canonical,
    write_image,
)
from bids_qcm.grids import Grid, Volume
from bids_qcm.phase import recognise_units


@pytest.fixture(params=[".nii", ".nii.gz"])
def path(request, tmp_path):
    return tmp_path / f"été 1{request.param}"


def truncate(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_the_grid_is_read_from_the_header(path, phase_values, affine):
    save_array(path, phase_values, affine)
    grid = read_grid(path)
    assert grid.shape == phase_values.shape
    assert grid.voxel_size == (1.0, 1.5, 2.0)
    np.testing.assert_array_equal(grid.affine, affine)


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 7, 3), (8, 9, 7, 1, 2)])
def test_images_must_have_three_dimensions(path, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), path)
    with pytest.raises(
        InputError, match=f"is {len(shape)}-D .*one 3-D volume in each file"
    ) as error:
        read_grid(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("value", [0, np.nan])
def test_a_singular_affine_is_refused(path, phase_values, affine, value):
    affine[1, 1] = value
    image = nib.Nifti1Image(phase_values, None)
    image.header.set_sform(affine, code=1)
    nib.save(image, path)
    with pytest.raises(InputError, match=r"singular affine.*correct its sform or qform"):
        read_grid(path)


def test_an_image_without_voxels_is_refused(path):
    nib.save(nib.Nifti1Image(np.ones((0, 4, 4), np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match="has no voxels"):
        read_grid(path)


def test_stored_values_are_not_scaled(path, affine):
    stored = np.arange(504, dtype=np.int16).reshape(8, 9, 7)
    save_array(path, stored, affine, slope=2, intercept=-4096)
    image = read_stored(path)
    np.testing.assert_array_equal(image.values, stored)
    assert (image.slope, image.intercept) == (2, -4096)
    np.testing.assert_array_equal(read_values(path), 2 * stored - 4096)
    assert read_values(path).dtype == np.float32


def test_an_image_without_scaling_has_slope_1_and_intercept_0(path, phase_values, affine):
    nib.save(nib.Nifti1Image(phase_values, affine), path)
    assert (read_stored(path).slope, read_stored(path).intercept) == (1, 0)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.95])
def test_the_error_for_a_truncated_file_names_the_file(path, phase_values, affine, share):
    save_array(path, phase_values, affine)
    truncate(path, share)
    problem = "(cannot be read|is incomplete).*copy the file again"
    with pytest.raises(InputError, match=problem) as error:
        read_stored(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"no image" * 100, b"/annex/x"])
def test_a_file_that_is_not_an_image_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        read_grid(path)


def test_a_damaged_size_in_the_header_is_refused(tmp_path, phase_values, affine):
    path = tmp_path / "x.nii"
    save_array(path, phase_values, affine)
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([-8, 9, 7], "<i2").tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.nii"):
        read_stored(path)


def test_another_format_is_refused(tmp_path, phase_values):
    path = tmp_path / "x.img"
    nib.save(nib.Spm99AnalyzeImage(phase_values, np.eye(4)), path)
    with pytest.raises(InputError, match="is neither a NIfTI nor an MGH image"):
        read_grid(path)


def test_the_freesurfer_format_is_read(tmp_path, label_values, affine):
    path = tmp_path / "aseg.mgz"
    nib.save(nib.MGHImage(label_values.astype(np.int32), affine), path)
    assert read_grid(path).matches(Grid(label_values.shape, affine))
    np.testing.assert_array_equal(read_integers(path), label_values)


def test_the_error_for_a_dangling_link_shows_the_download_command(path):
    path.symlink_to(".git/annex/objects/gone")
    for read in (read_grid, read_stored):
        with pytest.raises(InputError, match="datalad get") as error:
            read(path)
        assert str(path) in str(error.value)


def test_a_folder_is_refused(path):
    path.mkdir()
    with pytest.raises(InputError, match="is not a regular file"):
        read_grid(path)


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_an_empty_image_is_refused(path, value):
    save_array(path, np.full((4, 4, 4), value, np.float32), np.eye(4))
    with pytest.raises(InputError, match="only zeros or non-finite values"):
        read_stored(path)


def test_complex_values_are_refused(path):
    save_array(path, np.ones((4, 4, 4), np.complex64), np.eye(4))
    with pytest.raises(InputError, match=r"complex64.*part-real and part-imag"):
        read_stored(path)


def test_an_echo_of_magnitude_and_phase_is_scaled(tmp_path, magnitude_values, affine):
    stored = np.zeros(magnitude_values.shape, np.int16)
    stored[0, 0, :3] = 4095, 2048, 1024
    save_array(tmp_path / "m.nii", magnitude_values, affine)
    save_array(tmp_path / "p.nii", stored, affine, slope=2, intercept=-4096)
    units = recognise_units(stored, 2, -4096)
    magnitude, phase = read_echo(ImagePair(tmp_path / "m.nii", tmp_path / "p.nii", units))
    np.testing.assert_array_equal(magnitude, magnitude_values)
    np.testing.assert_allclose(phase[0, 0, 1:3], [0, -np.pi / 2], atol=1e-6)


def test_real_and_imaginary_parts_are_converted_to_magnitude_and_phase(
    tmp_path, magnitude_values, phase_values, affine
):
    signal = magnitude_values * np.exp(1j * phase_values)
    save_array(tmp_path / "r.nii", signal.real, affine)
    save_array(tmp_path / "i.nii", signal.imag, affine)
    magnitude, phase = read_echo(ImagePair(tmp_path / "r.nii", tmp_path / "i.nii", None))
    np.testing.assert_allclose(magnitude, magnitude_values, rtol=1e-5)
    np.testing.assert_allclose(np.exp(1j * phase), np.exp(1j * phase_values), atol=1e-5)


def test_labels_stored_as_floats_are_read_as_integers(path, label_values, affine):
    save_array(path, label_values.astype(np.float32), affine)
    assert read_integers(path).dtype == np.int32
    np.testing.assert_array_equal(read_integers(path), label_values)


@pytest.mark.parametrize("odd", [0.5, np.nan, np.inf, 1e10])
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_values_that_are_not_integers_are_refused(path, label_values, affine, odd):
    values = label_values.astype(np.float32)
    values[0, 0, 0] = odd
    save_array(path, values, affine)
    with pytest.raises(InputError, match=r"not 32-bit integers.*store integer labels"):
        read_integers(path)


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 0), (0, 1), (0, 0)])
def test_an_image_is_written_in_the_same_space(path, phase_values, affine, sform, qform):
    source = path.with_name(f"source{path.name[5:]}")
    image = nib.Nifti1Image(np.ones(phase_values.shape, np.uint8), affine)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    nib.save(image, source)
    write_image(path, phase_values, like=source)
    written, original = nib.load(path), nib.load(source)
    np.testing.assert_allclose(written.affine, original.affine)
    assert (written.header["sform_code"], written.header["qform_code"]) == (sform, qform)
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(written.get_fdata(), phase_values)


def test_a_mask_is_written_as_uint8(path):
    save_array(path, np.eye(3, dtype=bool)[None], np.eye(4))
    assert nib.load(path).get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_integers(path)[0], np.eye(3))


def test_the_same_image_gives_the_same_bytes(tmp_path, phase_values, affine):
    for name in ("a.nii.gz", "b.nii.gz"):
        save_array(tmp_path / name, phase_values, affine)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_failed_write_leaves_only_the_old_file(path):
    def fail_halfway():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    path.write_text("old")
    with pytest.raises(RuntimeError):
        fail_halfway()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "old"


def test_the_temporary_name_has_the_extension_and_is_hidden(path):
    with atomic_write(path) as temporary:
        assert temporary.name.endswith("".join(path.suffixes))
        assert temporary.name.startswith(".")
        assert temporary.parent == path.parent
        temporary.touch()
    assert path.exists()


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_large_labels_stay_distinct(tmp_path, dtype):
    labels = np.array([16777216, 16777217, 2**31 - 1, -5], dtype).reshape(4, 1, 1)
    nib.save(nib.Nifti1Image(labels, np.eye(4), dtype=dtype), tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(read_integers(tmp_path / "labels.nii.gz"), labels)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_reorienting_an_image_keeps_the_voxel_positions(axes, flips):
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(flips) @ np.diag([1.0, 1.5, 2.0]))[list(axes)]
    affine[:3, 3] = 7, -5, 3
    turned = to_canonical(Volume(values, Grid(values.shape, affine)))
    assert (np.diag(turned.grid.affine)[:3] > 0).all()
    assert turned.grid.shape == turned.values.shape
    for index in np.ndindex(turned.values.shape):
        position = [*turned.grid.at(index), 1]
        there = np.round(np.linalg.solve(affine, position)).astype(int)[:3]
        assert values[tuple(there)] == turned.values[index]


@pytest.mark.parametrize("age", [1e6, 0, -1e6])
def test_temporary_files_of_a_killed_writer_are_removed_at_any_age(path, age):
    code = (
        "import os, sys; from pathlib import Path; from bids_qcm.bids.images import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    (left,) = path.parent.iterdir()
    assert left.name.startswith(".")
    os.utime(left, times=(time.time() - age,) * 2)
    with atomic_write(path.with_name(f"other{path.name}")):
        assert left.exists()
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
    assert not left.exists()
    assert path.read_text() == "whole"


def test_temporary_files_of_a_running_writer_are_kept(path):
    with atomic_write(path) as first:
        os.utime(first, (0, 0))
        with atomic_write(path) as second:
            second.write_text("second")
        first.write_text("first")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_axes_of_length_one_are_dropped(tmp_path, affine):
    values = np.random.default_rng(0).normal(size=(4, 5, 6, 1)).astype(np.float32)
    path = tmp_path / "one.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    assert read_grid(path).shape == (4, 5, 6)
    np.testing.assert_array_equal(read_values(path), values[..., 0])


@pytest.mark.parametrize("units", ["rad", None])
def test_a_magnitude_that_is_not_finite_becomes_zero(tmp_path, affine, units):
    values = np.ones((3, 3, 3), np.float32)
    values[0, 0] = np.nan
    values[1, 0, 0] = np.inf
    paths = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    save_array(paths[0], values, affine)
    save_array(paths[1], np.ones((3, 3, 3), np.float32), affine)
    if units is not None:
        units = recognise_units(np.ones(3, np.float32), 1, 0, units="rad")
    magnitude, _ = read_echo(ImagePair(*paths, units))
    np.testing.assert_array_equal(magnitude == 0, ~np.isfinite(values))


def test_labels_within_a_thousandth_are_rounded(path, label_values, affine):
    values = label_values.astype(np.float64)
    values[::2] += 9e-4
    values[1::2] -= 9e-4
    save_array(path, values, affine)
    np.testing.assert_array_equal(read_integers(path), label_values)
    values[0, 0, 0] += 2e-3
    save_array(path, values, affine)
    with pytest.raises(InputError, match="not 32-bit integers"):
        read_integers(path)


def test_labels_stored_through_a_slope_are_rounded(path, label_values, affine):
    """nibabel stores floats in an integer image with a slope, which causes rounding errors."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(label_values * 3.0, affine, header), path)
    assert not np.array_equal(nib.load(path).get_fdata(), label_values * 3)
    np.testing.assert_array_equal(read_integers(path), label_values * 3)


@pytest.mark.parametrize("kind", ["sub-01_T2w.nii.gz", "aseg.mgz"])
def test_a_checksum_is_compared(tmp_path, affine, kind):
    """A flipped bit that keeps the number of values is detected only by the checksum."""
    path = tmp_path / kind
    values = np.random.default_rng(0).integers(1, 2000, (40, 40, 40)).astype(np.int32)
    image = nib.MGHImage if kind.endswith(".mgz") else nib.Nifti1Image
    nib.save(image(values, affine), path)
    np.testing.assert_array_equal(read_stored(path).values, values)
    content = bytearray(path.read_bytes())
    # The gzip checksum is stored 8 to 5 bytes before the end.
    content[-7] ^= 4
    path.write_bytes(content)
    assert np.array_equal(np.asanyarray(nib.load(path).dataobj), values)
    with pytest.raises(
        InputError, match=r"is damaged: .*CRC check failed.*copy the file again"
    ) as error:
        read_stored(path)
    assert error.value.where == path


def test_a_flipped_bit_in_the_values_is_found(tmp_path, affine):
    path = tmp_path / "x.nii.gz"
    values = np.random.default_rng(0).integers(1, 2000, (16, 16, 16)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, affine), path)
    good = path.read_bytes()
    silent = 0
    for place in range(len(good) // 2, len(good) // 2 + 40):
        content = bytearray(good)
        content[place] ^= 16
        path.write_bytes(content)
        try:
            silent += bool(np.any(np.asanyarray(nib.load(path).dataobj) != values))
        except Exception:  # The flipped bit stopped the decompression.
            continue
        with pytest.raises(InputError, match="is damaged"):
            read_stored(path)
    assert silent > 0


def test_a_truncated_hdf5_file_is_damaged(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = np.arange(100_000.0)
    require_intact(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="is damaged"):
        require_intact(path)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_only_the_requested_volumes_are_read(tmp_path, affine, extension, monkeypatch):
    values = np.random.default_rng(0).integers(1, 4095, (5, 6, 7, 4, 1)).astype(np.int16)
    path = tmp_path / f"x{extension}"
    save_array(path, values, affine, slope=2, intercept=-4096)
    opened = []

    def open_stream(*given):
        opened.append(given)
        return gzip.GzipFile(*given)

    monkeypatch.setattr(igzip, "open", open_stream)
    found = list(read_volumes([(path, 1), (path, 3), (path, 0)]))
    assert len(opened) == (extension == ".nii.gz")
    for image, volume in zip(found, (1, 3, 0), strict=True):
        np.testing.assert_array_equal(image.values, values[..., volume, 0])
        assert image.values.dtype == values.dtype
        assert (image.slope, image.intercept) == (2, -4096)
