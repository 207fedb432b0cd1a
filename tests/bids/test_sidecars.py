import json
from pathlib import Path

import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.sidecars import contradictions, echo_time, larmor_frequency, read_sidecar
from bids_qcm.physics import PROTON_GYROMAGNETIC_RATIO

IMAGE = "sub-01/ses-1/anat/sub-01_ses-1_acq-a_echo-1_part-phase_MEGRE.nii.gz"


def sidecar(dataset, **files):
    """Write sidecars that contain their own file name, and read the sidecar of the image."""
    for name, content in files.items():
        dataset.json(name, content)
    return read_sidecar(dataset.root / IMAGE, dataset.root)


def test_sidecars_closer_to_the_image_have_priority(dataset):
    files = {
        "MEGRE.json": {"a": "root", "b": "root", "c": "root", "d": "root"},
        "sub-01/sub-01_MEGRE.json": {"b": "subject", "c": "subject", "d": "subject"},
        "sub-01/ses-1/sub-01_ses-1_MEGRE.json": {"c": "session", "d": "session"},
        IMAGE.replace(".nii.gz", ".json"): {"d": "own"},
    }
    expected = {"a": "root", "b": "subject", "c": "session", "d": "own"}
    assert sidecar(dataset, **files) == expected


def test_more_specific_sidecars_in_a_folder_have_priority(dataset):
    files = {
        "part-phase_MEGRE.json": {"b": "part", "c": "part"},
        "acq-a_part-phase_MEGRE.json": {"c": "both"},
        "MEGRE.json": {"a": "all", "b": "all", "c": "all"},
    }
    assert sidecar(dataset, **files) == {"a": "all", "b": "part", "c": "both"}


@pytest.mark.parametrize(
    "other",
    [
        "part-mag_MEGRE.json",
        "acq-b_MEGRE.json",
        "run-1_MEGRE.json",
        "T1w.json",
        "notMEGRE.json",
        "sub-01/ses-2/MEGRE.json",
        "sub-02/MEGRE.json",
    ],
)
def test_sidecars_of_other_images_do_not_apply(dataset, other):
    assert sidecar(dataset, **{other: {"EchoTime": 1}}) == {}


def test_an_uncompressed_image_has_the_same_sidecar(dataset):
    dataset.json("sub-01/anat/sub-01_part-mag_T1w.json", {"a": 1})
    assert read_sidecar(dataset.root / "sub-01/anat/sub-01_part-mag_T1w.nii", dataset.root) == {
        "a": 1
    }


def test_a_byte_order_mark_and_unicode_are_accepted(dataset):
    path = dataset.path("MEGRE.json")
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": "é"}, ensure_ascii=False).encode())
    assert read_sidecar(dataset.root / IMAGE, dataset.root) == {"a": "é"}


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', "null", "3"])
def test_the_error_for_a_sidecar_that_is_not_an_object_names_the_file(dataset, content):
    with pytest.raises(InputError, match="correct the sidecar") as error:
        sidecar(dataset, **{"MEGRE.json": content})
    assert str(dataset.root / "MEGRE.json") in str(error.value)


