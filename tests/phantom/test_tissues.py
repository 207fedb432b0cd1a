import numpy as np
import pytest

from bids_qcm.phantom.tissues import TISSUES, conductivities, permittivities

BY_NAME = {tissue.abbreviation: tissue for tissue in TISSUES}


@pytest.mark.parametrize(
    ("abbreviation", "at_64_mhz", "at_128_mhz"),
    [
        ("WM", 0.291, 0.342),
        ("GM", 0.511, 0.587),
        ("CSF", 2.066, 2.143),
        ("B", 0.0595, 0.0673),
        ("ST", 0.435, 0.522),
    ],
)
def test_conductivity_at_1_5_and_3_t_agrees_with_the_literature(
    abbreviation, at_64_mhz, at_128_mhz
):
    dispersion = BY_NAME[abbreviation].dispersion
    assert dispersion.conductivity(63.87e6) == pytest.approx(at_64_mhz, abs=0.0006)
    assert dispersion.conductivity(127.74e6) == pytest.approx(at_128_mhz, abs=0.0006)


@pytest.mark.parametrize(
    ("abbreviation", "frequency", "expected"),
    [
        # from the table of an independent study, doi:10.1186/s12938-018-0473-9
        ("ST", 100e3, 0.00045),
        ("ST", 400e3, 0.00305),
        ("ST", 1e6, 0.0132),
        ("B", 10e3, 0.0204),
        ("B", 100e3, 0.0208),
        ("B", 1e6, 0.0243),
    ],
)
def test_conductivity_at_low_frequencies_agrees_with_the_literature(
    abbreviation, frequency, expected
):
    found = BY_NAME[abbreviation].dispersion.conductivity(frequency)
    assert found == pytest.approx(expected, rel=0.01)


def test_conductivities_are_in_the_order_of_the_tissues():
    found = conductivities(127.74e6, 0.9)
    assert found.round(2).tolist() == [0.59, 0.34, 2.14, 0.07, 0.52, 0.9]
    assert np.all(np.diff([conductivities(f * 42.577e6, 0.9) for f in (1, 3, 7)], axis=0) >= 0)


def test_permittivity_at_3_t_agrees_with_the_literature():
    """Compare with published tables; lesions have the permittivity of gray matter."""
    found = permittivities(127.74e6)
    np.testing.assert_allclose(found, [73.5, 52.5, 84.0, 14.7, 65.4, 73.5], atol=0.15)


@pytest.mark.parametrize("tissue", [tissue for tissue in TISSUES if tissue.dispersion])
def test_permittivity_decreases_with_frequency(tissue):
    found = [tissue.dispersion.relative_permittivity(f) for f in (64e6, 128e6, 298e6, 1e15)]
    assert np.all(np.diff(found) < 0)
    assert found[-1] == pytest.approx(tissue.dispersion.permittivity, rel=0.01)


def test_labels_are_the_common_bids_labels():
    labels = {tissue.abbreviation: tissue.index for tissue in TISSUES}
    assert labels == {"GM": 1, "WM": 2, "CSF": 3, "B": 4, "ST": 5, "L": 7}
