from pathlib import Path

import pytest

from bids_qcm.bids.acquisitions import echo_number, group_acquisitions, merge_repetitions
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.outputs import OUTPUTS


def group(*names, parts=("mag", "phase"), folder="/d/sub-01/anat"):
    return group_acquisitions(
        Path(folder, f"{name.format(f'part-{part}')}.nii.gz") for name in names for part in parts
    )


def output_names(acquisitions):
    return {
        acquisition.name: OUTPUTS["condmap"].path(Path("/o"), acquisition, "x").name
        for acquisition in acquisitions
    }


def test_part_and_echo_do_not_separate_acquisitions():
    (one,) = group("sub-01_ses-a_run-1_echo-1_{}_MEGRE", "sub-01_ses-a_run-1_echo-2_{}_MEGRE")
    assert one.name == "sub-01_ses-a_run-1_MEGRE"
    assert (one.subject, one.session, one.suffix) == ("01", "a", "MEGRE")


def test_every_other_entity_and_the_suffix_separate_acquisitions():
    names = [
        "sub-01_{}_T1w",
        "sub-01_{}_T2w",
        "sub-01_acq-a_{}_T1w",
        "sub-01_run-1_{}_T1w",
        "sub-01_run-2_{}_T1w",
        "sub-01_ses-1_{}_T1w",
        "sub-02_{}_T1w",
    ]
    found = [acquisition.name for acquisition in group(*names)]
    assert found == sorted(name.replace("_{}", "") for name in names)


def test_a_magnitude_alone_is_not_an_acquisition():
    assert group("sub-01_{}_T1w", parts=["mag"]) == []


def test_echoes_are_ordered_by_number():
    (one,) = group(*(f"sub-01_echo-{n}_{{}}_MEGRE" for n in (10, 9, 1)))
    parts, pairs = one.echoes()
    assert parts == ("mag", "phase")
    assert [pair[1].name.split("_")[1] for pair in pairs] == ["echo-1", "echo-9", "echo-10"]
    assert all("part-mag" in first.name and "part-phase" in second.name for first, second in pairs)


def test_real_and_imaginary_parts_are_paired():
    (one,) = group("sub-01_{}_T1w", parts=["imag", "real"])
    parts, ((first, second),) = one.echoes()
    assert parts == ("real", "imag")
    assert (first.name, second.name) == (
        "sub-01_part-real_T1w.nii.gz",
        "sub-01_part-imag_T1w.nii.gz",
    )


@pytest.mark.parametrize(
    ("present", "absent"), [("phase", "mag"), ("real", "imag"), ("imag", "real")]
)
def test_a_part_without_its_counterpart_is_refused(present, absent):
    (one,) = group("sub-01_{}_T1w", parts=[present])
    with pytest.raises(InputError) as error:
        one.echoes()
    assert f"sub-01_part-{present}_T1w.nii.gz: " in str(error.value)
    assert f"add sub-01_part-{absent}_T1w.nii.gz" in str(error.value)


def test_an_echo_without_its_phase_is_refused():
    (one,) = group_acquisitions(
        Path(f"/d/sub-01_echo-{echo}_part-{part}_MEGRE.nii")
        for echo, part in [(1, "mag"), (1, "phase"), (2, "mag")]
    )
    with pytest.raises(InputError, match=r"add sub-01_echo-2_part-phase_MEGRE\.nii"):
        one.echoes()


def test_repetitions_are_merged():
    names = [
        "sub-01_run-1_{}_T2w",
        "sub-01_run-2_{}_T2w",
        "sub-01_acq-a_{}_T2w",
        "sub-02_run-1_{}_T2w",
    ]
    merged = merge_repetitions(group(*names), ["run"])
    assert [one.name for one in merged] == ["sub-01_T2w", "sub-01_acq-a_T2w", "sub-02_run-1_T2w"]
    assert [len(one.repetitions) for one in merged] == [2, 0, 0]
    assert merged[0].output_entities == {"sub": "01"}
    assert [one.name for one in merge_repetitions(group(*names), [])] == [
        one.name for one in group(*names)
    ]


def megre(*echoes):
    (one,) = group_acquisitions(
        Path(f"/d/sub-01_echo-{echo}_part-{part}_MEGRE.nii") for echo, part in echoes
    )
    return one


def test_only_the_selected_echoes_are_returned():
    one = megre(*[(n, part) for n in (1, 2, 3) for part in ("mag", "phase")], (4, "mag"))
    _, pairs = one.echoes((1, 3))
    assert [echo_number(second) for _, second in pairs] == [1, 3]
    with pytest.raises(InputError, match=r"or leave this echo out with --echoes 1 2 3$"):
        one.echoes()
    with pytest.raises(InputError, match=r"without echo 7\. Remedy: use --echoes .* 1 2 3 4"):
        one.echoes((1, 7))
    with pytest.raises(InputError, match="no matching part-phase"):
        one.echoes((3, 4))


