"""Search datasets for the segmentation, masks, T1w image and ``|B1+|`` map of an acquisition."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.auxiliary import NATIVE, SCANNER, AuxiliaryImage, named_space
from bids_qcm.bids.anatomy.label_tables import tissue_of_abbreviation
from bids_qcm.bids.anatomy.sources import (
    PROBABILITIES,
    REGIONS,
    SOURCES,
    Source,
    source_of,
)
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.filters import names, passes
from bids_qcm.bids.images import count_volumes
from bids_qcm.bids.names import IMAGE_EXTENSIONS, parse_name
from bids_qcm.bids.sidecars import read_sidecar
from bids_qcm.grids import Grid

_EXTENSIONS = (*IMAGE_EXTENSIONS, ".mgz")

_FREESURFER_MASKS = ("mask.mgz", "brainmask.mgz")

# Suffixes of images that define the grid of a template space, best first.
_REFERENCES = ("T1w", "mask", "dseg")

_TISSUES_NEEDED = {"GM", "WM", "CSF"}

# Suffixes of lesion masks, and labels of the "label" or "desc" entity that mark a lesion mask.
_LESION_SUFFIXES = ("mask", "roi")
_LESION = re.compile(r"lesions?\d*", re.IGNORECASE)

# Ranks of |B1+| maps: IntendedFor names the acquisition, is missing, or names only other images
_B1_RANKS = {"acquisition": 0, "unknown": 1, "others": 2}

_Lister = Callable[[Path, str, str | None], Iterator["_Candidate"]]


@dataclass(frozen=True)
class _Candidate:
    """A candidate image and its rank.

    Attributes
    ----------
    auxiliary : AuxiliaryImage
    entities : mapping of str to str
        Entities of the file, including ``suffix``.
    rank : int
        The candidate with the lowest rank is preferred.
    """

    auxiliary: AuxiliaryImage
    entities: Mapping[str, str]
    rank: int


def find_segmentation(
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    filters: Mapping[str, Any],
) -> AuxiliaryImage | None:
    """Return the best segmentation for an acquisition.

    Segmentations of the same session are preferred to segmentations without a session. A
    segmentation of another participant is never used. A segmentation of another session is used
    only if `filters` select that session. The first dataset with a segmentation of the session is
    used. If that dataset has several segmentations, these criteria are compared in this order:

    1. Grid and space: the grid of the phase, the participant's own space, a template space.
    2. Kind: ``*_dseg`` without ``desc``, SynthSeg, aseg, aparc+aseg, any other ``desc``,
       probability maps, FreeSurfer's own ``.mgz`` files.
    3. Entities, such as ``run``, that agree with the entities of the acquisition.

    Parameters
    ----------
    acquisition : Acquisition
    grid : Grid
        Grid of the phase.
    datasets : sequence of Path
        Datasets from :func:`bids_qcm.bids.anatomy.datasets.derivative_datasets`, in search order.
    filters : mapping
        Entities that the segmentation must have.

    Returns
    -------
    AuxiliaryImage or None
        None if no dataset has a segmentation that passes the filters.

    Raises
    ------
    InputError
        If several segmentations are equally good.
    """
    return _find(acquisition, grid, datasets, filters, _segmentations, "segmentation")


def find_regions(
    acquisition: Acquisition, grid: Grid, datasets: Sequence[Path], filters: Mapping[str, Any]
) -> AuxiliaryImage | None:
    """Return the finest segmentation into regions in the participant's own space.

    The search is the same as in :func:`find_segmentation`, but the kinds of segmentations are
    compared by the number of their regions, in the order of
    :data:`~bids_qcm.bids.anatomy.sources.REGIONS`. Among all datasets with a segmentation of the
    session, the first dataset with the finest kind is used.
    """
    for session in _sessions(acquisition, datasets, filters):
        found = [
            _passing(_region_segmentations(dataset, acquisition.subject, session), filters)
            for dataset in datasets
        ]
        finest = min((one.rank for of_dataset in found for one in of_dataset), default=None)
        for of_dataset in found:
            best = [one for one in of_dataset if one.rank == finest]
            if best:
                return _best(best, acquisition, grid, "regions", any_of_equal=True)
    return None


def find_mask(
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    filters: Mapping[str, Any],
) -> AuxiliaryImage | None:
    """Return the best brain mask for an acquisition; see :func:`find_segmentation`.

    A brain mask is named ``desc-brain_mask`` or ``label-brain_mask``. If `filters` contain
    ``desc`` or ``label``, any mask that passes the filters counts as a brain mask.
    """
    chosen = names(filters, "desc") or names(filters, "label")
    lister = _named_masks if chosen else _masks
    return _find(acquisition, grid, datasets, filters, lister, "brain mask")


def find_lesions(
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    filters: Mapping[str, Any],
) -> AuxiliaryImage | None:
    """Return the lesion masks of an acquisition, as one auxiliary image with several files.

    A lesion mask has the suffix ``mask`` or ``roi``, and the label ``lesion`` in the entity
    ``label`` or ``desc``; a number may follow, as in ``desc-lesion2_mask``. If `filters` contain
    ``desc`` or ``label``, any mask that passes the filters counts as a lesion mask.

    The first dataset with a lesion mask is used, as in :func:`find_segmentation`. If its masks are
    in several spaces, all masks of the best space are used: the grid of the phase, the
    participant's own space, a template space. If a mask has the name of another mask except for
    entities of the acquisition, such as ``run``, only the mask of the acquisition is used.

    Returns
    -------
    AuxiliaryImage or None
        Its files are sorted by name. None if no dataset has a lesion mask.
    """
    chosen = names(filters, "desc") or names(filters, "label")

    def list_masks(dataset: Path, subject: str, session: str | None) -> Iterator[_Candidate]:
        for path, entities in _anatomical_files(dataset, subject, session):
            of_lesion = chosen or _names_lesion(entities)
            if entities["suffix"] in _LESION_SUFFIXES and of_lesion:
                image = AuxiliaryImage((path,), dataset, "lesions", _space(entities))
                yield _Candidate(image, entities, 0)

    found = _candidates(acquisition, datasets, filters, list_masks)
    if not found:
        return None
    first = min(found, key=lambda one: _order(one, acquisition, grid))
    best = _place(first.auxiliary, grid), first.auxiliary.space
    same = [one for one in found if (_place(one.auxiliary, grid), one.auxiliary.space) == best]
    paths = [one.auxiliary.path for one in _without_other_scans(same, acquisition)]
    return replace(first.auxiliary, paths=tuple(sorted(paths, key=lambda path: path.name)))


def _without_other_scans(
    masks: Sequence[_Candidate], acquisition: Acquisition
) -> Iterator[_Candidate]:
    """Yield the lesion masks except those that show the same lesions in another scan.

    Such a mask differs from a mask of the acquisition only in entities that the name of the
    acquisition contains, such as ``run``.
    """
    of_lesions = defaultdict(list)
    for one in masks:
        others = {
            key: value for key, value in one.entities.items() if key not in acquisition.entities
        }
        of_lesions[tuple(sorted(others.items()))].append(one)
    for alternatives in of_lesions.values():
        ours = [one for one in alternatives if _agrees(one.entities, acquisition)]
        yield from ours or alternatives


def other_masks(acquisition: Acquisition, datasets: Sequence[Path]) -> list[Path]:
    """Return all masks of an acquisition's participant and session, except lesion masks."""
    return [
        candidate.auxiliary.path
        for session in _sessions(acquisition, datasets, {})
        for dataset in datasets
        for candidate in _named_masks(dataset, acquisition.subject, session)
        if not _names_lesion(candidate.entities)
    ]


