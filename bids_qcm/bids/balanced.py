"""Plan the processing of balanced SSFP acquisitions: phase cycles, bands and readout polarities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.sequences import INCREMENT_FIELD, are_phase_cycles, is_balanced
from bids_qcm.bids.sidecars import is_number
from bids_qcm.bids.slicing import ALL_AXES


class BalancedPlan(NamedTuple):
    """How the images of a balanced SSFP acquisition are processed.

    Attributes
    ----------
    phase_cycled : bool
        Whether the repetitions differ in the phase increment of the radiofrequency pulses.
    may_have_bands : bool
        Whether to search for bands: in a single echo without phase cycles, if the phase is
        differentiated along all axes.
    warnings : tuple of str
    """

    phase_cycled: bool = False
    may_have_bands: bool = False
    warnings: tuple[str, ...] = ()


def plan_balanced(
    acquisition: Acquisition,
    sidecar: Mapping[str, Any],
    repetitions: Mapping[Path, Mapping[str, Any]],
    n_echoes: int,
    axes: Sequence[int],
) -> BalancedPlan:
    """Plan the processing of an acquisition, if it is a balanced SSFP acquisition.

    Parameters
    ----------
    acquisition : Acquisition
    sidecar : mapping
        Metadata of the first echo.
    repetitions : mapping of Path to mapping
        Metadata of each echo of each repetition, keyed by the phase image.
    n_echoes : int
        Number of echoes.
    axes : sequence of int
        Axes along which the phase is differentiated.

    Returns
    -------
    BalancedPlan
        Without phase cycles, bands and warnings for any other sequence.

    Raises
    ------
    InputError
        If only some repetitions have a phase increment, or if phase cycles with different readout
        polarities would be combined.
    """
    if not is_balanced(sidecar):
        return BalancedPlan()
    phase_cycled = bool(acquisition.repetitions) and _are_phase_cycles(acquisition, repetitions)
    may_have_bands = not phase_cycled and n_echoes == 1 and len(axes) == len(ALL_AXES)
    warnings = []
    if not phase_cycled and not may_have_bands:
        reason = "the image has several echoes" if n_echoes > 1 else "the map is in-plane"
        warnings.append(
            f"{acquisition.name}: the app does not search for the bands of this balanced SSFP "
            f"acquisition, because {reason}. The map is wrong near a band. Check that the "
            "magnitude has no dark bands, or combine phase cycles"
        )
    if phase_cycled:
        warnings.append(
            f"{acquisition.name}: the phase of balanced SSFP phase cycles with one readout "
            "polarity contains eddy-current effects. Acquire the cycles again with the opposite "
            "polarity as a separate acquisition, and compare both maps"
        )
    elif not _differ(acquisition, "dir", "acq"):
        warnings.append(
            f"{acquisition.name}: the phase of a balanced SSFP acquisition with one readout "
            "polarity contains eddy-current effects. Acquire it again with the opposite polarity, "
            "and average both acquisitions with --average-runs dir (or acq)"
        )
    return BalancedPlan(phase_cycled, may_have_bands, tuple(warnings))


def _are_phase_cycles(
    acquisition: Acquisition, repetitions: Mapping[Path, Mapping[str, Any]]
) -> bool:
    """Whether the repetitions are phase cycles; raise InputError if this is not clear."""
    without = [path for path, own in repetitions.items() if not is_number(own.get(INCREMENT_FIELD))]
    if without and len(without) < len(repetitions):
        raise InputError(
            without[0],
            f"has no {INCREMENT_FIELD} in its sidecar, but other repetitions have this field",
            f"write the {INCREMENT_FIELD} of each repetition in degrees to its sidecar",
        )
    if not are_phase_cycles(list(repetitions.values())):
        return False
    # When phase cycles are combined, the linear phase between readout polarities is not removed.
    if _differ(acquisition, "dir"):
        raise InputError(
            acquisition.first_file,
            "belongs to phase cycles with different labels of the entity dir, which cannot be "
            "combined",
            "omit dir from --average-runs, and name the phase cycles run-1, run-2, and so on",
        )
    return True


def _differ(acquisition: Acquisition, *entities: str) -> bool:
    """Whether the averaged acquisitions differ in an entity, such as the readout polarity."""
    return len({tuple(map(one.entities.get, entities)) for one in acquisition.repetitions}) > 1
