from pathlib import Path

import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.sequences import (
    are_phase_cycles,
    check_holds_phase,
    check_nucleus,
    is_balanced,
    is_gradient_echo,
    slice_axis,
)

IMAGE = Path("sub-01_part-phase_T2w.nii.gz")


@pytest.mark.parametrize("nucleus", ["1H", "H1", "h", "^1H", "proton", "", ["1H"], 1, None])
def test_names_of_the_proton_are_accepted(nucleus):
    check_nucleus({"ImagedNucleus": nucleus}, IMAGE)


@pytest.mark.parametrize("field", ["ImagedNucleus", "ResonantNucleus"])
@pytest.mark.parametrize("nucleus", ["23Na", "31P", "19F", "13C", "2H", "3He", "129XE"])
def test_other_nuclei_are_refused(field, nucleus):
    with pytest.raises(InputError, match=rf"{field} is {nucleus}, .*needs protons") as error:
        check_nucleus({field: nucleus}, IMAGE)
    assert error.value.where == IMAGE


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Units": "rad"},
        {"Units": "mrad"},
        {"Units": "rads"},
        {"Units": "radians"},
        {"Units": "arbitrary"},
        {"Units": "degrees"},
        {"Units": 7},
        {"EchoTime": 0.01},
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND", "PHASE"]},
    ],
)
def test_a_phase_is_accepted(fields):
    check_holds_phase(fields, IMAGE)


@pytest.mark.parametrize(
    "fields", [{"EchoTime1": 0.005, "EchoTime2": 0.007}, {"EchoTime1": 0.005}, {"EchoTime2": 0.007}]
)
def test_a_phase_difference_is_refused_with_its_echo_times(fields):
    with pytest.raises(InputError, match="is a phase difference") as error:
        check_holds_phase({"EchoTime": 0.007, **fields}, IMAGE)
    assert all(f"{name} {value}" in str(error.value) for name, value in fields.items())


@pytest.mark.parametrize(
    "unit",
    [
        *("Hz", "hz", "kHz", "Hertz", "T", "mT", "µT", "tesla", "ppm"),
        *("rad/s", "rad/sec", "rads/s", "radian / second", "rad per s", "rad s^-1", "rad*s-1"),
    ],
)
def test_a_field_map_is_refused_with_its_unit(unit):
    with pytest.raises(InputError) as error:
        check_holds_phase({"Units": unit}, IMAGE)
    assert f"is a field map, not a phase image: its sidecar's Units is {unit}" in str(error.value)


@pytest.mark.parametrize("kind", ["FIELDMAPHZ", "B0 MAP", "B0"])
def test_a_field_map_is_recognised_by_its_image_type(kind):
    with pytest.raises(InputError, match=f"is a field map.*ImageType is {kind}"):
        check_holds_phase({"ImageType": ["ORIGINAL", "PRIMARY", kind]}, IMAGE)


@pytest.mark.parametrize(
    "fields",
    [
        {"SequenceName": "*tfi3d1"},
        {"SequenceName": "tfi2d1_16"},
        {"PulseSequenceDetails": "%SiemensSeq%\\trufi"},
        {"PulseSequenceDetails": "%CustomerSeq%\\my_TrueFISP"},
        {"PulseSequenceName": "3DFIESTA"},
        {"PulseSequenceName": "BFFE"},
        {"PulseSequenceName": "B_TFE"},
        {"ProtocolName": "WIP 3D_bTFE SENSE"},
        {"ProtocolName": "3DbFFE"},
        {"SeriesDescription": "Balanced FFE"},
        {"PulseSequenceType": "bSSFP"},
        {"PulseSequenceName": "True SSFP"},
        {"SequenceVariant": "SS\\SK", "EchoTime": 0.0023, "RepetitionTime": 0.0046},
        {"SequenceVariant": "SK_SS", "EchoTime": 0.0023, "RepetitionTime": 0.0046},
        {"SequenceVariant": ["SS", "SK"], "EchoTime": 0.0023},
    ],
)
def test_balanced_sequences_are_recognised(fields):
    fields = {"ScanningSequence": "GR", **fields}
    assert is_balanced(fields)
    assert not is_gradient_echo(fields, "T2starw")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"SequenceVariant": "SP"},
        {"SequenceName": "*fl3d1", "SequenceVariant": "SP\\OSP"},
        {"SequenceVariant": "SS_SP_SK", "EchoTime": 0.002, "RepetitionTime": 0.004},
        # time-reversed: PSIF
        {"SequenceVariant": "SS\\TRSS", "EchoTime": 0.003, "RepetitionTime": 0.006},
        # GRASS: an early echo of a long repetition time
        {"SequenceVariant": "SS", "EchoTime": 0.004, "RepetitionTime": 0.03},
        {"SequenceVariant": "SS", "EchoTime": 0.02, "RepetitionTime": 0.04},
        {"SequenceVariant": "SS"},
        {"SequenceVariant": "SS", "SequenceName": "*fi3d1", "EchoTime": 0.003},
        {"SequenceName": "*tfl3d1", "PulseSequenceDetails": "%SiemensSeq%\\tfl"},
        {"PulseSequenceName": "T1TFE", "ProtocolName": "WB_TFE"},
        {"SequenceName": 3, "SequenceVariant": None},
    ],
)
def test_other_gradient_echoes_are_not_balanced(fields):
    fields = {"ScanningSequence": "GR", **fields}
    assert not is_balanced(fields)
    assert is_gradient_echo(fields, "T1w")


def test_a_spin_echo_is_not_a_gradient_echo():
    assert not is_gradient_echo({"ScanningSequence": "SE"}, "T2w")
    assert is_gradient_echo({}, "MEGRE")


@pytest.mark.parametrize(
    ("fields", "axis"),
    [
        ({}, None),
        ({"MRAcquisitionType": "3D"}, None),
        ({"MRAcquisitionType": 2}, None),
        ({"MRAcquisitionType": "2D"}, 2),
        ({"SliceThickness": 3, "SpacingBetweenSlices": 3.6}, 2),
        ({"SliceThickness": 3, "SpacingBetweenSlices": 3.003}, None),
        ({"SliceThickness": 2, "SpacingBetweenSlices": 1}, None),
        ({"SliceThickness": 3}, None),
        ({"SliceTiming": [0, 0.5, 0.25], "SliceEncodingDirection": "j"}, 1),
        ({"SliceTiming": [0, 0, 0]}, None),
        ({"MRAcquisitionType": "3D", "SliceThickness": 3, "SpacingBetweenSlices": 3.6}, None),
        ({"MRAcquisitionType": "2D", "SliceEncodingDirection": "k-"}, 2),
        ({"MRAcquisitionType": "2D", "SliceEncodingDirection": "i"}, 0),
        ({"MRAcquisitionType": "2D", "SliceEncodingDirection": "j-"}, 1),
        ({"MRAcquisitionType": "2D", "SliceEncodingDirection": "?"}, 2),
    ],
)
def test_the_slice_axis_is_taken_from_the_sidecar(fields, axis):
    assert slice_axis(fields) == axis


@pytest.mark.parametrize(
    ("increments", "balanced", "expected"),
    [
        ([180, 0], True, True),
        ([180, 540.0], True, False),
        ([180, None], True, False),
        ([180, 0], False, False),
        ([180], True, False),
    ],
)
def test_phase_cycles_are_recognised(increments, balanced, expected):
    name = "trufi" if balanced else "gre"
    sidecars = [{"PulseSequenceDetails": name, "RfPhaseIncrement": one} for one in increments]
    assert are_phase_cycles(sidecars) == expected
