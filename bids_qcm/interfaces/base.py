"""What this package's interfaces share."""

from collections.abc import Sequence
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, traits

from bids_qcm.bids.errors import InputError
from bids_qcm.phase import PhaseUnits


def optional_file() -> traits.Either:
    """Give a trait for a file that may be None."""
    return traits.Either(None, File(exists=True), default=None, usedefault=True)


FAILED_CHECKS = "FailedImageChecks"
"""Field of a sidecar with the errors that ``--image-checks warn`` made warnings."""

OVERRIDE = "or, if you know that they are right, give --image-checks warn"

_ADDED = ("Sources", "Warnings", FAILED_CHECKS)


def image_checks() -> traits.Enum:
    """Return a trait for the value of ``--image-checks``."""
    return traits.Enum("stop", "warn", usedefault=True)


def failure(description: str) -> traits.List:
    """Return a trait for the arguments of an `InputError`, which are empty without a failure."""
    return traits.List(traits.Str, [], usedefault=True, desc=description)


def raise_failure(arguments: Sequence[str]) -> None:
    """Raise the `InputError` of another interface, if there is a failure."""
    if arguments:
        raise InputError(*arguments)


class ImagesInputSpec(BaseInterfaceInputSpec):
    """Inputs of interfaces that read the images of an acquisition."""

    first_files = traits.List(
        File(exists=True), mandatory=True, desc="magnitude or real part of each echo"
    )
    second_files = traits.List(
        File(exists=True), mandatory=True, desc="phase or imaginary part of each echo"
    )
    phase_units = traits.List(
        traits.Either(None, traits.Instance(PhaseUnits)),
        mandatory=True,
        desc="unit of each phase; None for real and imaginary parts",
    )
    echo_times = traits.List(traits.Either(None, traits.Float()), mandatory=True, desc="in s")


class CheckedInterface(SimpleInterface):
    """A SimpleInterface that runs again when its cached outputs were deleted.

    nipype's own hands on undefined outputs without a word.
    """

    def _list_outputs(self) -> dict[str, Any]:
        if not self._results:
            raise FileNotFoundError("the cached outputs are gone")
        return self._results


def joined(metadata: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
    """Return both together; entries of the second win, but lists of `_ADDED` are joined."""
    both = {**metadata, **provenance}
    for name in _ADDED:
        if name in both:
            both[name] = list(dict.fromkeys([*metadata.get(name, ()), *provenance.get(name, ())]))
    return both