def test_the_error_for_a_sidecar_that_is_not_utf8_names_the_file(dataset):
    dataset.path("MEGRE.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(InputError, match=r"MEGRE\.json: cannot be read as text"):
        read_sidecar(dataset.root / IMAGE, dataset.root)


def test_a_broken_sidecar_affects_only_its_own_images(dataset):
    assert sidecar(dataset, **{"T1w.json": "{", "MEGRE.json": {"a": 1}}) == {"a": 1}


def test_the_error_for_a_dangling_link_shows_the_download_command(dataset):
    dataset.path("MEGRE.json").symlink_to(".git/annex/objects/gone")
    with pytest.raises(InputError, match=r"MEGRE\.json: .*datalad get"):
        read_sidecar(dataset.root / IMAGE, dataset.root)


def test_the_frequency_has_priority_over_the_field_strength(dataset):
    fields = {"ImagingFrequency": 123.25, "MagneticFieldStrength": 3}
    frequency, source = larmor_frequency(fields, dataset.root)
    assert (frequency, source) == (pytest.approx(123.25e6), "ImagingFrequency")


def test_the_field_strength_replaces_a_missing_frequency(dataset):
    frequency, source = larmor_frequency({"MagneticFieldStrength": 3}, dataset.root)
    assert frequency == pytest.approx(3 * PROTON_GYROMAGNETIC_RATIO)
    assert source == "MagneticFieldStrength"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ImagingFrequency": 127740000.0},
        {"ImagingFrequency": 0},
        {"ImagingFrequency": -127.74},
        {"ImagingFrequency": float("nan")},
        {"ImagingFrequency": float("inf")},
        {"ImagingFrequency": "127.74"},
        {"ImagingFrequency": [127.74]},
        {"ImagingFrequency": None},
        {"ImagingFrequency": True},
        {"MagneticFieldStrength": 30000},
        {"MagneticFieldStrength": "3T"},
    ],
)
def test_the_error_for_an_implausible_frequency_names_the_unit(dataset, fields):
    image = dataset.root / "x.nii"
    with pytest.raises(InputError) as error:
        larmor_frequency(fields, image)
    assert str(error.value).startswith(f"{image}: ")
    field = next(iter(fields), "ImagingFrequency")
    assert field in str(error.value)
    assert {"ImagingFrequency": "MHz", "MagneticFieldStrength": "tesla"}[field] in str(error.value)


@pytest.mark.parametrize("value", [0, 0.00492, 1])
def test_plausible_echo_times_are_accepted(dataset, value):
    assert echo_time({"EchoTime": value}, dataset.root) == value


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"EchoTime": 4.92},
        {"EchoTime": -0.001},
        {"EchoTime": float("nan")},
        {"EchoTime": "0.00492"},
        {"EchoTime": [0.004, 0.008]},
        {"EchoTime": False},
    ],
)
def test_the_error_for_an_implausible_echo_time_names_the_unit(dataset, fields):
    image = dataset.root / "x.nii"
    with pytest.raises(InputError, match=r"EchoTime.*seconds") as error:
        echo_time(fields, image)
    assert str(error.value).startswith(f"{image}: ")


def echo(mag, phase):
    return {Path("mag.nii.gz"): mag, Path("phase.nii.gz"): phase}


@pytest.mark.parametrize(
    ("echoes", "words"),
    [
        (
            [echo({}, {"ImagingFrequency": 63.9, "MagneticFieldStrength": 3})],
            "corresponds to 127.7 MHz",
        ),
        (
            [
                {Path("echo-1"): {"MagneticFieldStrength": 3}},
                {Path("echo-2"): {"MagneticFieldStrength": 1.5}},
            ],
            "echo-2: its sidecar's MagneticFieldStrength is 1.5, but 3 in the sidecar of echo-1",
        ),
        ([echo({"ImagingFrequency": 127.7}, {"ImagingFrequency": 123.2})], "is 123.2, but 127.7"),
        (
            [echo({"EchoTime": 0.004}, {"EchoTime": 0.005})],
            "EchoTime is 0.005, but 0.004 in the sidecar of mag",
        ),
        # 3 T magnets of one vendor
        ([echo({}, {"ImagingFrequency": 123.2, "MagneticFieldStrength": 3})], None),
        ([echo({"EchoTime": 0.004}, {"EchoTime": 0.0040000001})], None),
        ([echo({"EchoTime": "4"}, {"EchoTime": 10**400, "ImagingFrequency": True})], None),
        ([echo({}, {"ImagingFrequency": 127.7, "MagneticFieldStrength": 0})], None),
    ],
)
def test_contradictory_sidecars_are_reported(echoes, words):
    found = contradictions(echoes)
    assert len(found) == (words is not None)
    assert words is None or words in found[0]
