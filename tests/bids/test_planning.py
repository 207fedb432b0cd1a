import pickle
from collections.abc import Mapping

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.bids.anatomy.datasets import SearchedDatasets
from bids_qcm.bids.dataset import find_acquisitions
from bids_qcm.bids.errors import InputError, NoInputError
from bids_qcm.bids.planning import plan_acquisition
from bids_qcm.recon.methods import DEFAULT_METHODS
from tests.synthetic import SIDECAR

SEG = "derivatives/seg"


@pytest.fixture
def plan(dataset):
    """Plan the dataset's only acquisition."""

    def plan(**options):
        settings = dataset.settings(**options)
        return plan_acquisition(
            dataset.acquisition(),
            settings,
            SearchedDatasets.of(settings, {"seg": dataset.root / SEG}),
        )

    return plan


@pytest.fixture
def refused(plan):
    """Return the error message for the only acquisition."""

    def refused(**options):
        with pytest.raises(InputError) as error:
            plan(**options)
        message = str(error.value)
        assert message.startswith(f"{error.value.where}: ")
        assert ". Remedy: " in message
        return message

    return refused


def echoes(dataset, *times, **fields):
    return [
        dataset.pair(f"sub-01_echo-{number}_{{}}_MEGRE", EchoTime=time, **fields)
        for number, time in enumerate(times, start=1)
    ]


def test_a_single_spin_echo_is_planned(dataset, plan):
    magnitude, phase = dataset.pair()
    found = plan()
    (echo,) = found.echoes
    assert echo.files == (magnitude, phase)
    assert (echo.units.name, echo.time) == ("rad", 0.01)
    assert (found.frequency, found.frequency_source) == (
        pytest.approx(127.74e6),
        "ImagingFrequency",
    )
    assert found.grid.voxel_size == (1.0, 1.5, 2.0)
    assert (found.segmentation, found.mask, found.warnings, found.refused) == (None, None, (), {})
    assert found.methods == DEFAULT_METHODS[False]


def test_echo_times_stay_with_their_echoes(dataset, plan):
    echoes(dataset, 0.02, 0.005)
    found = [(echo.files[1].name, echo.time) for echo in plan().echoes]
    assert found == [
        ("sub-01_echo-1_part-phase_MEGRE.nii.gz", 0.02),
        ("sub-01_echo-2_part-phase_MEGRE.nii.gz", 0.005),
    ]


def test_a_single_echo_needs_no_echo_time(dataset, plan):
    dataset.pair(EchoTime=None)
    assert plan().echoes[0].time is None


def test_the_sidecar_of_the_magnitude_applies_to_the_echo(dataset, plan):
    _, phase = dataset.pair()
    dataset.json(phase.relative_to(dataset.root).with_name("sub-01_part-phase_T2w.json"), {})
    assert plan().frequency_source == "ImagingFrequency"


def test_the_field_strength_replaces_a_missing_frequency(dataset, plan):
    dataset.pair(ImagingFrequency=None, MagneticFieldStrength=3)
    assert plan().frequency_source == "MagneticFieldStrength"


def test_real_and_imaginary_parts_have_no_unit(dataset, plan):
    first, second = dataset.pair(parts=("real", "imag"), Units=None)
    (echo,) = plan().echoes
    assert echo.files == (first, second)
    assert echo.units is None


def test_the_segmentation_and_the_mask_are_found(dataset, plan, label_values):
    dataset.pair()
    segmentation = dataset.segmentation()
    mask = dataset.image(f"{SEG}/sub-01/anat/sub-01_desc-brain_mask.nii.gz", label_values)
    found = plan()
    assert found.segmentation.path == segmentation
    assert found.mask.path == mask
    assert found.methods == DEFAULT_METHODS[True]
    assert found.warnings == ()


@pytest.mark.parametrize(("missing", "present"), [("mag", "phase"), ("phase", "mag")])
def test_an_echo_without_one_part_is_refused(dataset, refused, missing, present):
    first, _ = echoes(dataset, 0.005, 0.01)
    path = first[("mag", "phase").index(missing)]
    path.unlink()
    message = refused()
    assert f"sub-01_echo-1_part-{present}_MEGRE.nii.gz: has part-{present}, but" in message
    assert f"add {path.name}" in message


def test_a_phase_without_a_magnitude_is_refused(dataset, refused):
    dataset.pair(parts=["phase"])
    assert "add sub-01_part-mag_T2w.nii.gz" in refused()


def test_two_files_with_different_extensions_are_refused(dataset, refused):
    _, phase = dataset.pair()
    twin = phase.with_name(phase.name.removesuffix(".gz"))
    twin.write_bytes(b"")
    message = refused()
    assert str(phase) in message
    assert str(twin) in message
    assert "keep one" in message


def test_images_with_different_shapes_are_refused(dataset, refused, phase_values, affine):
    magnitude, phase = dataset.pair()
    dataset.image(phase.relative_to(dataset.root), phase_values[:-1], affine)
    message = refused()
    assert f"{phase}: has shape (7, 9, 7), but {magnitude.name} has (8, 9, 7)" in message


def test_images_with_different_affines_are_refused(dataset, refused, phase_values, affine):
    magnitude, phase = dataset.pair()
    affine[2, 3] = 1
    dataset.image(phase.relative_to(dataset.root), phase_values, affine)
    assert f"{phase}: has a different affine from {magnitude.name}" in refused()


