"""Write the methods section of a paper from the sidecars of the results."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bids_qcm.bids.sidecar_schema import (
    CondmapSidecar,
    CondstdSidecar,
    InSpace,
    MaskSidecar,
    Phi0Sidecar,
    SegmentationSidecar,
)
from bids_qcm.recon import METHODS
from bids_qcm.recon.forms import form_of
from bids_qcm.recon.forms.base import EXACT, EXACT_BUT_MAGNITUDE
from bids_qcm.recon.methods import Method
from bids_qcm.statistics import EROSIONS

_CITED_SOFTWARE = {
    "nipype": "gorgolewski2011",
    "pybids": "yarkoni2019",
    "nibabel": "brett_nibabel",
    "numpy": "harris2020",
    "scipy": "virtanen2020",
    "scikit-image": "vanderwalt2014",
    "numba": "lam2015",
}


_Sidecar = TypeVar("_Sidecar")


@dataclass(frozen=True)
class Processing:
    """The sidecars of one acquisition's results.

    Attributes
    ----------
    phi0 : Phi0Sidecar
    mask : MaskSidecar
    segmentation : SegmentationSidecar or None
        None if no segmentation was used.
    maps : mapping of str to CondmapSidecar
        Sidecars of the conductivity maps, keyed by method.
    stds : mapping of str to CondstdSidecar
        Sidecars of the noise standard deviation maps, keyed by method.
    spaces : mapping of str to InSpace
        Sidecar fields of the first map in other spaces, keyed by the label of the space.
    """

    phi0: Phi0Sidecar
    mask: MaskSidecar
    segmentation: SegmentationSidecar | None
    maps: Mapping[str, CondmapSidecar]
    stds: Mapping[str, CondstdSidecar]
    spaces: Mapping[str, InSpace] = field(default_factory=dict)


def describe_methods(done: Sequence[Processing]) -> list[str]:
    """Return the methods section for a set of acquisitions.

    Parameters
    ----------
    done : sequence of Processing
        Sidecars of each acquisition, at least one. If a step applies only to some acquisitions, the
        text states their number.

    Returns
    -------
    list of str
        Paragraphs with citations in the form ``[@key]`` or ``[@one; @other]``. Sidecars of older
        versions may lack fields; a sentence omits the details that are missing.
    """
    phi0 = [one.phi0 for one in done]
    paragraphs = [
        _overview(phi0),
        " ".join([*_phase(phi0), _mask([one.mask for one in done]), *_unwrapping_and_sign(phi0)]),
        _segmentation([one.segmentation for one in done if one.segmentation], len(done)),
        " ".join(_conductivity(done)),
        _uncertainty(done),
        _spaces(done),
        _statistics(any(one.segmentation for one in done)),
        _software(phi0),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def _overview(sidecars: Sequence[Phi0Sidecar]) -> str:
    software = " ".join(["bids_qcm", *_versions(sidecars, "bids_qcm")])
    frequency = _span([one.imaging_frequency for one in sidecars], "{:.2f}", "MHz")
    origin = _listed(sidecars, lambda one: one.imaging_frequency_source)
    n = "one acquisition" if len(sidecars) == 1 else f"{len(sidecars)} acquisitions"
    return (
        f"Electrical conductivity was mapped with {software} from the phase of {n}"
        f"{_after(' at a Larmor frequency of ', frequency)}"
        f"{_after(' (taken from ', origin, ' in the sidecars)')}. The dataset was "
        "organised according to the Brain Imaging Data Structure [@gorgolewski2016]."
    )


def _complex_images(sidecars: Sequence[Phi0Sidecar]) -> list[str]:
    total = len(sidecars)
    units = Counter(unit for one in sidecars for unit in dict.fromkeys(one.phase_units or ()))
    parts = units.pop("complex", 0)
    sentences = []
    if set(units) == {"rad"}:
        sentences.append(f"The phase images were in radians{_of(total - parts, total)}.")
    elif units:
        sentences.append(
            f"The phase images were converted from their unit{'s' * (len(units) > 1)} "
            f"({_joined(units)}) to radians by a fixed scale factor{_of(total - parts, total)}."
        )
    if parts:
        sentences.append(
            "Magnitude and phase were computed from the real and imaginary parts of the images"
            f"{_of(parts, total)}."
        )
    cycled = sum(bool(one.phase_cycled) for one in sidecars)
    if cycled:
        sentences.append(
            "Balanced steady-state acquisitions with different phase increments of the "
            "radiofrequency pulses were combined: the squared complex images were added, and the "
            f"phase of the sum was halved{_of(cycled, total)}."
        )
    banded = sum(one.band_fraction is not None for one in sidecars)
    if banded:
        sentences.append(
            "Dark bands of the balanced steady-state images were left out, and the phase jump of "
            f"half a cycle at each band was removed{_of(banded, total)}."
        )
    averaged = [
        len(one.averaged_acquisitions)
        for one in sidecars
        if one.averaged_acquisitions and not one.phase_cycled
    ]
    if averaged:
        sentences.append(
            f"{_joined(sorted(set(averaged)))} repetitions were averaged as complex images after "
            f"the constant and linear phase between them was removed{_of(len(averaged), total)}."
        )
    coils = sum(bool(one.combined_coils) for one in sidecars)
    if coils:
        sentences.append(
            "The signals of the receive coils were added with one constant phase factor for each "
            f"coil, which keeps the phase at echo time zero{_of(coils, total)}."
        )
    return sentences


def _phase(sidecars: Sequence[Phi0Sidecar]) -> list[str]:
    total = len(sidecars)
    sentences = _complex_images(sidecars)
    flipped = sum(bool(one.alternate_slices_flipped) for one in sidecars)
    if flipped:
        sentences.append(
            "The phase alternated by half a cycle between neighbouring slices. Every second slice "
            f"was therefore shifted by half a cycle{_of(flipped, total)}."
        )
    in_plane = sum(one.slices_aligned_along is not None for one in sidecars)
    if in_plane:
        sentences.append(
            "The phase was differentiated only within slices, and the mean phase difference "
            "between neighbouring slices was removed. The conductivity therefore lacks the "
            f"contribution of the phase curvature across slices{_of(in_plane, total)}."
        )
    echoes = Counter(len(one.phase_units) for one in sidecars if one.phase_units)
    single = echoes.pop(1, 0)
    if single:
        sentences.append(
            "The phase at echo time zero (phi0) was taken to be the phase of the single echo"
            f"{_of(single, total)}."
        )
    if echoes:
        sentences.append(
            "The phase at echo time zero (phi0) was extrapolated from "
            f"{_joined(sorted(echoes))} echoes by a least-squares fit of a line over echo time, "
            f"weighted by the squared magnitude{_of(total - single, total)}. Phase wraps between "
            "echoes were predicted from the preceding echoes."
        )
    chosen = sum(one.echoes_requested == "auto" for one in sidecars)
    if chosen:
        sentences.append(
            f"Echoes whose phase was not linear in echo time were left out{_of(chosen, total)}."
        )
    bipolar = sum(one.alternating_phase is not None for one in sidecars)
    if bipolar:
        sentences.append(
            "A constant and linear phase difference between odd and even echoes, caused by a "
            f"readout of alternating polarity [@yu2010], was removed{_of(bipolar, total)}."
        )
    return sentences


def _mask(sidecars: Sequence[MaskSidecar]) -> str:
    by_origin: dict[str, list[MaskSidecar]] = {}
    for one in sidecars:
        by_origin.setdefault(one.used_origin, []).append(one)
    parts = []
    for origin in ("derivative", "T1w", "template", "signal"):
        some = by_origin.get(origin, [])
        if some:
            parts.append(f"{_mask_of(origin, some)}{_of(len(some), len(sidecars))}")
    return f"Conductivity was computed in {' and in '.join(parts)}."


def _mask_of(origin: str, sidecars: Sequence[MaskSidecar]) -> str:
    if origin == "derivative":
        return f"a brain mask from the derivative dataset{_after(' ', _datasets(sidecars))}"
    if origin == "T1w":
        return (
            "a brain mask defined as the filled hull of the gray matter, white matter and "
            "cerebrospinal fluid, which were classified in the T1w image with tissue priors of the "
            "MNI152 template from nilearn [@abraham2014]"
        )
    if origin == "template":
        return (
            "a brain mask defined as the voxels with signal in the brain of the MNI152 template "
            "from nilearn [@abraham2014], which was registered to the magnitude by an affine "
            "transform with mutual information"
        )
    return "the largest connected region with a signal-to-noise ratio above 5"


def _unwrapping_and_sign(sidecars: Sequence[Phi0Sidecar]) -> list[str]:
    total = len(sidecars)
    sentences = [
        "The phase was unwrapped with a best-path algorithm [@abdulrahman2007].",
        "It was not smoothed.",
    ]
    automatic = [one for one in sidecars if one.phase_sign_origin == "auto"]
    if automatic:
        sentences.append(
            "The sign of the phase was chosen so that the median Laplacian, computed with a radius "
            "of 15 mm (at least 3 voxels), was positive"
            f"{_of(len(automatic), total)}."
        )
        negative = sum(one.phase_sign == "-" for one in automatic)
        if negative:
            sentences.append(f"The phase was therefore inverted{_of(negative, total)}.")
    usual = [one for one in sidecars if one.phase_sign_origin == "Manufacturer"]
    if usual:
        signs = _listed(usual, lambda one: one.phase_sign)
        sentences.append(
            "Because the Laplacian gave weak evidence, the sign of the phase was set to the usual "
            f"sign of the scanner manufacturer ({signs}){_of(len(usual), total)}."
        )
    given = [one for one in sidecars if one.phase_sign_origin == "given"]
    if given:
        signs = _listed(given, lambda one: one.phase_sign)
        sentences.append(
            f"The sign of the phase was specified by the user ({signs}){_of(len(given), total)}."
        )
    return sentences


def _segmentation(sidecars: Sequence[SegmentationSidecar], total: int) -> str:
    if not sidecars:
        return ""
    own = [one for one in sidecars if one.segmentation_confidence == "low"]
    given = [one for one in sidecars if one not in own]
    sentences = []
    if given:
        sentences.append(
            "Tissue labels were taken from the segmentation in the derivative dataset"
            f"{_after(' ', _datasets(given))}{_of(len(given), total)}."
        )
    if own:
        sentences.append(
            "The T1w image was bias-corrected with N4 [@tustison2010]. Gray matter, white matter "
            "and cerebrospinal fluid were then classified in the T1w image with a mixture of three "
            "normal distributions and tissue priors of the MNI152 template from nilearn "
            f"[@abraham2014]{_of(len(own), total)}."
        )
    sentences += _placement(sidecars, total)
    return " ".join(sentences)


def _placement(sidecars: Sequence[SegmentationSidecar], total: int) -> list[str]:
    sentences = []
    transformed = sum(bool(one.transforms) for one in sidecars)
    if transformed:
        sentences.append(
            "The labels were resampled to the phase with the transforms in the derivative "
            "datasets, which were read with NiTransforms [@goncalves2021]"
            f"{_of(transformed, total)}."
        )
    ways = Counter(one.coregistration for one in sidecars)
    if ways["rigid"]:
        sentences.append(
            "The labels were aligned with the phase by rigid registration of the anatomical image "
            "to the magnitude with mutual information [@mattes2003] in SimpleITK [@lowekamp2013]"
            f"{_of(ways['rigid'], total)}."
        )
    if ways["header"]:
        sentences.append(
            "The labels were aligned with the phase by the coordinates in the image headers"
            f"{_of(ways['header'], total)}."
        )
    return sentences


def _conductivity(done: Sequence[Processing]) -> list[str]:
    types = {one.phi0.phase_type for one in done}
    equations = {
        "transceive": "sigma = laplacian(phi0) / (2 mu0 omega) for a transceive phase phi0",
        "transmit": "sigma = laplacian(phi0) / (mu0 omega) for a transmit phase phi0",
    }
    used = " or ".join(equation for one, equation in equations.items() if one in types)
    names = {name for one in done for name in one.maps}
    forms = dict.fromkeys(form_of(METHODS[name]) for name in METHODS if name in names)
    sentences = []
    if used:
        sentences.append(
            f"In regions of uniform tissue, the conductivity is {used}, where mu0 is the vacuum "
            "permeability and omega is the angular Larmor frequency [@voigt2011]."
        )
    sentences += [form.introduction for form in forms if form.introduction]
    sentences += _b1(done)
    if any(METHODS[name].uses_magnitude or METHODS[name].uses_labels for name in names):
        sentences.append(
            "Tissue boundaries were preserved with the magnitude, the segmentation or both "
            "[@karsa2021]."
        )
    for name, method in METHODS.items():
        maps = [one.maps[name] for one in done if name in one.maps]
        if maps:
            share = _of(len(maps), len(done))
            sentences.append(f"The {name} method{share} computed {_how(method, maps)}.")
    return sentences


def _b1(done: Sequence[Processing]) -> list[str]:
    """Return the sentences about ``|B1+|``; empty if ``|B1+|`` was constant for all maps."""
    maps = [(name, one.maps[name]) for one in done for name in one.maps]
    sentences = []
    for origin in ("measured", "model"):
        used = [(name, one) for name, one in maps if one.b1_map == origin]
        if not used:
            continue
        names = {name for name, _ in used}
        methods = _joined(name for name in METHODS if name in names)
        n = sum(any(m.b1_map == origin for m in one.maps.values()) for one in done)
        sidecars = [one for _, one in used]
        if origin == "measured":
            smoothing = _span([one.b1_map_smoothing for one in sidecars], "{:g}", "mm")
            width = _after(" of ", smoothing, " full width at half maximum")
            what = f"was taken from a measured map, smoothed with a Gaussian kernel{width}"
        else:
            conductivity = _span([one.b1_model_conductivity for one in sidecars], "{:g}", "S/m")
            permittivity = _span([one.b1_model_permittivity for one in sidecars], "{:g}", "")
            properties = [
                _after("conductivity ", conductivity),
                _after("relative permittivity ", permittivity),
            ]
            what = (
                "was modelled as the solution of the scalar Helmholtz equation in a homogeneous "
                "body with the outline of the head"
                f"{_after(' (', ', '.join(filter(None, properties)), ')')}"
            )
        sentences.append(
            f"The {methods} {'methods' if len(names) > 1 else 'method'} accounted for the "
            f"magnitude of B1+ [@gurler2017; @katscher2017], which {what}{_of(n, len(done))}."
        )
    return sentences


def _how(method: Method, sidecars: Sequence[CondmapSidecar]) -> str:
    """Return the quantity that a method computed, with its edge preservation and weights."""
    restrictions = []
    if method.uses_labels:
        restrictions.append(form_of(method).effect_of_labels)
    if method.uses_magnitude:
        width = _span([one.magnitude_delta for one in sidecars[:1]], "{:g}", "standard deviations")
        restrictions.append(
            f"weights by the similarity of the magnitude{_after(' (width ', width, ')')}"
        )
    if method.weighs_pairs:
        restrictions.append("inverse-variance weights for the gradients")
    targets = [one.target_std for one in sidecars if one.target_std is not None]
    if targets:
        restrictions.append(
            "the smallest radii (at most twice the published radii) that were predicted to reach a "
            f"median noise standard deviation of {_span(targets, '{:g}', 'S/m')}"
            f"{_of(len(targets), len(sidecars))}"
        )
    what = form_of(method).quantity(method).format_map(_FieldValues(sidecars))
    return f"{what}{', with ' if restrictions else ''}{_joined(restrictions)}"


class _FieldValues(dict[str, str]):
    """The values of sidecar fields in words, for :meth:`str.format_map`."""

    def __init__(self, sidecars: Sequence[CondmapSidecar]) -> None:
        super().__init__()
        self._sidecars = sidecars

    def __missing__(self, field: str) -> str:
        values = [getattr(one, field) for one in self._sidecars]
        is_radius = field in ("fit_radius", "integral_radius")
        words = _radii(values) if is_radius else _span(values[:1], "{:g}", "")
        return words or "an unknown value"


def _radii(all_radii: Iterable[Sequence[float] | None]) -> str:
    found = list(dict.fromkeys(tuple(radii) for radii in all_radii if radii))
    if not found:
        return ""
    isotropic = [radii[0] for radii in found if len(set(radii)) == 1]
    if len(isotropic) == len(found):
        return _span(isotropic, "{:.3g}", "mm")
    return " or ".join(f"({', '.join(f'{r:.3g}' for r in radii)}) mm" for radii in found)


def _uncertainty(done: Sequence[Processing]) -> str:
    stds = [std for one in done for std in one.stds.values()]
    if not stds:
        return ""
    ways: dict[str, dict[str, None]] = {}
    for one in done:
        for name, std in one.stds.items():
            ways.setdefault(std.propagation or "", {})[form_of(METHODS[name]).title] = None
    propagated = []
    exact = ways.get(EXACT, {}) | ways.get(EXACT_BUT_MAGNITUDE, {})
    if exact:
        magnitude = "; magnitude noise was propagated to first order"
        propagated.append(
            f"exactly through the {_joined(exact)} methods (which are linear in the phase"
            f"{magnitude * (EXACT_BUT_MAGNITUDE in ways)})"
        )
    propagated += [
        f"through the {_joined(forms)} methods{_after(' by ', way.replace(',', ''))}"
        for way, forms in ways.items()
        if way not in (EXACT, EXACT_BUT_MAGNITUDE)
    ]
    several = any(len(one.phi0.phase_units or ()) > 1 for one in done)
    line = (
        " For several echoes, the phase noise of phi0 was derived from the least-squares fit over "
        "echo time."
    )
    return (
        "The noise standard deviation of the conductivity was computed for each voxel. The "
        "phase noise was assumed to be inversely proportional to the magnitude. Its level was "
        "estimated from mixed second differences of phi0 with a robust scale estimator "
        f"[@rousseeuw1993].{line * several} The phase noise was propagated {_joined(propagated)}."
    )


def _spaces(done: Sequence[Processing]) -> str:
    """Return the sentences about maps in other spaces; empty without such maps."""
    with_spaces = [one for one in done if one.spaces]
    if not with_spaces:
        return ""
    sentences = []
    names = sorted({name for one in with_spaces for name in one.spaces})
    templates = [name for name in names if name != "T1w"]
    registered = sum(
        any(space.template_registration for space in one.spaces.values()) for one in with_spaces
    )
    if registered:
        sentences.append(
            "The T1w image was bias-corrected with N4 [@tustison2010] and registered to the "
            "MNI152NLin2009aSym template from nilearn [@abraham2014] by an affine transform with "
            "mutual information [@mattes2003] and diffeomorphic demons [@vercauteren2009] in "
            f"SimpleITK [@lowekamp2013]{_of(registered, len(done))}."
        )
    places = [*(["the T1w image"] if "T1w" in names else []), *templates]
    sentences.append(
        f"The maps were resampled to {_joined(places)} by linear interpolation of the valid voxels "
        "in the mask, and the tissue labels were resampled by nearest-neighbour interpolation"
        f"{_of(len(with_spaces), len(done))}."
    )
    return " ".join(sentences)


def _statistics(tissues: bool) -> str:
    where = "the mask"
    if tissues:
        radii = _joined([f"{radius}" for radius in EROSIONS[1:]])
        where = f"the mask and in each tissue, without erosion and after erosion by {radii} voxels"
    return (
        "The mean, standard deviation, median and interquartile range of the valid voxels were "
        f"computed in {where}, according to the guideline on electrical properties tomography "
        "[@mandija2026]. Literature values of the conductivity were computed from the dispersion "
        "models of Gabriel et al. [@gabriel1996]."
    )


def _software(sidecars: Sequence[Phi0Sidecar]) -> str:
    names = [
        " ".join([name, *_versions(sidecars, name), f"[@{key}]"])
        for name, key in _CITED_SOFTWARE.items()
    ]
    return f"The workflow used {_joined(names)}."


def _versions(sidecars: Iterable[Phi0Sidecar], software: str) -> list[str]:
    """Return a list with the versions in words; an empty list if they are unknown."""
    versions = _listed(sidecars, lambda one: (one.software_versions or {}).get(software))
    return [versions] if versions else []


def _of(n: int, total: int) -> str:
    """Return the number of acquisitions in parentheses; empty for all acquisitions."""
    return "" if n == total else f" (in {n} of {total} acquisitions)"


def _joined(items: Iterable[Any]) -> str:
    *most, last = map(str, items) if items else [""]
    return f"{', '.join(most)} and {last}" if most else last


def _listed(sidecars: Iterable[_Sidecar], get: Callable[[_Sidecar], str | None]) -> str:
    """Return the distinct values, joined in words; an empty string if all values are missing."""
    return _joined(dict.fromkeys(filter(None, map(get, sidecars))))


def _span(values: Iterable[float | None], form: str, unit: str) -> str:
    """Return the range of the values with the unit; an empty string if all values are missing."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = form.format(min(known)), form.format(max(known))
    return f"{low if low == high else f'{low} to {high}'} {unit}".strip()


def _after(start: str, text: str, end: str = "") -> str:
    """Return `text` between `start` and `end`; an empty string if `text` is empty."""
    return f"{start}{text}{end}" if text else ""


def _datasets(sidecars: Iterable[MaskSidecar | SegmentationSidecar]) -> str:
    """Return the dataset names in the BIDS URIs of the derivatives' first sources."""
    return _listed(sidecars, lambda one: one.sources[0].split(":")[1] if one.sources else None)
