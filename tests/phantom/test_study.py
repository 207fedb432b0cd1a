from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bids_qcm.phantom.anatomy import make_anatomy
from bids_qcm.phantom.deformation import jacobian
from bids_qcm.phantom.lesions import TUMOUR_CENTRE
from bids_qcm.phantom.make import make_head, make_phantom
from bids_qcm.phantom.parameters import PhantomParameters, StudyParameters, scan_parameters
from bids_qcm.phantom.study import make_participant

PHANTOM = PhantomParameters(resolution=4.0, lesion=True, snr=np.inf)
STUDY = StudyParameters(participants=4, sessions=2)


@pytest.fixture(scope="module")
def patient():
    return make_participant(PHANTOM, STUDY, 1)


@pytest.fixture(scope="module")
def heads(patient):
    return [make_head(scan.parameters, scan.subject) for scan in patient.scans]


def test_groups_alternate_and_both_sexes_are_in_both_groups():
    people = [make_participant(PHANTOM, STUDY, number) for number in range(4)]
    assert [person.group for person in people] == ["control", "patient"] * 2
    assert {(person.group, person.sex) for person in people} == {
        (group, sex) for group in ("control", "patient") for sex in "FM"
    }
    assert all(20 <= person.age <= 80 for person in people)
    assert [person.scans[0].parameters.lesion for person in people] == [False, True] * 2


def test_group_effect_and_spread_are_as_given():
    study = StudyParameters(participants=200, sessions=1, group_effect=0.2, subject_sd=0.05)
    people = [make_participant(PHANTOM, study, number) for number in range(200)]
    factors = {
        group: np.array([list(p.tissue_factors.values()) for p in people if p.group == group])
        for group in ("control", "patient")
    }
    gray, white, fluid = (factors["patient"].mean(axis=0) / factors["control"].mean(axis=0)).T
    assert white == pytest.approx(1.2, abs=0.02)
    assert (gray, fluid) == pytest.approx((1, 1), abs=0.02)
    np.testing.assert_allclose(factors["control"].std(axis=0), 0.05, rtol=0.2)
    # the tissues vary independently
    assert abs(np.corrcoef(factors["control"].T)[0, 1]) < 0.3


def test_every_scan_has_its_own_noise():
    people = [make_participant(PHANTOM, STUDY, number) for number in range(4)]
    seeds = [scan.parameters.seed for person in people for scan in person.scans]
    assert seeds == list(range(8))


def test_lesion_changes_between_sessions(patient, heads):
    first, second = (scan.parameters.lesion_conductivity for scan in patient.scans)
    assert second / first == pytest.approx(1.2)
    for head, expected in zip(heads, (first, second), strict=True):
        inside = head.anatomy.fractions[5] > 0.99
        assert inside.sum() > 10
        np.testing.assert_allclose(head.conductivity[inside], expected, rtol=1e-6)


def test_lesion_moves_with_the_head(patient, heads):
    for scan, head in zip(patient.scans, heads, strict=True):
        (expected,) = scan.subject.warp.from_template([TUMOUR_CENTRE])
        found = head.anatomy.grid.at(ndimage.center_of_mass(head.anatomy.fractions[5]))
        np.testing.assert_allclose(found, expected, atol=0.5)


def test_tissues_have_the_conductivity_of_the_participant(patient, heads):
    for head in heads:
        white = head.anatomy.fractions[1] > 0.9999
        expected = 0.342 * patient.tissue_factors["WM"]
        assert np.median(head.conductivity[white]) == pytest.approx(expected, rel=2e-3)


def test_anatomies_differ_and_follow_their_deformation(patient, heads):
    """The brain in the scan is the template's brain, seen through the warp."""
    plain = make_anatomy(4.0)
    head, warp = heads[1], patient.scans[1].subject.warp
    grid = head.anatomy.grid
    indices = (warp.to_template(grid.points()) - plain.grid.origin) / plain.grid.resolution
    seen = ndimage.map_coordinates(plain.brain.astype(float), indices.T, order=1) > 0.5
    found = head.anatomy.brain.ravel()
    assert 2 * (seen & found).sum() / (seen.sum() + found.sum()) > 0.97
    other = make_participant(PHANTOM, STUDY, 0)
    different = make_head(other.scans[0].parameters, other.scans[0].subject)
    assert different.anatomy.grid.matches(grid)
    assert (different.anatomy.labels != heads[0].anatomy.labels).mean() > 0.02
    assert jacobian(warp.displacement, warp.grid).min() > 0


def test_sessions_are_rigid_movements(patient):
    first, second = patient.scans
    assert not first.translation.any()
    assert not first.rotation.any()
    assert 0 < np.abs(second.translation).max() <= STUDY.movement
    assert 0 < np.abs(second.rotation).max() <= STUDY.movement
    np.testing.assert_array_equal(first.subject.warp.displacement, second.subject.warp.displacement)
    np.testing.assert_array_equal(first.subject.warp.movement, np.eye(4))


def test_without_deformation_and_spread_every_session_is_the_same_head():
    study = replace(STUDY, deformation=0.0, movement=0.0, subject_sd=0.0, group_effect=0.0)
    heads = [
        make_head(scan.parameters, scan.subject)
        for scan in make_participant(replace(PHANTOM, lesion=False), study, 0).scans
    ]
    np.testing.assert_array_equal(heads[0].conductivity, heads[1].conductivity)
    plain = make_head(replace(PHANTOM, lesion=False)).anatomy
    assert heads[0].anatomy.brain.sum() == pytest.approx(plain.brain.sum(), rel=0.01)


def test_participant_is_reproducible(patient, heads):
    again = make_participant(PHANTOM, STUDY, 1)
    scan = again.scans[1]
    head = make_head(scan.parameters, scan.subject)
    np.testing.assert_array_equal(head.phi0, heads[1].phi0)
    np.testing.assert_array_equal(
        make_phantom(scan.parameters, head).phase[0],
        make_phantom(scan.parameters, heads[1]).phase[0],
    )


@pytest.mark.slow
def test_small_lesions_keep_their_positions_between_sessions():
    study = replace(STUDY, movement=0.0)
    small = replace(PHANTOM, small_lesions=True)
    for number in (0, 1):
        sizes = [
            make_head(scan.parameters, scan.subject).anatomy.small_lesion_diameter
            for scan in make_participant(small, study, number).scans
        ]
        np.testing.assert_array_equal(*sizes)
        assert set(np.unique(sizes[0])) == {0, 4, 6, 8, 12, 16}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tissue_variation": 0.1}, "tissue variation is not available in a study"),
        ({"lesion_conductivity": 9.0}, "lesion conductivity must be from 0.01 to 10 S/m"),
    ],
)
def test_scan_parameters_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        scan_parameters(replace(PHANTOM, **changes), STUDY, 3, 1)