def test_echoes_on_different_grids_are_refused(dataset, refused, phase_values, affine):
    _, (_, phase) = echoes(dataset, 0.005, 0.01)
    dataset.image(phase.relative_to(dataset.root), phase_values[:, 1:], affine)
    assert f"{phase}: has shape" in refused()


def test_several_echoes_need_their_echo_times(dataset, refused):
    _, (_, phase) = echoes(dataset, 0.005, None)
    message = refused()
    assert f"{phase}: its sidecar has no EchoTime" in message
    assert "add EchoTime (seconds)" in message


def test_equal_echo_times_are_refused(dataset, refused):
    (_, first), _, (_, third) = echoes(dataset, 0.005, 0.01, 0.005)
    message = refused()
    assert f"{third}: has the same EchoTime, 0.005 s, as {first.name}" in message


def test_an_echo_time_in_milliseconds_is_refused(dataset, refused):
    _, phase = dataset.pair(EchoTime=4.92)
    message = refused()
    assert f"{phase}: its sidecar's EchoTime is 4.92" in message
    assert "set EchoTime in seconds" in message


def test_an_acquisition_without_a_frequency_is_refused(dataset, refused):
    _, phase = dataset.pair(ImagingFrequency=None)
    message = refused()
    assert message.startswith(f"{phase}: ")
    assert "add ImagingFrequency (MHz) or MagneticFieldStrength (tesla)" in message


def test_a_sidecar_that_is_not_an_object_is_refused(dataset, refused):
    dataset.pair()
    sidecar = dataset.json("sub-01/anat/sub-01_part-mag_T2w.json", "[]")
    assert refused() == f"{sidecar}: is not a JSON object. Remedy: correct the sidecar"


@pytest.mark.parametrize("units", [None, "arbitrary", ["rad"], {"phase": "rad"}, 3])
def test_an_unknown_phase_range_is_refused(dataset, refused, phase_values, units):
    _, phase = dataset.pair(Units=units)
    dataset.image(phase.relative_to(dataset.root), phase_values * 10)
    message = refused()
    assert message.startswith(f"{phase}: the phase ranges from -31.4")
    assert "--phase-units" in message


def test_the_user_may_specify_the_phase_unit(dataset, plan, phase_values):
    _, phase = dataset.pair(Units=None)
    dataset.image(phase.relative_to(dataset.root), phase_values * 10)
    units = plan(phase_units=20 * np.pi).echoes[0].units
    assert units.radians_per_unit == pytest.approx(0.1)


def test_contradictory_units_cause_a_warning(dataset, plan):
    dataset.pair(Units="mrad")
    (warning,) = plan().warnings
    assert warning.startswith("sub-01_part-phase_T2w.nii.gz: ")
    assert "the values cover a cycle in rad; the values are interpreted as rad" in warning


def test_units_of_the_magnitude_do_not_apply_to_the_phase(dataset, plan, refused, phase_values):
    """Some converters write Units to the sidecar of the magnitude only."""
    magnitude, phase = dataset.pair(Units=None)
    fields = {"EchoTime": 0.01, "ImagingFrequency": 127.7, "Units": "mrad"}
    dataset.json(magnitude.relative_to(dataset.root).with_suffix("").with_suffix(".json"), fields)
    echo = plan().echoes[0]
    assert (echo.units.radians_per_unit, echo.units.warning) == (1, None)
    # a range that is plausible only with Units
    dataset.image(phase.relative_to(dataset.root), phase_values / 10)
    assert "its sidecar's Units is None" in refused()


