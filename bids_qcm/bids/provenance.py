"""Build the sidecars of the derivatives."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bids_qcm import __version__
from bids_qcm.bids.anatomy.alignments import Alignment
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.finder import B1Origin, MaskOrigin
from bids_qcm.bids.derivatives import bids_uri
from bids_qcm.bids.planning import Plan
from bids_qcm.recon import METHODS
from bids_qcm.recon.inversion import INVERSION_REPLICATES, SMOOTHNESS
from bids_qcm.recon.methods import MAGNITUDE_DELTA
from bids_qcm.recon.replicates import REPLICATES
from bids_qcm.settings import Settings

EXACT = "exact"
"""Noise propagation through a method that is linear in the phase."""

EXACT_BUT_MAGNITUDE = "exact for the phase noise, first order for the magnitude noise"
"""Noise propagation through a linear method whose weights depend on the noisy magnitude."""

_MADE_MASKS = {
    "T1w": "Filled hull of the tissue classes of a T1w image",
    "template": "Brain of the MNI152 template registered to the magnitude, restricted to voxels "
    "with signal",
    "signal": "Reliable signal: largest connected part of the magnitude above the noise",
}

_LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-image",
    "SimpleITK",
    "numba",
    "nibabel",
    "nilearn",
    "nipype",
    "nitransforms",
    "pybids",
)


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of this app and of the libraries that affect the results."""
    return {"bids_qcm": __version__, **{library: version(library) for library in _LIBRARIES}}


