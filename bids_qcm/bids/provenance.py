"""Build the sidecars of the derivatives."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bids_qcm import __version__
from bids_qcm.bids.anatomy.alignments import resampled_files, transform_names
from bids_qcm.bids.anatomy.finder import B1Origin, MaskOrigin
from bids_qcm.bids.anatomy.spaces import OutputSpace
from bids_qcm.bids.derivatives import bids_uri
from bids_qcm.bids.outputs import OUTPUTS
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.sidecar_schema import (
    B1Sidecar,
    CondstdSidecar,
    InSpace,
    LesionsSidecar,
    MagnitudeSidecar,
    MapSidecar,
    MaskSidecar,
    Phi0Sidecar,
    SegmentationSidecar,
    TissueLabels,
    merge,
)
from bids_qcm.bids.tables import CONDLESIONS, CONDREGIONS, CONDSTATS
from bids_qcm.recon import METHODS
from bids_qcm.recon.forms import form_of
from bids_qcm.recon.methods import MAGNITUDE_DELTA
from bids_qcm.settings import Settings

_MADE_MASKS = {
    "T1w": "Filled hull of the tissue classes of a T1w image",
    "template": "Brain of the MNI152 template registered to the magnitude, restricted to voxels "
    "with signal",
    "signal": "Reliable signal: largest connected part of the magnitude above the noise",
}

_SHIPPED_TEMPLATE = "https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"

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


def planned_sidecar(
    output: str, plan: Plan, settings: Settings, datasets: Mapping[str, Path], method: str | None
) -> dict[str, Any] | None:
    """Return the part of an output's sidecar that is known before the computation.

    Parameters
    ----------
    output : str
        Name in :data:`bids_qcm.bids.outputs.OUTPUTS`.
    plan, settings, datasets
        As in :func:`phi0_metadata`.
    method : str or None
        Name of the method, for an output of a method.

    Returns
    -------
    dict or None
        None if the output has no sidecar, or if a node creates the whole sidecar.
    """
    match output:
        case "condmap" if method is not None:
            return condmap_metadata(plan, settings, datasets, method)
        case "condstd" if method is not None:
            return condstd_metadata(plan, settings, datasets, method)
        case "condstats":
            return dict(CONDSTATS)
        case "condregions":
            return condregions_metadata(plan, datasets)
        case "phi0":
            return phi0_metadata(plan, settings, datasets)
        case "magnitude":
            return magnitude_metadata(plan, datasets)
        case "dseg":
            return segmentation_metadata(plan, datasets)
        case "lesions":
            return lesions_metadata(plan, datasets)
        case "condlesions":
            return dict(CONDLESIONS)
    return None


def space_metadata(
    output: str,
    plan: Plan,
    space: OutputSpace,
    settings: Settings,
    datasets: Mapping[str, Path],
) -> dict[str, Any]:
    """Return the sidecar fields about the space of an output that was resampled from the phase.

    Parameters
    ----------
    output : str
        Name in :data:`bids_qcm.bids.outputs.OUTPUTS`.
    plan : Plan
    space : OutputSpace
    settings, datasets
        As in :func:`phi0_metadata`.
    """

    def written(name: str) -> str:
        return OUTPUTS[name].path(settings.output_dir, plan.acquisition).name

    to_t1w = transform_names(space.steps)
    if space.registers_template:
        to_t1w.append(written("xfm_to_template"))
    to_phase = transform_names(space.t1w.to_phase) or [written("xfm_to_t1w")]
    reference = space.reference
    return InSpace(
        spatial_reference=_SHIPPED_TEMPLATE if reference is None else bids_uri(reference, datasets),
        space_resampling="nearest neighbour"
        if output == "dseg"
        else "mean of the valid voxels of the mask, by linear interpolation",
        space_transforms=[*to_t1w, *to_phase],
        template_registration="affine transform and diffeomorphic demons"
        if space.registers_template
        else None,
    ).to_dict()


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
    echo_times = [echo.time for echo in plan.echoes if echo.time is not None]
    return Phi0Sidecar(
        description="Phase at echo time zero, unwrapped, sign applied",
        units="rad",
        sources=[bids_uri(path, datasets) for path in plan.files],
        segmentation=_uris_of_segmentation(plan, datasets),
        lesions=_uris_of_lesions(plan, datasets) or None,
        phase_type=settings.phase_type,
        phase_units=[echo.unit_name for echo in plan.echoes],
        imaging_frequency=plan.frequency / 1e6,
        imaging_frequency_source=plan.frequency_source,
        warnings=list(plan.warnings),
        software_versions=software_versions(),
        echo_time=echo_times if len(echo_times) == len(plan.echoes) else None,
        echoes_requested=_requested_echoes(plan, settings),
        echoes_used=[echo.number for echo in plan.echoes] if plan.has_echo_numbers else None,
    ).to_dict()


def _requested_echoes(plan: Plan, settings: Settings) -> str | None:
    """Return the value of ``--echoes``; None for an acquisition without echo numbers."""
    if not plan.has_echo_numbers:
        return None
    echoes = settings.echoes
    return echoes if isinstance(echoes, str) else " ".join(map(str, echoes))


def condregions_metadata(plan: Plan, datasets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the data dictionary of the region table.

    In the entry of the column ``atlas``, ``Levels`` names the source files of each atlas.
    """
    sources = {one.name: one.files for one in plan.regions}
    if plan.tissues_are_regions:
        sources["tissues"] = resampled_files(plan.segmentation, plan.segmentation_alignment)
    levels = {
        name: ", ".join(_uri_or_name(path, datasets) for path in paths)
        for name, paths in sources.items()
    }
    atlas = {**CONDREGIONS["atlas"], "Levels": levels}
    return {**CONDREGIONS, "atlas": atlas}