def test_units_inherited_by_both_images_apply_to_the_phase(dataset, plan, phase_values):
    _, phase = dataset.pair(Units=None)
    dataset.json("T2w.json", {"Units": "mrad"})
    dataset.image(phase.relative_to(dataset.root), 100 * phase_values)
    assert plan().echoes[0].units.radians_per_unit == 1e-3


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("value", [0, np.nan])
def test_an_empty_image_is_refused(dataset, refused, phase_values, part, value):
    path = dataset.pair()[part]
    dataset.image(path.relative_to(dataset.root), np.full_like(phase_values, value))
    assert f"{path}: contains only zeros or non-finite values" in refused()


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.1, 0.8])
def test_a_truncated_image_is_refused(dataset, refused, part, extension, share):
    paths = dataset.pair()
    path = paths[part].with_name(paths[part].name.replace(".nii.gz", extension))
    image = nib.Nifti1Image(np.asarray(nib.load(paths[part]).dataobj), nib.load(paths[part]).affine)
    paths[part].unlink()
    nib.save(image, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = refused()
    assert message.startswith((f"{path}: cannot be read", f"{path}: is incomplete"))
    assert "copy the file again" in message


@pytest.mark.parametrize("part", [0, 1])
def test_a_single_4d_image_is_refused(dataset, refused, phase_values, part):
    path = dataset.pair()[part]
    dataset.image(path.relative_to(dataset.root), np.stack([phase_values] * 3, axis=-1))
    assert f"{path}: has 3 volumes, but" in refused()


def four_d(dataset, n, name="sub-01_{}_T2w", **fields):
    paths = dataset.pair(name, **fields)
    for path in paths:
        values = np.asanyarray(nib.load(path).dataobj)
        dataset.image(path.relative_to(dataset.root), np.stack([values] * n, axis=-1))
    return paths


def test_echoes_in_one_file_are_listed_with_their_volumes(dataset, plan):
    paths = four_d(dataset, 3, EchoTime=[0.005, 0.01, 0.02])
    found = plan()
    assert [(echo.time, echo.number, echo.volumes) for echo in found.echoes] == [
        (0.005, 1, (0, 0)),
        (0.01, 2, (1, 1)),
        (0.02, 3, (2, 2)),
    ]
    assert all(echo.files == tuple(paths) for echo in found.echoes)
    assert found.grid.shape == (8, 9, 7)
    assert [echo.number for echo in plan(echoes=(1, 3)).echoes] == [1, 3]


@pytest.mark.parametrize("times", [0.005, None, [0.005, 0.01]])
def test_volumes_of_unknown_meaning_are_refused(dataset, refused, times):
    _, phase = four_d(dataset, 3, EchoTime=times)
    message = refused()
    assert message.startswith(f"{phase}: has 3 volumes, but its sidecar does not describe them")
    for field in ("EchoTime", "CoilString", "ComplexImageComponent"):
        assert f"set {field} to a list of 3" in message
    assert "run-1" in message


def test_echoes_and_coils_in_one_file_are_listed_with_their_volumes(dataset, plan):
    paths = four_d(dataset, 4, EchoTime=[0.005, 0.01] * 2, CoilString=["A", "A", "B", "B"])
    # a permuted magnitude has its own lists
    dataset.json(
        paths[0].relative_to(dataset.root).with_suffix("").with_suffix(".json"),
        SIDECAR | {"EchoTime": [0.01, 0.005] * 2, "CoilString": ["A", "A", "B", "B"]},
    )
    found = plan()
    of_coils = [
        [(one.time, one.volumes) for one in (echo, *echo.repetitions)] for echo in found.echoes
    ]
    assert of_coils == [
        [(0.005, (1, 0)), (0.005, (3, 2))],
        [(0.01, (0, 1)), (0.01, (2, 3))],
    ]
    assert found.n_combined == 2
    assert found.files == tuple(paths)


def coils_of_echoes(dataset, *names):
    """Write a 4-D file for each echo and part, whose volumes are coils."""
    paths = []
    for number, coils in enumerate(names, start=1):
        fields = {"EchoTime": 0.005 * number, "CoilString": list(coils)}
        paths.append(four_d(dataset, len(coils), f"sub-01_echo-{number}_{{}}_MEGRE", **fields))
    return paths


def test_coils_of_all_echoes_have_the_order_of_the_first_echo(dataset, plan):
    coils_of_echoes(dataset, "ab", "ba")
    first, second = plan().echoes
    assert [one.coil for one in (first, *first.repetitions)] == ["a", "b"]
    assert [(one.coil, one.volumes) for one in (second, *second.repetitions)] == [
        ("a", (1, 1)),
        ("b", (0, 0)),
    ]


@pytest.mark.parametrize(("coils", "named"), [("bc", "b, c"), ("abc", "a, b, c"), ("a", "none")])
def test_echoes_with_different_coils_are_refused(dataset, refused, coils, named):
    (_, first), (_, second) = coils_of_echoes(dataset, "ab", coils)
    problem = f"has different receive coils ({named}) from {first.name} (a, b)"
    assert refused().startswith(f"{second}: {problem}")


def test_coils_both_in_names_and_in_volumes_are_refused(dataset, refused):
    for coil in (1, 2):
        four_d(dataset, 2, f"sub-01_coil-{coil}_{{}}_MEGRE", CoilString=["a", "b"])
    settings = dataset.settings()
    (acquisition,) = find_acquisitions(settings)
    with pytest.raises(InputError, match=r"either the entity coil .* or the list CoilString"):
        plan_acquisition(acquisition, settings, SearchedDatasets.of(settings, {}))


def test_echoes_of_one_file_are_numbered_by_their_echo_times(dataset, plan):
    """The number is the position in the readout train, whatever the order of the volumes is."""
    four_d(dataset, 3, EchoTime=[0.015, 0.005, 0.01])
    assert [(echo.number, echo.time, echo.volumes) for echo in plan().echoes] == [
        (1, 0.005, (1, 1)),
        (2, 0.01, (2, 2)),
        (3, 0.015, (0, 0)),
    ]
    assert [echo.time for echo in plan(echoes=(1, 3)).echoes] == [0.005, 0.015]


@pytest.mark.parametrize("with_list", [0, 1])
def test_a_list_in_one_sidecar_applies_to_both_images(dataset, plan, with_list):
    """The other sidecar keeps the values of dcm2niix: one echo time, one coil, one component."""
    lists = {"EchoTime": [0.005, 0.01], "CoilString": ["A", "A"]}
    lists["ComplexImageComponent"] = [("MAGNITUDE", "PHASE")[with_list]] * 2
    component = ("PHASE", "MAGNITUDE")[with_list]
    paths = four_d(dataset, 2, CoilString="A", ComplexImageComponent=component)
    sidecar = paths[with_list].relative_to(dataset.root).with_suffix("").with_suffix(".json")
    dataset.json(sidecar, SIDECAR | lists)
    assert [echo.time for echo in plan().echoes] == [0.005, 0.01]


@pytest.mark.parametrize(
    "components",
    [["MAGNITUDE", "PHSE"], ["MAGNITUED", "PHASE"], ["REAL", "IMAGINRY"], ["A", "B"]],
)
def test_a_misspelt_component_is_reported(dataset, components):
    path = dataset.image("sub-01/anat/sub-01_T2w.nii.gz", np.ones((4, 4, 4, 2), np.float32))
    fields = SIDECAR | {"ComplexImageComponent": components}
    dataset.json("sub-01/anat/sub-01_T2w.json", fields)
    dataset.pair("sub-01_{}_MEGRE")  # without another acquisition, the run would end
    settings = dataset.settings()
    found = {one.suffix: one for one in find_acquisitions(settings)}
    with pytest.raises(InputError, match="its sidecar's ComplexImageComponent contains") as error:
        plan_acquisition(found["T2w"], settings, SearchedDatasets.of(settings, {}))
    assert error.value.where == path


def test_parts_are_listed_for_a_single_volume(dataset):
    path = dataset.image("sub-01/anat/sub-01_T2w.nii.gz", dataset.volumes["phase"])
    sidecar = "sub-01/anat/sub-01_T2w.json"
    dataset.json(sidecar, SIDECAR | {"ComplexImageComponent": ["MIXED"]})
    with pytest.raises(NoInputError):  # such an image may be any other image
        find_acquisitions(dataset.settings())
    dataset.json(sidecar, SIDECAR | {"ComplexImageComponent": ["MAGNITUDE", "PHASE"]})
    settings = dataset.settings()
    (found,) = find_acquisitions(settings)
    with pytest.raises(InputError, match=r"has only one volume, but") as error:
        plan_acquisition(found, settings, SearchedDatasets.of(settings, {}))
    assert error.value.where == path


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"CoilString": ["A"]}, "CoilString is ['A']"),
        ({"CoilString": ["A", "B", "A"]}, "two volumes with CoilString A: 0 and 2"),
        (
            {"CoilString": ["A", "B", "A"], "EchoTime": [0.005, 0.005, 0.01]},
            "no volume with EchoTime 0.01 s and CoilString B",
        ),
        ({"ComplexImageComponent": ["PHASE", "PHASE", "MIXED"]}, "contains 'MIXED'"),
        ({"ComplexImageComponent": ["PHASE"] * 3}, "two volumes with the same part: 0 and 1"),
        ({"ComplexImageComponent": ["REAL"] * 3}, "no volume of the part phase"),
        ({"EchoTime": [0.005, "x", 0.01]}, "EchoTime is 'x'"),
    ],
)
def test_lists_that_do_not_describe_the_volumes_are_refused(dataset, refused, fields, problem):
    _, phase = four_d(dataset, 3, **fields)
    message = refused()
    assert message.startswith(f"{phase}: ")
    assert problem in message