def find_t1w(
    acquisition: Acquisition,
    grid: Grid,
    bids_dir: Path,
    filters: Mapping[str, Any],
    *,
    any_of_equal: bool = False,
) -> AuxiliaryImage | None:
    """Return the best T1w image in the raw dataset; see :func:`find_segmentation`.

    If several images are equally good, the first by name is returned if `any_of_equal` is true;
    otherwise an error is raised.
    """
    return _find(
        acquisition, grid, [bids_dir], filters, _t1w_images, "T1w image", any_of_equal=any_of_equal
    )


def find_preprocessed_t1w(
    acquisition: Acquisition, grid: Grid, datasets: Sequence[Path]
) -> AuxiliaryImage | None:
    """Return the preprocessed T1w image of a derivative dataset; see :func:`find_segmentation`."""
    return _find(acquisition, grid, datasets, {}, _preprocessed_t1w, "T1w image", any_of_equal=True)


def find_space_reference(
    space: str, acquisition: Acquisition, datasets: Sequence[Path]
) -> Path | None:
    """Return an image of the participant in a template space, which defines the grid.

    The first dataset with such an image is used. T1w images are preferred to masks, and masks to
    segmentations.
    """
    for session in _sessions(acquisition, datasets, {}):
        for dataset in datasets:
            found = [
                (_REFERENCES.index(entities["suffix"]), path)
                for path, entities in _anatomical_files(dataset, acquisition.subject, session)
                if entities["suffix"] in _REFERENCES and entities.get("space") == space
            ]
            if found:
                return min(found)[1]
    return None