def _uri_or_name(path: Path, datasets: Mapping[str, Path]) -> str:
    """Return the BIDS URI of a file, or the name of a file that is in none of the datasets."""
    if any(path.is_relative_to(root) for root in datasets.values()):
        return bids_uri(path, datasets)
    return path.name


def magnitude_metadata(plan: Plan, datasets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the sidecar of the magnitude that belongs to phi0."""
    return MagnitudeSidecar(
        description="Magnitude, root sum of squares over the echoes",
        skull_stripped=False,
        sources=[bids_uri(path, datasets) for path in plan.files],
    ).to_dict()


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
    uses_labels = METHODS[method].uses_labels
    phi0 = phi0_metadata(plan, settings, datasets)
    of_map = MapSidecar(
        description="Tissue conductivity at the Larmor frequency; NaN where it could not be "
        "computed, 0 outside the mask",
        units="S/m",
        sources=[*_uris_of_segmentation(plan, datasets), *_uris_of_lesions(plan, datasets)]
        if uses_labels
        else [],
        method=method,
        b1_map="none",
        b1_map_requested=settings.b1,
    )
    parameters: dict[str, Any] = dict(form_of(METHODS[method]).parameters)
    of_method = MapSidecar(
        magnitude_delta=MAGNITUDE_DELTA if METHODS[method].uses_magnitude else None,
        **parameters,
    )
    of_labels = _confidence(plan) | plan.segmentation_alignment.describe() if uses_labels else {}
    return merge(phi0, of_map.to_dict()) | of_method.to_dict() | of_labels


def condstd_metadata(
    plan: Plan, settings: Settings, datasets: Mapping[str, Path], method: str
) -> dict[str, Any]:
    """Return the sidecar of a noise standard deviation map; see :func:`condmap_metadata`."""
    line = " in each echo, propagated to echo time zero by the least-squares line"
    line *= len(plan.echoes) > 1
    of_std = CondstdSidecar(
        description="Standard deviation of the conductivity caused by the noise of the phase; "
        "NaN and 0 as in the map",
        phase_noise_estimate=f"magnitude noise / magnitude{line}; noise level estimated from the "
        "mixed second differences of phi0",
        propagation=form_of(METHODS[method]).propagation(METHODS[method]),
    )
    return condmap_metadata(plan, settings, datasets, method) | of_std.to_dict()


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
    if origin in ("derivative", "T1w"):
        paths = resampled_files(plan.mask, plan.mask_alignment)
    elif origin == "template":
        paths = [plan.echoes[0].files[0]]
    else:
        paths = list(plan.files)
    sidecar = MaskSidecar(
        type="ROI" if origin == "signal" else "Brain",
        description=_MADE_MASKS.get(origin),
        sources=[bids_uri(path, datasets) for path in paths],
    )
    described = plan.mask_alignment.describe() if origin in ("derivative", "T1w") else {}
    return sidecar.to_dict() | described


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
        paths = resampled_files(plan.b1, plan.b1_alignment)
    else:
        what = "Model of a homogeneous body that fills the outline of the signal"
        paths = list(plan.files)
    return B1Sidecar(
        description="Magnitude of B1+ divided by its median in the mask, 0 outside the mask. "
        f"{what}",
        units="arbitrary",
        sources=[bids_uri(path, datasets) for path in paths],
        transforms=plan.b1_alignment.transform_names() if origin == "measured" else None,
    ).to_dict()


def segmentation_metadata(plan: Plan, datasets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the sidecar of the segmentation that the methods use."""
    confidence = _confidence(plan)
    low = ", with low confidence" if confidence else ""
    sidecar = SegmentationSidecar(
        description=f"Tissue labels on the grid of the phase{low}",
        sources=_uris_of_segmentation(plan, datasets),
    )
    return sidecar.to_dict() | confidence | plan.segmentation_alignment.describe()


def lesions_metadata(plan: Plan, datasets: Mapping[str, Path]) -> dict[str, Any]:
    """Return the sidecar of the lesion numbers; results of the computation are added later."""
    alignment = plan.lesion_alignment
    sidecar = LesionsSidecar(
        description="Lesion numbers on the grid of the phase, restricted to the mask",
        sources=_uris_of_lesions(plan, datasets),
    )
    described = alignment.describe()
    if not alignment.same_grid:
        described |= LesionsSidecar(resampling="nearest neighbour").to_dict()
    return sidecar.to_dict() | described


def _confidence(plan: Plan) -> dict[str, Any]:
    """Return fields that mark a segmentation by the app; empty for any other segmentation."""
    if plan.segmentation is None or plan.segmentation.kind != "t1w":
        return {}
    return TissueLabels(
        segmentation_confidence="low", segmentation_method="tissue classes of a T1w image"
    ).to_dict()


def _uris_of_lesions(plan: Plan, datasets: Mapping[str, Path]) -> list[str]:
    return [
        bids_uri(path, datasets) for path in resampled_files(plan.lesions, plan.lesion_alignment)
    ]


def _uris_of_segmentation(plan: Plan, datasets: Mapping[str, Path]) -> list[str]:
    paths = resampled_files(plan.segmentation, plan.segmentation_alignment)
    return [bids_uri(path, datasets) for path in paths]