def test_a_volume_that_does_not_exist_is_refused(dataset, refused):
    four_d(dataset, 2, EchoTime=[0.005, 0.01])
    assert "without echo 3" in refused(echoes=(1, 3))


def test_an_empty_volume_is_refused(dataset, refused):
    _, phase = four_d(dataset, 3, EchoTime=[0.005, 0.01, 0.02])
    values = np.asanyarray(nib.load(phase).dataobj).copy()
    values[..., 1] = 0
    dataset.image(phase.relative_to(dataset.root), values)
    message = refused()
    assert "only zeros or non-finite values in volume 1 (counted from 0)" in message
    assert "--echoes 1 3" in message


def test_a_file_of_an_echo_needs_three_dimensions(dataset, refused):
    pairs = echoes(dataset, 0.005, 0.01)
    for path in pairs[0]:
        values = np.asanyarray(nib.load(path).dataobj)
        dataset.image(path.relative_to(dataset.root), values.reshape(*values.shape, 1) * np.ones(3))
    assert "has 3 volumes, but its sidecar does not describe them" in refused()
    dataset.pair("sub-01_echo-1_{}_MEGRE", EchoTime=[0.005, 0.006, 0.007])
    for path in pairs[0]:
        values = np.asanyarray(nib.load(path).dataobj)
        dataset.image(path.relative_to(dataset.root), values.reshape(*values.shape, 1) * np.ones(3))
    assert "volumes with 3 echo times, but belongs to one of several echoes" in refused()


def test_a_link_without_content_is_refused(dataset, refused):
    path, _ = dataset.pair()
    path.unlink()
    path.symlink_to("../../.git/annex/objects/gone")
    message = refused()
    assert message.startswith(f"{path}: ")
    assert "datalad get" in message


def test_only_methods_that_need_a_segmentation_are_refused(dataset, plan):
    dataset.pair()
    found = plan(methods=("laplacian", "integral-seg", "laplacian-magseg", "integral-fd"))
    assert found.methods == ("laplacian", "integral-fd")
    assert list(found.refused) == ["integral-seg", "laplacian-magseg"]
    assert "integral-seg needs a segmentation: no segmentation for sub-01_T2w" in str(found.refused)
    assert (
        "use --derivatives to add a derivative dataset that contains sub-01"
        in found.refused["integral-seg"]
    )