def phi0_metadata(plan: Plan, settings: Settings, datasets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the sidecar of phi0; results of the computation are added later.

    Parameters
    ----------
    plan : Plan
    settings : Settings
    datasets : mapping of str to Path
        Folders of the source datasets by their name in BIDS URIs.

    Returns
    -------
    dict
        Fields of a JSON sidecar.
    """
    sources = [path for echo in plan.echoes for path in echo.files]
    metadata = {
        "Description": "Phase at echo time zero, unwrapped, sign applied",
        "Units": "rad",
        "Sources": [bids_uri(path, datasets) for path in sources],
        "Segmentation": _uris_of_segmentation(plan, datasets),
        "PhaseType": settings.phase_type,
        "PhaseUnits": [echo.units.name if echo.units else "complex" for echo in plan.echoes],
        "ImagingFrequency": plan.frequency / 1e6,
        "ImagingFrequencySource": plan.frequency_source,
        "Warnings": list(plan.warnings),
        "SoftwareVersions": software_versions(),
    }
    if all(echo.time is not None for echo in plan.echoes):
        metadata["EchoTime"] = [echo.time for echo in plan.echoes]
    return metadata


def magnitude_metadata(plan: Plan, datasets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the sidecar of the magnitude that belongs to phi0."""
    return {
        "Description": "Magnitude, root sum of squares over the echoes",
        "SkullStripped": False,
        "Sources": [bids_uri(path, datasets) for echo in plan.echoes for path in echo.files],
    }


def condmap_metadata(
    plan: Plan, settings: Settings, datasets: Mapping[str, Path], method: str
) -> dict[str, Any]:
    """Return the sidecar of a conductivity map; results of the computation are added later.

    Parameters
    ----------
    plan, settings, datasets
        As in :func:`phi0_metadata`.
    method : str
        Name of the method.

    Returns
    -------
    dict
        Fields of a JSON sidecar.
    """
    metadata = phi0_metadata(plan, settings, datasets)
    metadata |= {
        "Description": "Tissue conductivity at the Larmor frequency; NaN where it could not be "
        "computed, 0 outside the mask",
        "Units": "S/m",
        "Method": method,
        "B1Map": "none",
        "B1MapRequested": settings.b1,
    }
    if METHODS[method].uses_magnitude:
        metadata["MagnitudeDelta"] = MAGNITUDE_DELTA
    if METHODS[method].form == "inversion":
        metadata["Smoothness"] = SMOOTHNESS
    if METHODS[method].uses_labels:
        metadata["Sources"] += _uris_of_segmentation(plan, datasets)
        metadata |= _confidence(plan) | plan.segmentation_alignment.describe()
    return metadata


def condstd_metadata(
    plan: Plan, settings: Settings, datasets: Mapping[str, Path], method: str
) -> dict[str, Any]:
    """Return the sidecar of a noise standard deviation map; see :func:`condmap_metadata`."""
    of_laplacian = EXACT_BUT_MAGNITUDE if METHODS[method].uses_magnitude else EXACT
    propagation = {
        "laplacian": of_laplacian,
        "integral": f"{REPLICATES} noise replicates",
        "inversion": f"{INVERSION_REPLICATES} noise replicates, to first order",
    }
    line = " in each echo, propagated to echo time zero by the least-squares line"
    line *= len(plan.echoes) > 1
    return condmap_metadata(plan, settings, datasets, method) | {
        "Description": "Standard deviation of the conductivity caused by the noise of the phase; "
        "NaN and 0 as in the map",
        "PhaseNoiseEstimate": f"magnitude noise / magnitude{line}; noise level estimated from the "
        "mixed second differences of phi0",
        "Propagation": propagation[METHODS[method].form],
    }


def mask_metadata(plan: Plan, datasets: Mapping[str, Path], origin: MaskOrigin) -> dict[str, Any]:
    """Return the sidecar of a mask.

    Parameters
    ----------
    plan : Plan
    datasets : mapping of str to Path
        Folders of the source datasets by their name in BIDS URIs.
    origin : {"derivative", "T1w", "template", "signal"}
        Origin of the mask.

    Returns
    -------
    dict
        Fields of a JSON sidecar. A registration adds its results later.
    """
    metadata: dict[str, Any] = {"Type": "ROI" if origin == "signal" else "Brain"}
    if origin in ("derivative", "T1w"):
        paths = _paths(plan.mask, plan.mask_alignment)
    elif origin == "template":
        paths = [plan.echoes[0].files[0]]
    else:
        paths = [path for echo in plan.echoes for path in echo.files]
    if origin != "derivative":
        metadata["Description"] = _MADE_MASKS[origin]
    metadata["Sources"] = [bids_uri(path, datasets) for path in paths]
    described = plan.mask_alignment.describe() if origin in ("derivative", "T1w") else {}
    return {**metadata, **described}


def b1_metadata(plan: Plan, datasets: Mapping[str, Path], origin: B1Origin) -> dict[str, Any]:
    """Return the sidecar of a ``|B1+|`` map; results of the computation are added later.

    Parameters
    ----------
    plan : Plan
    datasets : mapping of str to Path
        Folders of the source datasets by their name in BIDS URIs.
    origin : {"measured", "model"}
        Origin of ``|B1+|``.

    Returns
    -------
    dict
        Fields of a JSON sidecar.
    """
    if origin == "measured":
        what = "Measured map, smoothed and extended over the mask"
        paths = _paths(plan.b1, plan.b1_alignment)
    else:
        what = "Model of a homogeneous body that fills the outline of the signal"
        paths = [path for echo in plan.echoes for path in echo.files]
    metadata = {
        "Description": "Magnitude of B1+ divided by its median in the mask, 0 outside the mask. "
        f"{what}",
        "Units": "arbitrary",
        "Sources": [bids_uri(path, datasets) for path in paths],
    }
    if origin == "measured" and plan.b1_alignment.steps:
        described = plan.b1_alignment.describe()
        metadata["Transforms"] = described["Transforms"]
    return metadata


def segmentation_metadata(plan: Plan, datasets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the sidecar of the segmentation that the methods use."""
    confidence = _confidence(plan)
    low = ", with low confidence" if confidence.get("SegmentationConfidence") == "low" else ""
    return {
        "Description": f"Tissue labels in the grid of the phase{low}",
        "Sources": _uris_of_segmentation(plan, datasets),
        **confidence,
        **plan.segmentation_alignment.describe(),
    }


def _confidence(plan: Plan) -> dict[str, str]:
    """Return fields that mark a segmentation computed by the app; empty for any other."""
    if plan.segmentation is None or plan.segmentation.kind != "t1w":
        return {}
    return {"SegmentationConfidence": "low", "SegmentationMethod": "tissue classes of a T1w image"}


def _uris_of_segmentation(plan: Plan, datasets: Mapping[str, Path]) -> list[str]:
    paths = _paths(plan.segmentation, plan.segmentation_alignment)
    return [bids_uri(path, datasets) for path in paths]


def _paths(auxiliary: AuxiliaryImage | None, alignment: Alignment) -> list[Path]:
    """Return the source files of a resampled image: its own files and the transforms."""
    if auxiliary is None:
        return []
    return [*auxiliary.paths, *(step.path for step in alignment.steps)]
