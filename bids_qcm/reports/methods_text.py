"""The methods section of a paper: what was done, as the sidecars of the results tell it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bids_qcm.bids.provenance import EXACT, EXACT_BUT_MAGNITUDE
from bids_qcm.recon import METHODS
from bids_qcm.recon.methods import Method
from bids_qcm.statistics import EROSIONS

Sidecar = Mapping[str, Any]

_CITED_SOFTWARE = {
    "nipype": "gorgolewski2011",
    "pybids": "yarkoni2019",
    "nibabel": "brett_nibabel",
    "numpy": "harris2020",
    "scipy": "virtanen2020",
    "scikit-image": "vanderwalt2014",
    "numba": "lam2015",
}


@dataclass(frozen=True)
class Processing:
    """What the sidecars of one acquisition's results say.

    Attributes
    ----------
    phi0 : mapping
    mask : mapping
    segmentation : mapping or None
    maps : mapping of str to mapping
        By method.
    stds : mapping of str to mapping
        Of standard deviations, by method.
    """

    phi0: Sidecar
    mask: Sidecar
    segmentation: Sidecar | None
    maps: Mapping[str, Sidecar]
    stds: Mapping[str, Sidecar]


def describe_methods(done: Sequence[Processing]) -> list[str]:
    """Describe in words what was done.

    Parameters
    ----------
    done : sequence of Processing
        One for each acquisition; at least one. What differs between them is told with how many
        did it.

    Returns
    -------
    list of str
        Paragraphs, with citations as ``[@key]`` or ``[@one; @other]``.
    """
    phi0 = [one.phi0 for one in done]
    paragraphs = [
        _overview(phi0),
        " ".join([*_phase(phi0), _mask([one.mask for one in done]), *_unwrapping_and_sign(phi0)]),
        _segmentation([one.segmentation for one in done if one.segmentation], len(done)),
        " ".join(_conductivity(done)),
        _uncertainty(done),
        _statistics(any(one.segmentation for one in done)),
        _software(phi0),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def _overview(sidecars: Sequence[Sidecar]) -> str:
    version = _listed(sidecars, lambda one: one["SoftwareVersions"]["bids_qcm"])
    frequency = _span([one["ImagingFrequency"] for one in sidecars], "{:.2f}", "MHz")
    origin = _listed(sidecars, lambda one: one["ImagingFrequencySource"])
    n = "one acquisition" if len(sidecars) == 1 else f"{len(sidecars)} acquisitions"
    return (
        f"Electrical conductivity was mapped with bids_qcm {version} from the phase of {n} at a "
        f"Larmor frequency of {frequency} (from {origin} in the sidecars), in a dataset organised "
        "by the Brain Imaging Data Structure [@gorgolewski2016]."
    )


def _phase(sidecars: Sequence[Sidecar]) -> list[str]:
    total = len(sidecars)
    units = Counter(unit for one in sidecars for unit in dict.fromkeys(one["PhaseUnits"]))
    sentences = [
        "Phase images were scaled to radians by a fixed factor for their unit, recognised or "
        f"given as {_joined(units)}."
        if set(units) != {"complex"}
        else "Magnitude and phase were taken from the real and imaginary parts of the images."
    ]
    flipped = sum(bool(one["AlternateSlicesFlipped"]) for one in sidecars)
    if flipped:
        sentences.append(
            "The phase of every second slice, which alternated, was shifted by half a cycle"
            f"{_of(flipped, total)}."
        )
    echoes = Counter(len(one["PhaseUnits"]) for one in sidecars)
    single = echoes.pop(1, 0)
    if single:
        sentences.append(
            f"The phase at echo time zero, phi0, was that of the single echo{_of(single, total)}."
        )
    if echoes:
        sentences.append(
            "The phase at echo time zero, phi0, was extrapolated by a least-squares line over "
            f"{_joined(sorted(echoes))} echo times, weighted by the squared magnitude; wraps "
            f"between echoes were predicted from the echoes before{_of(total - single, total)}."
        )
    return sentences


def _mask(sidecars: Sequence[Sidecar]) -> str:
    by_origin: dict[str, list[Sidecar]] = {}
    for one in sidecars:
        default = "derivative" if one.get("Type") == "Brain" else "signal"
        by_origin.setdefault(one.get("MaskOrigin", default), []).append(one)
    parts = []
    for origin in ("derivative", "T1w", "template", "signal"):
        some = by_origin.get(origin, [])
        if some:
            parts.append(f"{_mask_of(origin, some)}{_of(len(some), len(sidecars))}")
    return f"Conductivity was computed in {' and in '.join(parts)}."


def _mask_of(origin: str, sidecars: Sequence[Sidecar]) -> str:
    if origin == "derivative":
        datasets = _joined(dict.fromkeys(map(_dataset, sidecars)))
        return f"a brain mask from the derivative dataset {datasets}"
    if origin == "T1w":
        return (
            "a brain mask, the filled hull of the gray matter, white matter and cerebrospinal "
            "fluid in the T1w image, which were classified with the MNI152 template in nilearn "
            "[@abraham2014] as prior"
        )
    if origin == "template":
        return (
            "a brain mask, the signal in the brain of the MNI152 template in nilearn "
            "[@abraham2014], which was registered affinely to the magnitude by mutual information"
        )
    return "the largest connected part of the image with a signal-to-noise ratio above 5"


def _unwrapping_and_sign(sidecars: Sequence[Sidecar]) -> list[str]:
    total = len(sidecars)
    sentences = [
        "The phase was unwrapped by whole cycles along paths of best reliability "
        "[@abdulrahman2007]; it was not smoothed."
    ]
    automatic = [one for one in sidecars if one["PhaseSignOrigin"] == "auto"]
    if automatic:
        negative = sum(one["PhaseSign"] == "-" for one in automatic)
        turned = f" ({negative} of {len(automatic)} were inverted)" if negative else ""
        sentences.append(
            "The sign of the phase was chosen to make the median Laplacian over a radius of 15 mm "
            f"(at least 3 voxels) positive{_of(len(automatic), total)}{turned}."
        )
    usual = [one for one in sidecars if one["PhaseSignOrigin"] == "Manufacturer"]
    if usual:
        signs = _listed(usual, lambda one: one["PhaseSign"])
        sentences.append(
            "As the Laplacian gave weak evidence, the sign of the phase was taken from the "
            f"manufacturer of the scanner ({signs}){_of(len(usual), total)}."
        )
    given = [one for one in sidecars if one["PhaseSignOrigin"] == "given"]
    if given:
        signs = _listed(given, lambda one: one["PhaseSign"])
        sentences.append(f"The sign of the phase was given ({signs}){_of(len(given), total)}.")
    return sentences


def _segmentation(sidecars: Sequence[Sidecar], total: int) -> str:
    if not sidecars:
        return ""
    own = [one for one in sidecars if one.get("SegmentationConfidence") == "low"]
    given = [one for one in sidecars if one not in own]
    sentences = []
    if given:
        datasets = _joined(dict.fromkeys(map(_dataset, given)))
        sentences.append(
            f"Tissues were those of the segmentation in the derivative dataset {datasets}"
            f"{_of(len(given), total)}."
        )
    if own:
        sentences.append(
            "Gray matter, white matter and cerebrospinal fluid were classified on the T1w image, "
            "made uniform by N4 [@tustison2010], by a mixture of three normal distributions with "
            "the tissue maps of the MNI152 average in nilearn [@abraham2014] as priors"
            f"{_of(len(own), total)}."
        )
    sentences += _placement(sidecars, total)
    return " ".join(sentences)


def _placement(sidecars: Sequence[Sidecar], total: int) -> list[str]:
    sentences = []
    transformed = sum("Transforms" in one for one in sidecars)
    if transformed:
        sentences.append(
            "They were brought to the phase by the transforms of the derivative datasets, read by "
            f"NiTransforms [@goncalves2021]{_of(transformed, total)}."
        )
    ways = Counter(one.get("Coregistration") for one in sidecars)
    if ways["rigid"]:
        sentences.append(
            "They were brought to the phase by rigid registration of the anatomical image to the "
            "magnitude by mutual information [@mattes2003] in SimpleITK [@lowekamp2013]"
            f"{_of(ways['rigid'], total)}."
        )
    if ways["header"]:
        sentences.append(
            f"They were placed by the coordinates in the image headers{_of(ways['header'], total)}."
        )
    return sentences


def _conductivity(done: Sequence[Processing]) -> list[str]:
    types = {one.phi0["PhaseType"] for one in done}
    equations = {
        "transceive": "sigma = laplacian(phi0) / (2 mu0 omega), phi0 being the transceive phase",
        "transmit": "sigma = laplacian(phi0) / (mu0 omega), phi0 being the transmit phase",
    }
    forms = {METHODS[name].form for one in done for name in one.maps}
    sentences = [
        f"Conductivity is {' or '.join(equations[one] for one in sorted(types))} [@voigt2011]."
    ]
    if "integral" in forms:
        sentences.append(
            "The integral methods take the Laplacian as the flux of phi0's gradient through a "
            "closed surface over the volume inside."
        )
    if "inversion" in forms:
        sentences.append(
            "The inversion methods solve the convection-reaction equation [@gurler2017] for the "
            "conductivity of all voxels at once."
        )
    sentences += _b1(done)
    if any(
        METHODS[name].uses_magnitude or METHODS[name].uses_labels
        for one in done
        for name in one.maps
    ):
        sentences.append(
            "Tissue boundaries were preserved by magnitude, segmentation or both [@karsa2021]."
        )
    for name, method in METHODS.items():
        used = [one.maps[name] for one in done if name in one.maps]
        if used:
            share = _of(len(used), len(done))
            sentences.append(f"{name}{share}: {_how(method, used)}.")
    return sentences


def _b1(done: Sequence[Processing]) -> list[str]:
    """Describe |B1+|, where maps were computed with it."""
    maps = [(name, one.maps[name]) for one in done for name in one.maps]
    sentences = []
    for origin in ("measured", "model"):
        used = [(name, one) for name, one in maps if one.get("B1Map") == origin]
        if not used:
            continue
        names = {name for name, _ in used}
        methods = _joined(name for name in METHODS if name in names)
        n = sum(any(m.get("B1Map") == origin for m in one.maps.values()) for one in done)
        sidecars = [one for _, one in used]
        if origin == "measured":
            smoothing = _span([one["B1MapSmoothing"] for one in sidecars], "{:g}", "mm")
            what = f"a measured map, smoothed by a Gaussian of {smoothing} full width"
        else:
            conductivity = _span([one["B1ModelConductivity"] for one in sidecars], "{:g}", "S/m")
            permittivity = _span([one["B1ModelPermittivity"] for one in sidecars], "{:g}", "")
            what = (
                "a model, the solution of the scalar Helmholtz equation in a homogeneous body with "
                f"the outline of the head ({conductivity}, relative permittivity "
                f"{permittivity.strip()})"
            )
        sentences.append(
            f"The magnitude of B1+, which {methods} took into account [@gurler2017; "
            f"@katscher2017], was {what}{_of(n, len(done))}."
        )
    return sentences


def _how(method: Method, sidecars: Sequence[Sidecar]) -> str:
    """Describe one method in half a sentence."""
    restrictions = []
    if method.uses_labels:
        restrictions.append(
            "weaker smoothing across the borders of tissues"
            if method.form == "inversion"
            else "only voxels of the same tissue"
        )
    if method.uses_magnitude:
        restrictions.append(
            "weights by the similarity of the magnitude (width "
            f"{sidecars[0]['MagnitudeDelta']:g} standard deviations)"
        )
    if method.weighs_pairs:
        restrictions.append("gradients weighted by the inverse of their variance")
    targets = [one["TargetStd"] for one in sidecars if "TargetStd" in one]
    if targets:
        restrictions.append(
            "radii as small as a predicted noise standard deviation of "
            f"{_span(targets, '{:g}', 'S/m')} in the median voxel allows"
            f"{_of(len(targets), len(sidecars))}"
        )
    return f"{_what(method, sidecars)}{', with ' if restrictions else ''}{_joined(restrictions)}"


def _what(method: Method, sidecars: Sequence[Sidecar]) -> str:
    """Tell what a method computes, without what preserves edges."""
    if method.form == "inversion":
        return (
            "the conductivity whose phase fits phi0 in units of its noise (Huber's loss), smoothed "
            f"by {sidecars[0]['Smoothness']:g} times the squared gradient of its logarithm"
        )
    fit = f"a three-dimensional quadratic fitted to phi0 within {_radii(sidecars, 'FitRadius')}"
    if method.form == "laplacian":
        fitted = method.derivative == "fit"
        return f"the Laplacian of {fit}" if fitted else "the Laplacian by finite differences"
    gradient = f"of {fit}" if method.derivative == "fit" else "by central differences"
    radius = _radii(sidecars, "IntegralRadius")
    return f"the surface integral, within {radius}, of the gradient {gradient}"


def _radii(sidecars: Sequence[Sidecar], key: str) -> str:
    found = list(dict.fromkeys(tuple(one[key]) for one in sidecars if key in one))
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
    ways = dict.fromkeys(one["Propagation"] for one in stds)
    propagated = []
    if {EXACT, EXACT_BUT_MAGNITUDE} & set(ways):
        magnitude = "; the magnitude's noise to first order" * (EXACT_BUT_MAGNITUDE in ways)
        propagated.append(
            f"exactly through the Laplacian methods (they are linear in the phase{magnitude})"
        )
    propagated += [
        f"through {'the others' if propagated else 'the methods'} by {way}"
        for way in ways
        if way not in (EXACT, EXACT_BUT_MAGNITUDE)
    ]
    several = any(len(one.phi0["PhaseUnits"]) > 1 for one in done)
    line = ", that of several echoes by the least-squares line at echo time zero," * several
    return (
        "The noise standard deviation of the conductivity was computed for each voxel. The "
        "noise of the phase was estimated from mixed second differences of phi0 by a robust scale "
        f"[@rousseeuw1993], in inverse proportion to the magnitude{line} and propagated "
        f"{_joined(propagated)}."
    )


def _statistics(tissues: bool) -> str:
    where = "the mask"
    if tissues:
        radii = _joined([f"{radius}" for radius in EROSIONS[1:]])
        where = f"the mask and in each tissue, as it is and eroded by {radii} voxels,"
    return (
        f"Mean, standard deviation, median and interquartile range of the valid voxels in {where} "
        "follow the guideline on electrical properties tomography [@mandija2026]. Reference values "
        "are those of Gabriel's dispersions [@gabriel1996]."
    )


def _software(sidecars: Sequence[Sidecar]) -> str:
    versions = {
        name: _listed(sidecars, lambda one, name=name: one["SoftwareVersions"].get(name))
        for name in _CITED_SOFTWARE
    }
    names = [f"{name} {versions[name]} [@{key}]" for name, key in _CITED_SOFTWARE.items()]
    return f"The workflow used {_joined(names)}."


def _of(n: int, total: int) -> str:
    """Tell how many, where it is not all."""
    return "" if n == total else f" (in {n} of {total} acquisitions)"


def _joined(items: Iterable[Any]) -> str:
    *most, last = map(str, items) if items else [""]
    return f"{', '.join(most)} and {last}" if most else last


def _listed(sidecars: Iterable[Sidecar], get: Callable[[Sidecar], Any]) -> str:
    """Join the distinct values."""
    return _joined(dict.fromkeys(map(get, sidecars)))


def _span(values: Sequence[float], form: str, unit: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _dataset(sidecar: Sidecar) -> str:
    """Name the dataset that a derivative's first source is from, by its BIDS URI."""
    return sidecar["Sources"][0].split(":")[1]