def find_b1_map(
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    filters: Mapping[str, Any],
    *,
    allow_unintended: bool = False,
) -> AuxiliaryImage | None:
    """Return the best measured ``|B1+|`` map: ``fmap/*_TB1map`` of the same session.

    The first dataset with a suitable map is used. Within a dataset, a map whose ``IntendedFor``
    names an image of the acquisition is preferred to a map without ``IntendedFor``. Maps of the
    same rank are compared by grid, space and entities, as in :func:`find_segmentation`.

    Parameters
    ----------
    acquisition, grid, datasets, filters
        As in :func:`find_segmentation`. The datasets may include the raw dataset.
    allow_unintended : bool
        Whether a map whose ``IntendedFor`` names only other images may be used as a last resort.

    Returns
    -------
    AuxiliaryImage or None
        None if no dataset has a suitable map.

    Raises
    ------
    InputError
        If several maps are equally good, or a sidecar cannot be read.
    """
    for dataset in datasets:
        found = [
            candidate
            for candidate in _b1_maps(dataset, acquisition)
            if passes(candidate.entities, filters)
            and (allow_unintended or candidate.rank < _B1_RANKS["others"])
        ]
        if found:
            rank = min(candidate.rank for candidate in found)
            best = [candidate for candidate in found if candidate.rank == rank]
            return _best(best, acquisition, grid, "|B1+| map", any_of_equal=False)
    return None


def b1_maps_for_other_images(acquisition: Acquisition, datasets: Sequence[Path]) -> list[Path]:
    """Return the ``|B1+|`` maps of the session whose ``IntendedFor`` names only other images."""
    return [
        candidate.auxiliary.path
        for dataset in datasets
        for candidate in _b1_maps(dataset, acquisition)
        if candidate.rank == _B1_RANKS["others"]
    ]


def _find(
    acquisition: Acquisition,
    grid: Grid,
    datasets: Sequence[Path],
    filters: Mapping[str, Any],
    list_candidates: _Lister,
    what: str,
    *,
    any_of_equal: bool = False,
) -> AuxiliaryImage | None:
    found = _candidates(acquisition, datasets, filters, list_candidates)
    return _best(found, acquisition, grid, what, any_of_equal=any_of_equal) if found else None


def _candidates(
    acquisition: Acquisition,
    datasets: Sequence[Path],
    filters: Mapping[str, Any],
    list_candidates: _Lister,
) -> list[_Candidate]:
    """Return the candidates in the first dataset with candidates; empty without such a dataset."""
    for session in _sessions(acquisition, datasets, filters):
        for dataset in datasets:
            found = _passing(list_candidates(dataset, acquisition.subject, session), filters)
            if found:
                return found
    return []


def _passing(candidates: Iterable[_Candidate], filters: Mapping[str, Any]) -> list[_Candidate]:
    return [candidate for candidate in candidates if passes(candidate.entities, filters)]


def _sessions(
    acquisition: Acquisition, datasets: Sequence[Path], filters: Mapping[str, Any]
) -> list[str | None]:
    """Return the sessions to search, in order; None stands for files without a session."""
    if not names(filters, "ses"):
        return list(dict.fromkeys([acquisition.session, None]))
    subject = f"sub-{acquisition.subject}"
    patterns = (f"{subject}/ses-*", f"{subject}_ses-*")
    folders = (path for dataset in datasets for one in patterns for path in visible(dataset, one))
    there = sorted({path.name.rpartition("ses-")[2] for path in folders})
    return list(dict.fromkeys([acquisition.session, *there, None]))


def _best(
    candidates: Sequence[_Candidate],
    acquisition: Acquisition,
    grid: Grid,
    what: str,
    *,
    any_of_equal: bool,
) -> AuxiliaryImage:
    orders = [_order(candidate, acquisition, grid) for candidate in candidates]
    equal = (
        candidate.auxiliary
        for candidate, own in zip(candidates, orders, strict=True)
        if own == min(orders)
    )
    first, *others = sorted(equal, key=lambda auxiliary: auxiliary.path.name)
    if others and not any_of_equal:
        names = ", ".join(auxiliary.path.name for auxiliary in (first, *others))
        raise InputError(
            first.path,
            f"is one of several candidates for the {what}: {names}",
            "keep only one of these files, use --derivatives to name a dataset that contains only "
            "one, or select one with --bids-filter-file",
        )
    _ = first.grid  # raises an InputError if the image is damaged
    return first


