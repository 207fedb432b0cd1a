import numpy as np
import pytest

from bids_qcm.checks.b1 import B1MapError, DeclaredB1, check_b1, declared_unit, recognise_unit

SHAPE = (24, 26, 22)
SIZE = (3.0, 3.0, 3.0)
FREQUENCY = 127.74e6


@pytest.fixture
def head():
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    return sum(np.square(axis) for axis in axes)


@pytest.fixture
def magnitude():
    """Return an image with tissues at a resolution of 6 mm."""
    rng = np.random.default_rng(1)
    tissues = rng.uniform(50, 100, tuple(n // 2 for n in SHAPE))
    return np.kron(tissues, np.ones((2, 2, 2)))


@pytest.fixture
def check(head, magnitude):
    def check(b1_map, unit="", measured=None, frequency=FREQUENCY):
        measured = np.ones(SHAPE) if measured is None else measured
        negative = (b1_map < 0).astype(np.float32)
        declared = DeclaredB1(unit)
        return check_b1(
            b1_map, measured, negative, head < 0.8, magnitude, SIZE, frequency, declared
        )

    return check


def b1(head, centre=110.0, rim=75.0):
    noise = np.random.default_rng(0).normal(0, 2, SHAPE)
    return centre + (rim - centre) * head + noise


def test_a_map_of_a_head_is_accepted(head, check):
    found = check(b1(head))
    assert found.unit == "percent"
    assert found.median == pytest.approx(93, abs=3)
    assert found.warnings == []


@pytest.mark.parametrize(
    ("change", "unit", "words"),
    [
        (lambda b: -b, "", "is negative in 100% of the mask"),
        (lambda b: b / 100, "percent", "its Units is percent"),
        (lambda b: b, "ratio", "its Units is ratio"),
        (lambda b: 10 * b, "", "implausible for .* in percent or ratio"),
        (lambda b: 10 * b, "degrees", "its Units is degrees"),
        (lambda b: np.where(b > 100, 5 * b, b), "percent", "varies too much"),
    ],
)
def test_implausible_maps_are_refused(head, check, change, unit, words):
    with pytest.raises(B1MapError, match=words) as error:
        check(change(b1(head)), unit)
    assert error.value.remedy


def test_a_head_at_7_t_may_vary_more(head, check):
    steep = b1(head, centre=160, rim=-10)
    with pytest.raises(B1MapError, match="varies too much"):
        check(steep, "percent")
    assert check(steep, "percent", frequency=298e6).unit == "percent"


def test_an_image_of_the_tissues_is_refused(check, magnitude):
    for image in (magnitude, 150 - magnitude):
        with pytest.raises(B1MapError, match="shows the tissues"):
            check(image)


def test_a_map_of_half_the_head_is_refused_but_the_top_may_be_missing(head, check):
    z = np.arange(SHAPE[2]) * np.ones(SHAPE)
    with pytest.raises(B1MapError, match="covers too little of the mask"):
        check(b1(head), measured=(z < 11).astype(float))
    found = check(b1(head), measured=(z < 15).astype(float))
    [warning] = found.warnings
    assert warning.startswith("was extrapolated: ")
    assert check(b1(head), measured=(z < 19).astype(float)).warnings == []


def test_a_map_outside_the_head_is_refused(head, check):
    with pytest.raises(B1MapError, match="no values in the mask"):
        check(b1(head), measured=(head > 1.5).astype(float))


def test_a_constant_map_causes_a_warning(check):
    [warning] = check(np.full(SHAPE, 100.0)).warnings
    assert "is constant" in warning


@pytest.mark.parametrize(
    ("median", "declared", "unit"),
    [
        (85, DeclaredB1(), "percent"),
        (0.85, DeclaredB1(), "ratio"),
        (8.5, DeclaredB1("", None, 10), "degrees"),
        (0.85, DeclaredB1("ratio"), "ratio"),
        (51, DeclaredB1("degrees", 60), "degrees"),
        # the flip angle may belong to a readout after the mapped pulse
        (70, DeclaredB1("degrees", None, 8), "degrees"),
        (0.9, DeclaredB1("rad", 60), "rad"),
        (4.0, DeclaredB1("tesla"), "tesla"),
    ],
)
def test_the_unit_follows_from_the_sidecar_and_the_median(median, declared, unit):
    assert recognise_unit(median, declared) == unit


@pytest.mark.parametrize(
    ("median", "declared"),
    [(8.5, DeclaredB1()), (8.5, DeclaredB1("degrees", 60)), (60, DeclaredB1("rad"))],
)
def test_impossible_medians_are_refused(median, declared):
    with pytest.raises(B1MapError, match="has a median of"):
        recognise_unit(median, declared)


def test_names_of_units_are_recognised():
    assert [declared_unit(name) for name in ("%", "Degrees", "a.u.", " ratio ", "uT")] == [
        *("percent", "degrees", "", "ratio", "tesla"),
    ]
    with pytest.raises(B1MapError, match="not a unit of"):
        declared_unit("Hz")
