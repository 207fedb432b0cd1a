"""Fields of the sidecars and of ``dataset_description.json`` of the derivative dataset.

A dataclass describes each JSON object. The key of a field is the attribute's name in camel case, so
``phase_sign`` is ``PhaseSign``. The type of an attribute is annotated with the meaning of the field
in Markdown, from which ``docs/tables.py`` generates the tables in ``docs/outputs.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, NamedTuple, Self, get_args, get_type_hints

from bids_qcm.checks.verdict import Colour

NULL: Any = object()
"""Value that is written as null; a field with the value None is not written."""

_ACRONYMS = {"bids": "BIDS", "url": "URL"}

_CONCATENATED = ("Sources", "Warnings", "FailedImageChecks")


class Field(NamedTuple):
    """A field of a JSON object.

    Attributes
    ----------
    attribute, key : str
        Name of the dataclass attribute, and key in the JSON object.
    description : str
        Meaning of the field, in Markdown. Links are relative to ``docs``.
    nested : type of Fields or None
        Schema of the value or of the elements of a list; None if these are not JSON objects with a
        schema.
    """

    attribute: str
    key: str
    description: str
    nested: "type[Fields] | None"


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Base class of the dataclasses that describe a JSON object.

    A field with the value None is not written to the JSON object. Each processing step writes an
    object with its own fields, and :func:`merge` combines these objects.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, with the keys in the order of the attributes."""
        own = list_fields(type(self))  # type: ignore[arg-type]  # mypy issue 11470: classes are hashable
        values = ((one.key, getattr(self, one.attribute)) for one in own)
        return {key: _to_json(value) for key, value in values if value is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the fields of a JSON object, which another version may have written.

        Parameters
        ----------
        content : mapping
            JSON object. A missing field becomes None, and unknown keys are ignored.
        """
        own = list_fields(cls)  # type: ignore[arg-type]  # as in to_dict
        return cls(**{one.attribute: _from_json(content.get(one.key), one.nested) for one in own})


@cache
def list_fields(schema: type[Fields]) -> tuple[Field, ...]:
    """Return the fields of a JSON object, in the order of the attributes."""
    types = get_type_hints(schema, include_extras=True)
    return tuple(_field(one.name, types[one.name]) for one in fields(schema))


def json_key(attribute: str) -> str:
    """Return the JSON key of an attribute.

    Examples
    --------
    >>> json_key("b1_map_requested")
    'B1MapRequested'
    """
    return "".join(_ACRONYMS.get(word, word.capitalize()) for word in attribute.split("_"))


def merge(metadata: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merged fields of two JSON objects.

    The lists of sources, warnings and failed image checks are concatenated without duplicates. For
    all other fields, the values of `provenance` have priority.
    """
    both = {**metadata, **provenance}
    for key in _CONCATENATED:
        if key in both:
            both[key] = list(dict.fromkeys([*metadata.get(key, ()), *provenance.get(key, ())]))
    return both


def _field(attribute: str, annotated: Any) -> Field:  # noqa: ANN401
    of_value, description = get_args(annotated)
    nested = [one for part in get_args(of_value) for one in (part, *get_args(part))]
    schemas = [one for one in nested if isinstance(one, type) and issubclass(one, Fields)]
    return Field(attribute, json_key(attribute), description, next(iter(schemas), None))


def _to_json(value: Any) -> Any:  # noqa: ANN401
    if value is NULL:
        return None
    if isinstance(value, Fields):
        return value.to_dict()
    return [_to_json(one) for one in value] if isinstance(value, list) else value


def _from_json(value: Any, schema: type[Fields] | None) -> Any:  # noqa: ANN401
    if schema is None or value is None:
        return value
    if isinstance(value, list):
        return [schema.from_dict(one) for one in value]
    return schema.from_dict(value)


@dataclass(frozen=True, kw_only=True)
class Image(Fields):
    """Fields of all images."""

    description: Annotated[str | None, "description of the values"] = None
    units: Annotated[str | None, "unit of the values"] = None
    sources: Annotated[
        list[str] | None,
        "source files as [BIDS "
        "URIs](https://bids-specification.readthedocs.io/en/stable/common-principles.html#bids-uri);"
        " `DatasetLinks` in `dataset_description.json` defines the dataset names",
    ] = None


@dataclass(frozen=True, kw_only=True)
class Warned(Fields):
    """Messages of the checks."""

    warnings: Annotated[list[str] | None, "warnings of the checks"] = None


@dataclass(frozen=True, kw_only=True)
class MaskChoice(Fields):
    """Fields about the mask that was used."""

    mask_type: Annotated[str | None, "`brain` or `signal`"] = None
    mask_origin: Annotated[
        str | None,
        "origin of the mask: `derivative`, `T1w`, `template` or `signal`",
    ] = None
    mask_requested: Annotated[str | None, "value of `--mask`"] = None


@dataclass(frozen=True, kw_only=True)
class Transformed(Fields):
    """Fields about the transforms of an image to the grid of the phase."""

    resampling: Annotated[str | None, "method of resampling to the grid of the phase"] = None
    transforms: Annotated[list[str] | None, "applied transforms"] = None


@dataclass(frozen=True, kw_only=True)
class Registration(Fields):
    """Fields about the alignment of an anatomical image with the magnitude."""

    coregistration: Annotated[str | None, "alignment that was used: `header` or `rigid`"] = None
    coregistration_requested: Annotated[str | None, "value of `--coreg`"] = None
    coregistration_image: Annotated[str | None, "image that was registered to the magnitude"] = None
    registered_shift: Annotated[
        float | None,
        "distance by which the registration moves the head, mm",
    ] = None
    mutual_information_header: Annotated[
        float | None,
        "mutual information of both images before the registration",
    ] = None
    mutual_information_registered: Annotated[
        float | None,
        "mutual information of both images after the registration",
    ] = None


@dataclass(frozen=True, kw_only=True)
class Placement(Registration, Transformed):
    """Fields about the alignment of an image with the phase."""


@dataclass(frozen=True, kw_only=True)
class TissueLabels(Placement):
    """Fields about a segmentation on the grid of the phase."""

    segmentation_confidence: Annotated[
        str | None,
        "`low` for a segmentation that the app made from a T1w image",
    ] = None
    segmentation_method: Annotated[
        str | None, "how the app made the segmentation from a T1w image"
    ] = None
    mask_coverage: Annotated[float | None, "fraction of the mask that has labels"] = None
    tissue_volumes: Annotated[dict[str, float] | None, "volume of each tissue, ml"] = None


@dataclass(frozen=True, kw_only=True)
class B1Choice(Fields):
    """Fields about the ``|B1+|`` that was used."""

    b1_map: Annotated[
        str | None,
        "\\|B1+\\| used for the map: `measured`, `model` or `none` (constant)",
    ] = None
    b1_map_requested: Annotated[str | None, "value of `--b1`"] = None
    b1_map_units: Annotated[str | None, "measured map: declared or recognised unit"] = None
    b1_map_median: Annotated[
        float | None,
        "measured map: median in the mask, in the unit of the file",
    ] = None
    b1_map_smoothing: Annotated[
        float | None,
        "measured map: full width at half maximum of the Gaussian filter, mm",
    ] = None
    b1_map_filled_fraction: Annotated[
        float | None,
        "measured map: fraction of the mask that was not measured",
    ] = None
    b1_map_remote_fraction: Annotated[
        float | None,
        "measured map: fraction of the mask that is farther from measured voxels than the width "
        "of the filter",
    ] = None
    b1_map_coregistration: Annotated[
        str | None,
        "measured map: alignment that was used, `header` or `rigid`",
    ] = None
    b1_map_coregistration_requested: Annotated[
        str | None,
        "measured map: value of `--coreg`",
    ] = None
    b1_map_coregistration_image: Annotated[
        str | None,
        "measured map: image that was registered to the magnitude",
    ] = None
    b1_map_registered_shift: Annotated[
        float | None,
        "measured map: distance by which the registration moves the head, mm",
    ] = None
    b1_map_mutual_information_header: Annotated[
        float | None,
        "measured map: mutual information of both images before the registration",
    ] = None
    b1_map_mutual_information_registered: Annotated[
        float | None,
        "measured map: mutual information of both images after the registration",
    ] = None
    b1_model_conductivity: Annotated[
        float | None,
        "modelled \\|B1+\\|: conductivity of the body, S/m",
    ] = None
    b1_model_permittivity: Annotated[
        float | None,
        "modelled \\|B1+\\|: relative permittivity of the body",
    ] = None
    b1_model_volume: Annotated[float | None, "modelled \\|B1+\\|: volume of the body, l"] = None
    b1_map_range: Annotated[
        list[float] | None,
        "5th and 95th percentile of \\|B1+\\| in the mask, divided by the median",
    ] = None


@dataclass(frozen=True, kw_only=True)
class AlternatingPhase(Fields):
    """Phase difference between odd and even echoes."""

    amplitude: Annotated[float | None, "root mean square, rad"] = None
    constant: Annotated[float | None, "value at the first voxel, rad"] = None
    gradient: Annotated[list[float] | None, "along the image axes, rad per voxel"] = None


@dataclass(frozen=True, kw_only=True)
class Phi0Sidecar(MaskChoice, Image):
    """Sidecar of the phase at echo time zero."""

    segmentation: Annotated[
        list[str] | None,
        "segmentation files used for methods and statistics, as BIDS URIs; empty without a "
        "segmentation",
    ] = None
    lesions: Annotated[
        list[str] | None, "lesion mask files, as BIDS URIs; missing without lesions"
    ] = None
    phase_type: Annotated[
        str | None,
        "`transceive` or `transmit`, see [methods](methods.md#equations)",
    ] = None
    phase_units: Annotated[
        list[str] | None,
        "specified or recognised phase unit of each echo",
    ] = None
    imaging_frequency: Annotated[float | None, "Larmor frequency used for the map, MHz"] = None
    imaging_frequency_source: Annotated[
        str | None,
        "origin of the frequency: `ImagingFrequency` or `MagneticFieldStrength`",
    ] = None
    warnings: Annotated[list[str] | None, "warnings of the checks"] = None
    software_versions: Annotated[
        dict[str, str] | None,
        "versions of bids_qcm and of the numerical libraries",
    ] = None
    echo_time: Annotated[list[float] | None, "echo time of each echo, s"] = None
    averaged_acquisitions: Annotated[
        list[str] | None, "with `--average-runs`: acquisitions that were averaged"
    ] = None
    averaging_remainder: Annotated[
        list[float] | None,
        "with `--average-runs`: deviation of each further acquisition from the first acquisition "
        "after removal of a constant and linear phase (of a constant phase between phase cycles), "
        "maximum over the echoes, rad",
    ] = None
    phase_cycled: Annotated[
        bool | None,
        "with `--average-runs`: true if balanced SSFP acquisitions with different phase increments "
        "of the radiofrequency pulses were combined",
    ] = None
    band_fraction: Annotated[
        float | None,
        "with bands in a balanced SSFP acquisition: fraction of the voxels with signal that are "
        "left out because of the bands",
    ] = None
    combined_coils: Annotated[
        int | None, "with uncombined coils: number of receive coils that were combined"
    ] = None
    echoes_requested: Annotated[str | None, "with several echoes: value of `--echoes`"] = None
    echoes_used: Annotated[
        list[int] | None,
        "with several echoes: numbers of the echoes that phi0 was computed from",
    ] = None
    signal_to_noise_ratio: Annotated[
        float | None,
        "median ratio of magnitude to noise in the first echo, over all voxels with signal; null "
        "without noise",
    ] = None
    incoherent_fraction: Annotated[
        float | None,
        "fraction of voxels with strong signal whose phase is incoherent, maximum over the "
        "echoes; see [checks](checks.md#magnitude-and-phase)",
    ] = None
    failed_image_checks: Annotated[
        list[str] | None,
        "with `--image-checks warn`: [errors](checks.md) that were turned into warnings",
    ] = None
    signal_coverage: Annotated[float | None, "fraction of the mask that has signal"] = None
    alternate_slices_flipped: Annotated[
        list[str] | None,
        "image axes `i`, `j` or `k` along which half a cycle was added to every second slice; "
        "empty without a correction",
    ] = None
    slices_aligned_along: Annotated[
        str | None,
        "[in-plane maps](methods.md#two-dimensional-acquisitions): image axis across the slices, "
        "`i`, `j` or `k`; the phase was not differentiated along this axis, and the mean phase "
        "difference between neighbouring slices was removed",
    ] = None
    slice_offset: Annotated[
        float | None,
        "2-D acquisition that is differentiated along all axes: standard deviation of the phase "
        "offsets of slices, rad; see [checks](checks.md#slices)",
    ] = None
    magnitude_noise: Annotated[
        float | None,
        "noise standard deviation of the magnitude, in the unit of the magnitude",
    ] = None
    median_phase_noise: Annotated[
        float | None,
        "median noise standard deviation of phi0 in the mask, rad",
    ] = None
    echo_misfit: Annotated[
        float | None,
        "with three or more echoes: misfit of the line over echo time, maximum over the echoes, "
        "rad; see [checks](checks.md#echoes)",
    ] = None
    echo_misfit_of_each: Annotated[
        list[float] | None, "with three or more echoes: misfit of each echo, rad"
    ] = None
    alternating_phase: Annotated[
        AlternatingPhase | None,
        "with a bipolar readout: constant and linear phase that was removed from the even echoes",
    ] = None
    phase_sign: Annotated[str | None, "sign that was applied, `+` or `-`"] = None
    phase_sign_origin: Annotated[
        str | None,
        "origin of the sign: `auto`, `Manufacturer` or `given`",
    ] = None
    phase_sign_of_manufacturer: Annotated[
        str | None,
        "with `auto`: usual sign of the scanner manufacturer, or null",
    ] = None
    phase_sign_median_laplacian: Annotated[
        float | None,
        "with `auto`: median Laplacian before the sign was applied, rad/m²",
    ] = None
    phase_sign_agreement: Annotated[
        float | None,
        "with `auto`: fraction of voxels with this sign",
    ] = None
    phase_sign_weak: Annotated[bool | None, "with `auto`: whether the evidence is weak"] = None


@dataclass(frozen=True, kw_only=True)
class MethodOptions(Fields):
    """Fields about the method of a conductivity map."""

    method: Annotated[str | None, "name of the method on the command line"] = None
    magnitude_delta: Annotated[
        float | None,
        "width of the magnitude weight, in standard deviations of the magnitude",
    ] = None
    smoothness: Annotated[
        float | None,
        "weight of the smoothness term of an inversion, per mm",
    ] = None


@dataclass(frozen=True, kw_only=True)
class MapSidecar(B1Choice, TissueLabels, MethodOptions, Phi0Sidecar):
    """Fields that the sidecars of a conductivity map and of its noise map share."""

    separate_lesions: Annotated[
        list[int] | None,
        "methods with tissues: numbers of the lesions that were separate regions; see "
        "[lesions](lesions.md)",
    ] = None
    fit_radius: Annotated[
        list[float] | None,
        "radii of the quadratic fit along x, y and z in mm, if the method uses a quadratic fit",
    ] = None
    integral_radius: Annotated[
        list[float] | None,
        "radii of the surface integral along x, y and z in mm, if the method uses a surface "
        "integral",
    ] = None
    target_std: Annotated[
        float | None,
        "with `auto` radii: target for the median noise standard deviation over the voxels, S/m",
    ] = None
    predicted_std: Annotated[
        float | None,
        "with `auto` radii: predicted median noise standard deviation over the voxels, S/m",
    ] = None
    linear_phase_removed: Annotated[
        list[float] | None,
        "inversion: linear phase that was removed before the inversion, along the image axes, "
        "rad/m",
    ] = None
    linear_phase_standard_error: Annotated[
        list[float] | None,
        "inversion: standard error of this linear phase, rad/m",
    ] = None
    reduced_chi_square: Annotated[
        float | None,
        "inversion: misfit of the phase relative to its noise and the model error, per degree of "
        "freedom; 1 or less is good",
    ] = None
    prior_chi_square: Annotated[
        float | None,
        "inversion: squared deviation of log conductivity from the prior, per parameter that the "
        "phase constrains; 1 if the conductivity varies as the prior assumes",
    ] = None
    linear_phase_effect: Annotated[
        float | None,
        "inversion: median relative standard deviation due to the remaining linear phase",
    ] = None
    invalid_fraction: Annotated[float | None, "fraction of the mask that is NaN"] = None


@dataclass(frozen=True, kw_only=True)
class InSpace(Fields):
    """Fields of an image that was resampled from the phase to another space."""

    spatial_reference: Annotated[
        str | None, "image that defines the space, as a BIDS URI, or address of the template"
    ] = None
    space_resampling: Annotated[str | None, "method of resampling from the phase"] = None
    space_transforms: Annotated[
        list[str] | None,
        "applied transforms, in the order in which they map a point from this space to the phase",
    ] = None
    template_registration: Annotated[
        str | None,
        "method by which the app registered the T1w image to the template, if applicable",
    ] = None


@dataclass(frozen=True, kw_only=True)
class GroupMapSidecar(Image):
    """Sidecar of a map of the group in a template space."""

    method: Annotated[str | None, "name of the method on the command line"] = None
    spatial_reference: Annotated[
        str | None, "image that defines the space, as a BIDS URI, or address of the template"
    ] = None
    number_of_participants: Annotated[int | None, "number of participants with a map"] = None
    number_of_maps: Annotated[
        int | None, "number of maps; the maps of a participant are averaged first"
    ] = None


@dataclass(frozen=True, kw_only=True)
class DifferenceSidecar(Image):
    """Sidecar of the difference between two scans of a participant."""

    method: Annotated[str | None, "name of the method on the command line"] = None
    spatial_reference: Annotated[
        str | None,
        "map of the first scan, as a BIDS URI; this map defines the grid of the difference",
    ] = None
    rigid_transform: Annotated[
        list[list[float]] | None,
        "matrix that maps scanner coordinates in the first scan to scanner coordinates in the "
        "later scan, mm",
    ] = None
    mean_movement: Annotated[float | None, "mean movement of the mask between the scans, mm"] = None
    exceeding_fraction: Annotated[
        float | None,
        "fraction of the voxels with a value whose absolute z exceeds 1.96: 0.05 if the maps "
        "differ only in noise",
    ] = None
    number_of_voxels: Annotated[int | None, "number of voxels with a value"] = None
    warnings: Annotated[list[str] | None, "warnings about the comparison"] = None


@dataclass(frozen=True, kw_only=True)
class CondmapSidecar(MapSidecar):
    """Sidecar of a conductivity map."""

    implausible_fraction: Annotated[
        float | None,
        "fraction of the mask below 0 or above 10 S/m",
    ] = None
    trend_inferior_superior: Annotated[
        float | None,
        "relative change of conductivity from the bottom to the top of the mask; missing if it "
        "cannot be computed",
    ] = None
    trend_left_right: Annotated[
        float | None,
        "relative change of conductivity from the left to the right of the mask; missing if it "
        "cannot be computed",
    ] = None
    noise_ratio: Annotated[
        float | None,
        "median ratio of noise standard deviation to conductivity; not written with "
        "`--no-uncertainty`",
    ] = None
    literature_ratio: Annotated[
        dict[str, float] | None,
        "for each tissue: median divided by the literature value at this frequency",
    ] = None
    verdict: Annotated[
        Colour | None,
        "`green`, `amber` or `red`: verdict on this map alone, without the disagreement with "
        "other methods",
    ] = None
    verdict_reasons: Annotated[
        list[str] | None,
        "one sentence for each reason; empty for green",
    ] = None


@dataclass(frozen=True, kw_only=True)
class CondstdSidecar(MapSidecar):
    """Sidecar of the noise standard deviation of a conductivity map."""

    phase_noise_estimate: Annotated[str | None, "how the noise of phi0 was estimated"] = None
    propagation: Annotated[str | None, "how the noise of phi0 was propagated to conductivity"] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class SegmentationSidecar(Warned, TissueLabels, Image):
    """Sidecar of the tissue labels."""


@dataclass(frozen=True, kw_only=True)
class LesionsSidecar(Warned, Placement, Image):
    """Sidecar of the lesion numbers."""

    lesion_volumes: Annotated[
        dict[str, float] | None, "volume of each lesion in the mask, ml, keyed by lesion number"
    ] = None
    mirror_plane: Annotated[
        list[float] | None,
        "mid-sagittal plane: unit normal in RAS coordinates, and distance from the origin along "
        "the normal, mm; missing if the plane is unknown",
    ] = None
    mirror_correlation: Annotated[
        float | None,
        "correlation of the magnitude in the mask with its mirror image, at most 1",
    ] = None


@dataclass(frozen=True, kw_only=True)
class MaskImage(Fields):
    """Fields of a mask."""

    type: Annotated[str | None, "`Brain` or `ROI`"] = None
    description: Annotated[
        str | None, "how the app made the mask, if the mask was not imported"
    ] = None
    sources: Annotated[list[str] | None, "source files as BIDS URIs"] = None


@dataclass(frozen=True, kw_only=True)
class MaskSidecar(Warned, MaskChoice, Placement, MaskImage):
    """Sidecar of the mask."""

    mask_overlap: Annotated[
        float | None,
        "mask that the app made: fraction of the brain that has signal",
    ] = None
    mutual_information: Annotated[
        float | None,
        "mask from the template: mutual information of magnitude and template, nats",
    ] = None
    mutual_information_chance: Annotated[
        float | None,
        "mask from the template: mutual information with a flipped template; see [brain "
        "mask](segmentation.md#brain-mask)",
    ] = None
    mutual_information_threshold: Annotated[
        float | None,
        "mask from the template: minimum mutual information that is required",
    ] = None
    mask_note: Annotated[
        str | None,
        "reason why no brain mask was made, if this does not cause a warning",
    ] = None

    @property
    def used_origin(self) -> str:
        """Origin of the mask; older versions only imported masks or used the signal."""
        return self.mask_origin or ("derivative" if self.type == "Brain" else "signal")


@dataclass(frozen=True, kw_only=True)
class B1Sidecar(B1Choice, Warned, Image):
    """Sidecar of a ``|B1+|`` map."""

    transforms: Annotated[list[str] | None, "applied transforms"] = None


@dataclass(frozen=True, kw_only=True)
class MagnitudeSidecar(Fields):
    """Sidecar of the magnitude."""

    description: Annotated[str | None, "description of the values"] = None
    skull_stripped: Annotated[bool | None, "whether the skull was removed: always false"] = None
    sources: Annotated[list[str] | None, "source files as BIDS URIs"] = None


@dataclass(frozen=True, kw_only=True)
class Container(Fields):
    """Container that the app ran in."""

    type: Annotated[str | None, "`docker`, `apptainer` or `singularity`"] = None
    tag: Annotated[str | None, "tag of the image"] = None


@dataclass(frozen=True, kw_only=True)
class GeneratedBy(Fields):
    """Software that wrote a dataset."""

    name: Annotated[str | None, "name of the app"] = None
    version: Annotated[str | None, "version of the app"] = None
    container: Annotated[Container | None, "container that the app ran in, if any"] = None


@dataclass(frozen=True, kw_only=True)
class SourceDataset(Fields):
    """Source dataset."""

    url: Annotated[str | None, "location, relative to `OUTPUT_DIR` if possible"] = None


@dataclass(frozen=True, kw_only=True)
class DatasetDescription(Fields):
    """Content of ``dataset_description.json``."""

    name: Annotated[str | None, "name of the dataset"] = None
    bids_version: Annotated[str | None, "version of the BIDS specification"] = None
    dataset_type: Annotated[str | None, "`derivative`"] = None
    generated_by: Annotated[list[GeneratedBy] | None, "software that wrote the dataset"] = None
    source_datasets: Annotated[list[SourceDataset] | None, "source datasets"] = None
    dataset_links: Annotated[
        dict[str, str] | None,
        "location of each source dataset by its name in BIDS URIs",
    ] = None