def test_all_methods_are_refused(dataset, refused):
    _, phase = dataset.pair()
    message = refused(methods=("integral-seg",))
    assert message.startswith(f"{phase}: integral-seg needs a segmentation")
    assert "choose another --method" in message


def test_a_kernel_smaller_than_a_voxel_is_refused(dataset, plan):
    dataset.pair()
    found = plan(methods=("laplacian", "laplacian-fd"), fit_radius=(3, 3, 1))
    assert found.methods == ("laplacian-fd",)
    reason = found.refused["laplacian"]
    assert "fit radius 1 mm reaches less than one voxel along z" in reason
    assert "voxel size is 2 mm" in reason
    assert "--fit-radius" in reason


def test_an_integral_kernel_smaller_than_a_voxel_is_refused(dataset, plan):
    dataset.pair()
    found = plan(methods=("laplacian", "integral"), integral_radius=(1.2, 3, 3))
    assert found.methods == ("laplacian", "integral")
    found = plan(methods=("laplacian", "integral"), integral_radius=(3, 1.2, 3))
    assert "--integral-radius" in found.refused["integral"]
    assert "along y" in found.refused["integral"]


def test_automatic_radii_are_refused_if_the_largest_radius_is_below_a_voxel(dataset, plan):
    dataset.pair()
    found = plan(methods=("laplacian", "integral-fd"), integral_radius="auto", fit_radius="auto")
    # The published integral radius of integral-fd is one voxel here, and it may be scaled.
    assert found.methods == ("laplacian", "integral-fd")


def test_a_plan_contains_the_kernels_and_axes_of_its_methods(dataset, plan):
    dataset.pair()
    found = plan(methods=("laplacian", "integral-fd"), fit_radius=(9, 9, 0))
    assert found.axes == (0, 1)
    assert found.kernels["laplacian"].fit_radius == (9, 9, 0)
    assert found.kernels["integral-fd"].integral_radius == (2, 2, 0)
    assert tuple(found.kernels) == found.methods


def test_the_header_of_a_segmentation_is_read_once(dataset, plan):
    dataset.pair()
    path = dataset.segmentation()
    found = plan()
    path.unlink()
    assert found.segmentation.grid.shape == found.grid.shape
    assert pickle.loads(pickle.dumps(found.segmentation)).grid.matches(found.grid)


def test_a_segmentation_that_does_not_overlap_the_head_is_refused(dataset, plan, affine):
    dataset.pair()
    affine[0, 3] = 9
    path = dataset.segmentation(affine=affine)
    found = plan(methods=("integral-seg", "integral"))
    assert found.methods == ("integral",)
    assert f"{path}: does not overlap enough with the head" in found.refused["integral-seg"]
    assert found.warnings == ()


@pytest.mark.parametrize(
    "problem", ["grid", "values", "unknown", "empty", "table", "link", "truncated"]
)
def test_a_warning_explains_why_the_default_method_uses_no_segmentation(
    dataset, plan, label_values, affine, problem
):
    dataset.pair()
    path = dataset.segmentation()
    relative = path.relative_to(dataset.root)
    if problem == "grid":
        affine[1, 3] = 100
        dataset.image(relative, label_values, affine)
    elif problem == "values":
        dataset.image(relative, label_values + np.float32(0.5), affine)
    elif problem == "unknown":
        dataset.image(relative, label_values + np.int16(70))
    elif problem == "empty":
        dataset.image(relative, np.zeros_like(label_values))
    elif problem == "table":
        path = dataset.json(relative.with_name("sub-01_dseg.tsv"), "no table")
    elif problem == "link":
        path.unlink()
        path.symlink_to("gone")
    else:
        path.write_bytes(path.read_bytes()[:-20])
    found = plan()
    assert found.methods == DEFAULT_METHODS[False]
    assert found.segmentation is None
    (warning,) = found.warnings
    assert warning.startswith(f"no segmentation is used: {path}: ")


@pytest.mark.parametrize("segmentation", ["t1w", "seg"])
def test_a_missing_requested_segmentation_is_reported(dataset, plan, segmentation):
    dataset.pair()
    found = plan(segmentation=segmentation)
    assert found.methods == DEFAULT_METHODS[False]
    (warning,) = found.warnings
    assert warning.startswith("no segmentation is used: ")
    assert "T1w image" in warning
    refused = plan(segmentation=segmentation, methods=("integral-seg", "laplacian")).refused
    assert "T1w image" in refused["integral-seg"]


def test_no_segmentation_is_requested(dataset, plan):
    dataset.pair()
    dataset.segmentation()
    found = plan(segmentation="none")
    assert (found.segmentation, found.methods, found.warnings) == (None, DEFAULT_METHODS[False], ())


def test_an_unusable_mask_causes_a_warning(dataset, plan, label_values, affine):
    dataset.pair()
    relative = f"{SEG}/sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    path = dataset.image(relative, label_values + np.float32(0.5), affine)
    found = plan()
    assert (found.mask, found.mask_origins) == (None, ("template", "signal"))
    (warning,) = found.warnings
    assert warning.startswith(f"the brain mask from a derivative dataset is not used: {path}: ")