def test_numbers_of_echoes_do_not_apply_to_images_without_an_echo_entity():
    (one,) = group("sub-01_{}_T2w")
    assert len(one.echoes((2, 3))[1]) == 1
    assert echo_number(one.echoes()[1][0][0]) == 0


@pytest.mark.parametrize(
    "twin", ["/d/sub-01/anat/sub-01_part-mag_T1w.nii", "/d/sub-02/anat/sub-01_part-mag_T1w.nii.gz"]
)
def test_two_files_for_one_image_are_refused(twin):
    folder = Path("/d/sub-01/anat")
    originals = [folder / f"sub-01_part-{part}_T1w.nii.gz" for part in ("mag", "phase")]
    (one,) = group_acquisitions([*originals, Path(twin)])
    with pytest.raises(InputError, match="keep one") as error:
        one.echoes()
    assert twin in str(error.value)
    assert str(originals[0]) in str(error.value)


def test_outputs_keep_unique_names():
    names = output_names(group("sub-01_acq-b_run-1_{}_T1w", "sub-01_{}_T2w"))
    assert names == {
        "sub-01_acq-b_run-1_T1w": "sub-01_acq-b_run-1_desc-x_condmap.nii.gz",
        "sub-01_T2w": "sub-01_desc-x_condmap.nii.gz",
    }


def test_the_suffix_is_added_to_acq_if_names_would_be_equal():
    names = output_names(group("sub-01_ses-1_run-2_{}_T1w", "sub-01_ses-1_run-2_{}_T2w"))
    assert names == {
        "sub-01_ses-1_run-2_T1w": "sub-01_ses-1_acq-T1w_run-2_desc-x_condmap.nii.gz",
        "sub-01_ses-1_run-2_T2w": "sub-01_ses-1_acq-T2w_run-2_desc-x_condmap.nii.gz",
    }


def test_the_suffix_is_appended_to_acq():
    names = output_names(group("sub-01_acq-a_run-2_{}_T1w", "sub-01_acq-a_run-2_{}_T2w"))
    assert names["sub-01_acq-a_run-2_T1w"] == "sub-01_acq-aT1w_run-2_desc-x_condmap.nii.gz"


@pytest.mark.parametrize(
    "names",
    [
        # The new acq label of one acquisition is already the label of the other.
        ["sub-01_acq-T1w_{}_PDw", "sub-01_{}_T1w", "sub-01_{}_T2w"],
        ["sub-01_acq-T1w_{}_PDw", "sub-01_acq-T1w_{}_T2w", "sub-01_{}_T1w", "sub-01_{}_T2w"],
        ["sub-01_acq-ME_{}_GRE", "sub-01_acq-ME_{}_T1w", "sub-01_{}_MEGRE", "sub-01_{}_T2w"],
        ["sub-01_acq-T1w_{}_T2w", "sub-01_acq-T1wT2w_{}_PDw", "sub-01_acq-T1w_{}_PDw"],
        # The derivatives set these entities themselves.
        ["sub-01_desc-a_{}_T1w", "sub-01_desc-b_{}_T1w", "sub-01_{}_T1w"],
        [
            "sub-01_ses-1_{}_T1w",
            "sub-01_ses-1_{}_T2w",
            "sub-01_ses-2_{}_T1w",
            "sub-01_run-1_{}_T1w",
        ],
    ],
)
def test_no_two_acquisitions_write_the_same_file(names):
    found = output_names(group(*names))
    assert len(found) == len(names)
    assert len(set(found.values())) == len(names), found


def test_a_magnitude_with_another_suffix_does_not_change_names():
    phase = group("sub-01_{}_T1w")
    both = group_acquisitions(
        Path(f"/d/{name}.nii.gz")
        for name in ("sub-01_part-mag_T1w", "sub-01_part-phase_T1w", "sub-01_part-mag_T2w")
    )
    assert output_names(both) == output_names(phase)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("echo", ["", "_echo-2"])
def test_the_remedy_for_a_magnitude_without_part_is_a_new_name(tmp_path, extension, echo):
    plain = tmp_path / f"sub-01{echo}_MEGRE{extension}"
    plain.touch()
    (one,) = group(f"sub-01{echo}_{{}}_MEGRE", parts=["phase"], folder=tmp_path)
    with pytest.raises(InputError) as error:
        one.echoes()
    stem = f"sub-01{echo}"
    assert "has part-phase, but there is no matching part-mag image" in str(error.value)
    assert (
        f"Remedy: rename {plain.name} to {stem}_part-mag_MEGRE{extension}, "
        f"and {stem}_MEGRE.json accordingly"
    ) in str(error.value)