def _order(
    candidate: _Candidate, acquisition: Acquisition, grid: Grid
) -> tuple[bool, bool, int, bool]:
    """Return the key by which candidates are compared; the best candidate has the lowest key."""
    return (
        *_place(candidate.auxiliary, grid),
        candidate.rank,
        not _agrees(candidate.entities, acquisition),
    )


def _place(auxiliary: AuxiliaryImage, grid: Grid) -> tuple[bool, bool]:
    """Return the key by which grids and spaces are compared; the best has the lowest key."""
    return not _is_in_grid(auxiliary, grid), auxiliary.space != NATIVE


def _is_in_grid(auxiliary: AuxiliaryImage, grid: Grid) -> bool:
    """Whether an image is on a grid; False if the header of the image cannot be read."""
    try:
        return auxiliary.grid.matches(grid)
    except InputError:
        return False


def _agrees(entities: Mapping[str, str], acquisition: Acquisition) -> bool:
    """Whether the entities that occur in both a file and an acquisition have equal labels."""
    own = acquisition.entities
    return all(own.get(key, label) == label for key, label in entities.items())


def _segmentations(dataset: Path, subject: str, session: str | None) -> Iterator[_Candidate]:
    probabilities = defaultdict(list)
    for path, entities in _anatomical_files(dataset, subject, session):
        if entities["suffix"] == PROBABILITIES.suffix:
            rest = {key: value for key, value in entities.items() if key != "label"}
            probabilities[tuple(rest.items())].append((path, entities))
        elif source := source_of(entities):
            yield _labels(path, dataset, _space(entities), entities, source)
    for files in probabilities.values():
        candidate = _probability_candidate(files, dataset)
        if candidate is not None:
            yield candidate
    for source in SOURCES:
        if source.file is not None:
            for path, entities in _freesurfer_files(dataset, subject, session, source.file):
                yield _labels(path, dataset, NATIVE, entities, source)


def _labels(
    path: Path, dataset: Path, space: str, entities: Mapping[str, str], source: Source
) -> _Candidate:
    image = AuxiliaryImage((path,), dataset, "labels", space, source.numbering, source.regions)
    return _Candidate(image, entities, SOURCES.index(source))


def _region_segmentations(dataset: Path, subject: str, session: str | None) -> Iterator[_Candidate]:
    """Yield the segmentations into regions, ranked by the number of their regions."""
    for candidate in _segmentations(dataset, subject, session):
        image = candidate.auxiliary
        if image.regions and image.space == NATIVE:
            yield replace(candidate, rank=REGIONS.index(image.regions))


def _masks(dataset: Path, subject: str, session: str | None) -> Iterator[_Candidate]:
    """Yield brain masks; ``desc-brain`` ranks before ``label-brain``, then FreeSurfer's masks."""
    for candidate in _named_masks(dataset, subject, session):
        desc, label = (candidate.entities.get(key) for key in ("desc", "label"))
        if label == "brain" or (label is None and desc == "brain"):
            yield replace(candidate, rank=int(desc != "brain"))
    for rank, name in enumerate(_FREESURFER_MASKS, start=2):
        for path, entities in _freesurfer_files(dataset, subject, session, name):
            yield _Candidate(AuxiliaryImage((path,), dataset, "mask"), entities, rank)


def _named_masks(dataset: Path, subject: str, session: str | None) -> Iterator[_Candidate]:
    """Yield all images with the suffix ``mask``."""
    for path, entities in _anatomical_files(dataset, subject, session):
        if entities["suffix"] == "mask":
            image = AuxiliaryImage((path,), dataset, "mask", _space(entities))
            yield _Candidate(image, entities, 0)


def _names_lesion(entities: Mapping[str, str]) -> bool:
    """Whether the entities of a mask name a lesion."""
    return any(_LESION.fullmatch(entities.get(key, "")) for key in ("label", "desc"))


def _t1w_images(dataset: Path, subject: str, session: str | None) -> Iterator[_Candidate]:
    """Yield T1w images; 4-D images rank last, because their volumes are echoes, coils or parts."""
    for path, entities in _anatomical_files(dataset, subject, session):
        if entities["suffix"] == "T1w" and entities.get("part", "mag") == "mag":
            image = AuxiliaryImage((path,), dataset, "t1w")
            yield _Candidate(image, entities, int(_has_volumes(path)))