@pytest.mark.parametrize(
    ("mask", "body_part", "t1w", "origins"),
    [
        ("auto", None, True, ("T1w", "template", "signal")),
        ("auto", "HEAD", False, ("template", "signal")),
        ("auto", "KNEE", True, ("signal",)),
        ("brain", "KNEE", True, ("T1w", "template")),
        ("brain", None, False, ("template",)),
        ("signal", None, True, ("signal",)),
    ],
)
def test_the_images_decide_from_which_origins_a_mask_is_made(
    dataset, plan, label_values, mask, body_part, t1w, origins
):
    dataset.pair(BodyPartExamined=body_part)
    if t1w:
        dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values)
    found = plan(mask=mask)
    assert (found.mask_origins, found.warnings) == (origins, ())
    assert (found.mask is not None) == ("T1w" in origins)


@pytest.mark.parametrize(
    ("name", "body_part", "t1w", "expected"),
    [
        ("sub-01_{}_T2w", None, False, False),
        ("sub-01_{}_T2w", None, True, True),
        ("sub-01_{}_T2w", "BRAIN", False, True),
        # The T1w image is the acquisition itself, which may be of a phantom.
        ("sub-01_{}_T1w", None, False, False),
    ],
)
def test_a_head_is_expected_from_the_sidecar_or_a_t1w_image(
    dataset, plan, label_values, name, body_part, t1w, expected
):
    dataset.pair(name, BodyPartExamined=body_part)
    if t1w:
        dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values)
    assert plan().expects_head is expected


def test_a_brain_mask_is_preferred_to_a_t1w_image(dataset, plan, label_values):
    dataset.pair(BodyPartExamined="KNEE")
    dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values)
    path = dataset.image(f"{SEG}/sub-01/anat/sub-01_desc-brain_mask.nii.gz", label_values)
    for mask in ("auto", "brain", "seg"):
        found = plan(mask=mask)
        assert (found.mask.path, found.mask_origins) == (path, ("derivative",))
    assert plan(mask="signal").mask is None


def test_a_named_dataset_must_have_a_mask(dataset, plan):
    dataset.pair()
    dataset.segmentation()
    with pytest.raises(InputError, match="has no brain mask for sub-01_T2w"):
        plan(mask="seg")


@pytest.mark.parametrize(
    ("name", "sequence", "warned"),
    [
        ("sub-01_{}_MEGRE", None, True),
        ("sub-01_{}_T2starw", None, True),
        ("sub-01_{}_T1w", "GR", True),
        ("sub-01_{}_T1w", "GR\\IR", True),
        ("sub-01_{}_T1w", ["GR", "IR"], True),
        ("sub-01_{}_T1w", "SE", False),
        ("sub-01_{}_T1w", 7, False),
        ("sub-01_{}_T1w", None, False),
    ],
)
def test_a_single_gradient_echo_causes_a_warning(dataset, plan, name, sequence, warned):
    dataset.pair(name, ScanningSequence=sequence)
    warnings = [warning for warning in plan().warnings if "a single gradient echo" in warning]
    assert len(warnings) == warned
    assert all("off-resonance" in warning for warning in warnings)


def test_a_full_cycle_of_radians_needs_no_units(dataset, plan):
    dataset.pair(Units=None)
    assert plan().warnings == ()


@pytest.mark.parametrize("times", [(0.005, 0.01), (0,), (7e-5,)])
def test_echoes_without_off_resonance_effects_cause_no_warning(dataset, plan, times):
    echoes(dataset, *times)
    assert plan().warnings == ()


@pytest.mark.parametrize("suffix", ["MEGRE", "T1w"])
@pytest.mark.parametrize(
    ("time", "warned"),
    [(0.0, False), (8e-6, False), (3e-5, False), (9.9e-5, False), (1e-4, True), (None, True)],
)
def test_an_ultra_short_echo_is_phi0_without_a_warning(dataset, plan, suffix, time, warned):
    """UTE and ZTE are gradient echoes whose echo time is nearly zero."""
    dataset.pair(f"sub-01_{{}}_{suffix}", ScanningSequence="GR", EchoTime=time)
    found = plan()
    assert len(found.echoes) == 1
    assert ["a single gradient echo" in warning for warning in found.warnings] == [True] * warned


def test_planning_writes_no_files(dataset, plan, snapshot):
    dataset.pair()
    dataset.segmentation()
    before = snapshot(dataset.root)
    assert isinstance(plan().refused, Mapping)
    assert snapshot(dataset.root) == before


@pytest.mark.parametrize("offset", [0, 1e8])
def test_a_magnitude_with_a_huge_offset_counts_as_constant(
    dataset, refused, plan, magnitude_values, offset
):
    path, _ = dataset.pair()
    image = nib.Nifti1Image((10 * magnitude_values).astype(np.int16), nib.load(path).affine)
    image.header.set_slope_inter(1, offset)
    nib.save(image, path)
    if offset:
        assert f"{path}: has the same value everywhere" in refused()
    else:
        assert plan().methods


