import math

import pytest

from bids_qcm.phantom.parameters import PhantomParameters, StudyParameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 0}, "resolution must be from 0.5 to 10 mm"),
        ({"resolution": math.nan}, "resolution"),
        ({"snr": 0}, "SNR must be above 0"),
        ({"snr": math.nan}, "SNR must be above 0"),
        ({"echo_times": (5.0, 10.0)}, "in seconds"),
        ({"echo_times": (0.0, 0.01)}, "above 0"),
        ({"echo_times": (0.01, 0.01)}, "increase"),
        ({"off_resonance": -1}, "off-resonance"),
        ({"field_strength": 3000}, "field strength must be from 0.1 to 20 T"),
        ({"seed": -1}, "seed must not be negative"),
        ({"anatomy_seed": -1}, "anatomy seed must not be negative"),
        ({"forward_model": "helmholtz"}, "forward model must be one of convection-reaction, lapl"),
        ({"receive": "volume"}, "receive coil must be one of birdcage, array"),
        (
            {"receive": "array"},
            "receive coil .array. requires the full-wave forward model, not .convection",
        ),
        ({"lesion_diameter": 50}, "lesion diameter must be from 4 to 40 mm"),
        ({"lesion_conductivity": 0}, "lesion conductivity must be from 0.01 to 10 S/m"),
        ({"tissue_variation": 15}, "tissue variation must be from 0 to 0.3"),
        ({"tissue_variation": math.nan}, "tissue variation"),
        ({"phase_scaling": "degrees"}, "phase scaling"),
        ({"phase_sign": 0}, "phase sign"),
    ],
)
def test_parameters_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PhantomParameters(**changes)


def test_frequency_follows_from_the_field_strength():
    assert PhantomParameters(field_strength=3).frequency == pytest.approx(127.732e6, rel=1e-5)


@pytest.mark.parametrize(
    ("echo_times", "expected"), [((), False), ((0.1,), False), ((0.01, 0.02), True)]
)
def test_only_several_echoes_are_gradient_echoes(echo_times, expected):
    assert PhantomParameters(echo_times=echo_times).is_gradient_echo is expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"participants": 0}, "number of participants must be from 1 to 999"),
        ({"sessions": 0}, "number of sessions must be from 1 to 99"),
        ({"group_effect": -0.6}, "group effect must be from -0.5 to 1"),
        ({"subject_sd": 0.3}, "spread between participants must be from 0 to 0.2"),
        ({"lesion_change": math.nan}, "lesion change"),
        ({"deformation": 6}, "deformation must be from 0 to 5 mm"),
        ({"movement": 6}, "movement must be from 0 to 5 mm"),
    ],
)
def test_study_parameters_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        StudyParameters(**changes)