def _has_volumes(path: Path) -> bool:
    """Whether an image has several volumes; False if its header cannot be read."""
    try:
        return count_volumes(path) > 1
    except InputError:
        # if this image is chosen, it is read again, and the error is reported
        return False


def _preprocessed_t1w(dataset: Path, subject: str, session: str | None) -> Iterator[_Candidate]:
    """Yield the T1w images in the participant's own space, with skull."""
    for candidate in _t1w_images(dataset, subject, session):
        entities = candidate.entities
        if entities.get("desc") == "preproc" and _space(entities) == NATIVE:
            yield candidate


def _b1_maps(dataset: Path, acquisition: Acquisition) -> Iterator[_Candidate]:
    """Yield the ``|B1+|`` maps of the acquisition's participant and session."""
    for path, entities in _images(dataset, acquisition.subject, acquisition.session, "fmap"):
        if entities["suffix"] == "TB1map" and path.name.endswith(IMAGE_EXTENSIONS):
            space = entities.get("space", SCANNER)
            auxiliary = AuxiliaryImage(
                (path,), dataset, "b1", space if space == SCANNER else named_space(space)
            )
            yield _Candidate(auxiliary, entities, _b1_rank(auxiliary, acquisition))


def _b1_rank(auxiliary: AuxiliaryImage, acquisition: Acquisition) -> int:
    """Return the rank of a ``|B1+|`` map.

    The field ``IntendedFor`` contains paths relative to the participant's folder, or BIDS URIs.
    """
    try:
        intended = read_sidecar(auxiliary.path, auxiliary.dataset).get("IntendedFor")
    except InputError:
        # if this map is chosen, its unit is read later, and the error is reported
        return _B1_RANKS["unknown"]
    named = [intended] if isinstance(intended, str) else intended
    if not named or not isinstance(named, list):
        return _B1_RANKS["unknown"]
    # A BIDS URI has the form bids:DATASET:PATH.
    ends = tuple(f"/{str(one).rpartition(':')[2].removeprefix('./')}" for one in named)
    files = chain.from_iterable(echoes.values() for echoes in acquisition.files.values())
    ours = any(path.as_posix().endswith(ends) for path in chain.from_iterable(files))
    return _B1_RANKS["acquisition" if ours else "others"]


def _probability_candidate(
    files: Sequence[tuple[Path, Mapping[str, str]]], dataset: Path
) -> _Candidate | None:
    """Return one candidate for all probability maps of a segmentation.

    Return None if the maps do not include gray matter, white matter and cerebrospinal fluid.
    """
    by_label = {
        entities.get("label", ""): path
        for path, entities in files
        if tissue_of_abbreviation(entities.get("label", "")) is not None
    }
    if not by_label.keys() >= _TISSUES_NEEDED:
        return None
    entities = {key: value for key, value in files[0][1].items() if key != "label"}
    auxiliary = AuxiliaryImage(tuple(by_label.values()), dataset, "probabilities", _space(entities))
    return _Candidate(auxiliary, entities, SOURCES.index(PROBABILITIES))


def _space(entities: Mapping[str, str]) -> str:
    return named_space(entities.get("space", NATIVE))


def _anatomical_files(
    dataset: Path, subject: str, session: str | None
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the images in ``anat`` and their entities, including ``suffix``."""
    return _images(dataset, subject, session, "anat")


def _images(
    dataset: Path, subject: str, session: str | None, datatype: str
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the images in a datatype folder and their entities, including ``suffix``."""
    folders = [f"sub-{subject}"] if session is None else [f"sub-{subject}", f"ses-{session}"]
    # SynthSeg, for example, appends _synthseg to the name of its input.
    appended = {source.suffix for source in SOURCES}
    for path in sorted(visible(dataset.joinpath(*folders, datatype), "*")):
        if path.name.endswith(_EXTENSIONS):
            entities, suffix = parse_name(path.name)
            if suffix in appended:
                # The input's suffix is parsed as an entity without a label.
                entities = {key: value for key, value in entities.items() if value}
            yield path, {**entities, "suffix": suffix}


def _freesurfer_files(
    dataset: Path, subject: str, session: str | None, name: str
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the images with a name in FreeSurfer subject folders, and their entities."""
    folders = [f"sub-{subject}"]
    if session is not None:
        folders = [f"sub-{subject}_ses-{session}", f"sub-{subject}/ses-{session}"]
    for folder in folders:
        path = dataset / folder / "mri" / name
        if path.exists() or path.is_symlink():
            entities = {"sub": subject, "suffix": name.removesuffix(".mgz")}
            yield path, entities | ({"ses": session} if session else {})