@pytest.mark.parametrize("slope", [1e-40, 1e30])
def test_a_slope_that_makes_the_values_implausible_is_refused(
    dataset, refused, magnitude_values, slope
):
    path, _ = dataset.pair()
    image = nib.Nifti1Image((10 * magnitude_values).astype(np.int16), nib.load(path).affine)
    image.header.set_slope_inter(slope, 0)
    nib.save(image, path)
    message = refused()
    assert message.startswith(f"{path}: has values up to ")
    assert "scl_slope" in message


def test_contradictory_sidecars_cause_a_warning(dataset, plan):
    dataset.pair(MagneticFieldStrength=1.5)
    (warning,) = plan().warnings
    assert "MagneticFieldStrength of 1.5 T corresponds to 63.9 MHz" in warning


def test_filters_that_select_nothing_cause_a_warning(dataset, plan):
    dataset.pair()
    dataset.segmentation()
    filters = {"suffix": "nope"}
    found = plan(segmentation_filters=filters, mask_filters=filters)
    assert found.segmentation is None
    assert len(found.warnings) == 2
    assert "no segmentation for sub-01_T2w passes the filters" in found.warnings[0]
    assert "no mask for sub-01_T2w passes the filters" in found.warnings[1]


def test_an_unusable_segmentation_is_reported_for_all_methods(dataset, plan, label_values):
    """A plan from headers only lists the segmentation, so its rejection must be reported."""
    dataset.pair()
    dataset.segmentation()
    path = dataset.image(
        "derivatives/seg/sub-01/anat/sub-01_dseg.nii.gz", label_values + np.float32(0.5)
    )
    mask = dataset.image(
        "derivatives/seg/sub-01/anat/sub-01_desc-brain_mask.nii.gz", label_values * np.float32(0.4)
    )
    found = plan(methods=("laplacian",))
    assert (found.segmentation, found.mask, found.refused) == (None, None, {})
    assert found.warnings[0].startswith(f"no segmentation is used: {path}: has values")
    unused = f"the brain mask from a derivative dataset is not used: {mask}: has values"
    assert found.warnings[1].startswith(unused)
    # The refusal of the method repeats the same reason.
    found = plan(methods=("laplacian", "laplacian-seg"))
    assert f"{path}: has values" in found.refused["laplacian-seg"]
    assert len(found.warnings) == 1


def test_unused_masks_are_listed(dataset, plan, label_values):
    dataset.pair()
    for name in ("desc-bet_mask", "space-T2w_mask", "desc-x_dseg"):
        dataset.image(f"derivatives/seg/sub-01/anat/sub-01_{name}.nii.gz", label_values)
    (warning,) = plan(segmentation="none").warnings
    assert warning == (
        "sub-01_T2w: these masks are not used: sub-01_desc-bet_mask.nii.gz, "
        "sub-01_space-T2w_mask.nii.gz. If one of them is a brain mask, rename it to "
        "*_desc-brain_mask, or choose it with --bids-filter-file"
    )
    found = plan(segmentation="none", mask_filters={"description": "bet"})
    assert (found.mask.path.name, found.warnings) == ("sub-01_desc-bet_mask.nii.gz", ())
    dataset.image("derivatives/seg/sub-01/anat/sub-01_label-brain_mask.nii.gz", label_values)
    found = plan(segmentation="none")
    assert (found.mask.path.name, found.warnings) == ("sub-01_label-brain_mask.nii.gz", ())


@pytest.mark.parametrize("broken", [0, 1])
def test_a_header_that_contradicts_itself_is_refused(dataset, refused, broken):
    path = dataset.pair()[broken]
    image = nib.load(path)
    sform = image.affine.copy()
    sform[:3, :3] *= 1.25
    image.set_sform(sform, 1)
    nib.save(image, path)
    message = refused()
    assert path.name in message
    assert "1.25 x 1.875 x 2.5 mm in its sform, but 1 x 1.5 x 2 mm" in message


def test_a_segmentation_whose_header_contradicts_itself_is_not_used(dataset, plan):
    dataset.pair()
    path = dataset.segmentation()
    image = nib.load(path)
    image.header["pixdim"][1] = 3
    nib.save(image, path)
    found = plan()
    assert found.segmentation is None
    (warning,) = found.warnings
    assert f"{path}: has a voxel size of 1 x 1.5 x 2 mm in its sform, but 3 x" in warning


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ImagedNucleus": "23Na"}, "ImagedNucleus is 23Na"),
        ({"EchoTime1": 0.005, "EchoTime2": 0.007}, "is a phase difference"),
        ({"Units": "Hz"}, "is a field map, not a phase image"),
    ],
)
def test_images_without_a_proton_phase_are_refused(dataset, refused, fields, message):
    dataset.pair(**fields)
    assert message in refused()


def test_a_magnitude_may_have_the_sidecar_of_a_field_map(dataset, plan):
    """The sidecar of a magnitude may have both echo times, but the sidecar of a phase may not."""
    magnitude, _ = dataset.pair()
    fields = {"EchoTime": 0.01, "EchoTime1": 0.005, "Units": "arbitrary"}
    dataset.json(magnitude.relative_to(dataset.root).as_posix()[:-6] + "json", fields)
    assert plan().methods == DEFAULT_METHODS[False]


def test_a_balanced_sequence_is_not_a_single_gradient_echo(dataset, plan):
    fields = {"SequenceVariant": "SS\\SK", "PulseSequenceDetails": "%SiemensSeq%\\trufi"}
    dataset.pair(ScanningSequence="GR", **fields)
    (warning,) = plan().warnings
    assert "one readout polarity" in warning


