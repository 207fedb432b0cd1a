"""Traits, input specifications and base classes shared by the interfaces."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, traits

from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import ImagePair
from bids_qcm.phase import PhaseUnits


def optional_file() -> traits.Either:
    """Return a trait for a file that may be None."""
    return traits.Either(None, File(exists=True), default=None, usedefault=True)


OVERRIDE = "or, if you are sure that the images are correct, use --image-checks warn"


def axes_of_kernels() -> traits.List:
    """Return a trait for the axes along which the phase is differentiated."""
    return traits.List(
        traits.Int, [0, 1, 2], usedefault=True, desc="axes of the kernels; two for in-plane kernels"
    )


def image_checks() -> traits.Enum:
    """Return a trait for the value of ``--image-checks``."""
    return traits.Enum("stop", "warn", usedefault=True)


def failure(description: str) -> traits.List:
    """Return a trait for the arguments of an ``InputError``, which is empty without an error."""
    return traits.List(traits.Str, [], usedefault=True, desc=description)


def raise_failure(arguments: Sequence[str]) -> None:
    """Raise the ``InputError`` that another interface reported, if there is an error."""
    if arguments:
        raise InputError(*arguments)


class ImagesInputSpec(BaseInterfaceInputSpec):
    """Input specification of interfaces that read the images of an acquisition."""

    first_files = traits.List(
        File(exists=True), mandatory=True, desc="magnitude or real part of each echo"
    )
    second_files = traits.List(
        File(exists=True), mandatory=True, desc="phase or imaginary part of each echo"
    )
    phase_units = traits.List(
        traits.Either(None, traits.Instance(PhaseUnits)),
        mandatory=True,
        desc="unit of the phase of each echo; None for real and imaginary parts",
    )
    echo_times = traits.List(
        traits.Either(None, traits.Float()), mandatory=True, desc="echo times in s"
    )
    volumes = traits.List(
        traits.Either(None, traits.Tuple(traits.Int, traits.Int)),
        [],
        usedefault=True,
        desc="volumes of both parts of each echo in 4-D images; empty for 3-D images",
    )
    echo_numbers = traits.List(
        traits.Int, [], usedefault=True, desc="number of each echo in the readout train"
    )


def image_pairs(inputs: ImagesInputSpec) -> list[ImagePair]:
    """Return both parts of each echo, and how to read them."""
    return [
        ImagePair(Path(first), Path(second), units, volumes)
        for first, second, units, volumes in zip(
            inputs.first_files,
            inputs.second_files,
            inputs.phase_units,
            inputs.volumes or [None] * len(inputs.first_files),
            strict=True,
        )
    ]


def image_of(pair: ImagePair, part: int) -> tuple[Path, str]:
    """Return the file of a part, and its volume in words, which is empty for 3-D images."""
    path, volume = pair.in_files[part]
    return path, "" if volume is None else f"(volume {volume}, counted from 0) "


def no_magnitude(path: str | Path, error: ValueError) -> InputError:
    """Return the error for an image in which no signal can be found."""
    return InputError(path, str(error), "check that this image is a magnitude")


class PosedInputSpec(BaseInterfaceInputSpec):
    """Input specification of interfaces that resample images with the pose of a registration."""

    in_files = traits.List(
        File(exists=True), desc="all input files, so that a changed file is detected"
    )
    pose = traits.Either(
        None, traits.List(traits.List(traits.Float)), default=None, usedefault=True
    )
    pose_failure = failure("error if the pose cannot be used")


class DerivativeInputSpec(PosedInputSpec):
    """Input specification of interfaces that resample a derivative to the grid of the phase."""

    alignment = traits.Instance(Alignment, mandatory=True)


class OriginsInputSpec(DerivativeInputSpec):
    """Input specification of interfaces that create an image on the phase grid from an origin.

    An origin is either a derivative, which is resampled to the grid, or a method to compute the
    image.
    """

    origins = traits.List(traits.Str, mandatory=True, desc="origins to try, in this order")
    requested = traits.Str("auto", usedefault=True, desc="value of the command line option")
    head_expected = traits.Bool(
        False, usedefault=True, desc="whether the image of the phase should show a head"
    )
    magnitude_file = File(exists=True, mandatory=True, desc="magnitude of the first echo")
    signal_file = File(exists=True, mandatory=True, desc="mask of the voxels with signal")
    source = traits.Str(mandatory=True, desc="image to name in errors")
    auxiliary = traits.Either(None, traits.Instance(AuxiliaryImage), default=None, usedefault=True)
    pose_provenance = traits.Dict({}, usedefault=True)
    metadata = traits.Dict(mandatory=True, desc="sidecar of the image, by origin")


class CheckedInterface(SimpleInterface):
    """SimpleInterface that runs again if its cached outputs have been deleted.

    nipype's ``SimpleInterface`` would return undefined outputs without an error.
    """

    def _list_outputs(self) -> dict[str, Any]:
        if not self._results:
            raise FileNotFoundError("the cached outputs were deleted")
        results: dict[str, Any] = self._results
        return results


def rounded(value: float | None) -> float | None:
    """Return a value with 4 decimals for a sidecar; None if it is not finite.

    JSON has no numbers that are not finite.
    """
    return None if value is None or not math.isfinite(value) else round(value, 4)