@pytest.mark.parametrize(("entity", "both"), [("dir", True), ("acq", True), ("run", False)])
def test_a_balanced_sequence_with_one_polarity_causes_a_warning(dataset, entity, both):
    fields = {"SequenceVariant": "SS", "PulseSequenceDetails": "trufi"}
    for label in (1, 2):
        dataset.pair(f"sub-01_{entity}-{label}_{{}}_T2w", **fields)
    settings = dataset.settings(average_runs=(entity,))
    (acquisition,) = find_acquisitions(settings)
    warnings = plan_acquisition(acquisition, settings, SearchedDatasets.of(settings, {})).warnings
    assert any("one readout polarity" in text for text in warnings) != both


def test_repetitions_are_planned_together(dataset):
    for run in (1, 2, 3):
        for echo, time in ((1, 0.005), (2, 0.01)):
            dataset.pair(f"sub-01_run-{run}_echo-{echo}_{{}}_MEGRE", EchoTime=time)
    settings = dataset.settings(average_runs=("run",))
    (acquisition,) = find_acquisitions(settings)
    assert acquisition.name == "sub-01_MEGRE"
    found = plan_acquisition(acquisition, settings, SearchedDatasets.of(settings, {}))
    assert [len(echo.repetitions) for echo in found.echoes] == [2, 2]
    assert len(found.files) == 12
    assert all(one.units.name == "rad" for echo in found.echoes for one in echo.repetitions)


def test_repetitions_must_have_the_same_echoes(dataset):
    dataset.pair("sub-01_run-1_{}_T2w", EchoTime=0.01)
    dataset.pair("sub-01_run-2_{}_T2w", EchoTime=0.02)
    settings = dataset.settings(average_runs=("run",))
    (acquisition,) = find_acquisitions(settings)
    with pytest.raises(InputError, match=r"has EchoTime 0\.02 s, but sub-01_run-1_part-phase"):
        plan_acquisition(acquisition, settings, SearchedDatasets.of(settings, {}))


def test_the_phase_of_a_2d_acquisition_is_differentiated_along_all_axes(dataset, plan):
    dataset.pair(MRAcquisitionType="2D", SliceEncodingDirection="i")
    found = plan(fit_radius=(9, 9, 9))
    assert (found.axes, found.slice_axis, found.warnings) == ((0, 1, 2), 0, ())


def test_all_methods_can_be_planned_in_plane(dataset, plan):
    dataset.pair(MRAcquisitionType="2D")
    found = plan(methods=("laplacian", "inversion"), in_plane="k")
    assert found.axes == found.kernels["inversion"].axes == (0, 1)
    assert found.kernels["laplacian"].fit_radius == (9, 9, 0)
    (warning,) = found.warnings
    assert warning.startswith("sub-01_T2w: the phase is differentiated within slices only")


def test_a_radius_of_zero_within_few_slices_is_refused(dataset, refused):
    dataset.volumes = {part: one[..., :4] for part, one in dataset.volumes.items()}
    dataset.pair(MRAcquisitionType="2D")
    message = refused(fit_radius=(9, 0, 9))
    assert "differentiated along fewer than 2 axes" in message
    assert "(--fit-radius, --integral-radius, --in-plane none)" in message


def test_a_warning_lists_the_echoes_named_as_runs(dataset):
    for run, time in ((1, 0.005), (2, 0.01)):
        dataset.pair(f"sub-01_run-{run}_{{}}_MEGRE", EchoTime=time)
    settings = dataset.settings()
    for acquisition in find_acquisitions(settings):
        (warning,) = plan_acquisition(
            acquisition, settings, SearchedDatasets.of(settings, {})
        ).warnings
        assert "these runs differ in EchoTime" in warning
        for run, time in ((1, 0.005), (2, 0.01)):
            assert f"sub-01_run-{run}_part-phase_MEGRE.nii.gz ({time:g} s)" in warning
        assert "rename run-1 to echo-1" in warning


def test_a_default_method_that_cannot_be_computed_is_left_out_with_a_warning(dataset, plan):
    """A method that was requested by name is refused instead."""
    dataset.pair()
    found = plan(fit_radius=(1, 1, 1))
    assert (found.methods, found.refused) == (("inversion-mag",), {})
    assert any("left out: integral-mag" in warning for warning in found.warnings)
    named = plan(methods=("inversion-mag", "integral-mag"), fit_radius=(1, 1, 1))
    assert list(named.refused) == ["integral-mag"]


def test_the_regions_share_the_registration_of_the_mask(dataset, plan, label_values, affine):
    dataset.pair()
    dataset.segmentation()
    affine[0, 3] += 1
    t1w = dataset.image("sub-01/anat/sub-01_T1w.nii.gz", label_values, affine)
    for name in ("desc-preproc_T1w", "desc-aparcaseg_dseg"):
        dataset.image(f"{SEG}/sub-01/anat/sub-01_{name}.nii.gz", label_values, affine)
    found = plan()
    (regions,) = found.regions
    assert regions.name == "aparcaseg"
    assert found.mask_alignment.anatomical == regions.alignment.anatomical == t1w
