"""Table of the segmentations that other software writes: file names and label numbering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BIDS_LABELS = "bids_labels"
"""Built-in table with the BIDS common image-derived labels."""

FREESURFER_LABELS = "freesurfer_labels"
"""Built-in table with FreeSurfer's aseg and aparc+aseg labels; also for FastSurfer and SynthSeg."""

ANY_DESC = "*"


@dataclass(frozen=True)
class Source:
    """Segmentations that have the same kind of file name and the same label numbering.

    Attributes
    ----------
    name : str
    desc : str or None
        Label of the ``desc`` entity of files with the suffix ``dseg``: empty for files without
        ``desc``, `ANY_DESC` for all labels that no other source has, and None if the source has no
        such files.
    suffix : str or None
        Another suffix, with any ``desc``. It may follow the suffix of the segmented image, as in
        ``*_T1w_synthseg.nii.gz``.
    file : str or None
        File name in the folder ``mri`` of a FreeSurfer subject.
    numbering : str
        Name of the built-in label table, a TSV file in ``bids_qcm/data``. The label table of a
        dataset overrides only the built-in table `BIDS_LABELS`.
    regions : str
        Name of the segmentation in region tables, from `REGIONS`. Empty if the labels are tissues.
    undescribed : tuple of str
        Patterns of files that identify a dataset of the source, if its datasets have no
        ``dataset_description.json``.
    """

    name: str
    desc: str | None = None
    suffix: str | None = None
    file: str | None = None
    numbering: str = BIDS_LABELS
    regions: str = ""
    undescribed: tuple[str, ...] = ()


PROBABILITIES = Source("probability maps", suffix="probseg")

REGIONS = ("aparcaseg", "aparcasegDKT", "synthseg", "aseg")
"""Names of the segmentations into regions; the segmentation with the most regions is first."""

RESERVED_ATLASES = ("tissues", "lesions", *REGIONS)
"""Names in tables of regions that an atlas cannot have, because the app itself uses them."""

# FreeSurfer's and FastSurfer's own files with the name of their regions, best first.
_FREESURFER_FILES = {
    "aseg.mgz": "aseg",
    "aparc+aseg.mgz": "aparcaseg",
    "aparc.DKTatlas+aseg.mapped.mgz": "aparcasegDKT",
    "aparc.DKTatlas+aseg.mgz": "aparcasegDKT",
    "aparc.DKTatlas+aseg.deep.mgz": "aparcasegDKT",
    "aseg.auto_noCCseg.mgz": "aseg",
}

# Best first. In fMRIPrep's dseg without "desc" and in SynthSeg's segmentation, all fluid around the
# brain is labelled. In FreeSurfer's segmentation, only the ventricles are labelled.
SOURCES: Sequence[Source] = (
    Source("dseg without desc", desc=""),
    Source(
        "SynthSeg",
        desc="synthseg",
        suffix="synthseg",
        numbering=FREESURFER_LABELS,
        regions="synthseg",
        undescribed=("sub-*/**/*_synthseg.*",),
    ),
    Source("aseg", desc="aseg", numbering=FREESURFER_LABELS, regions="aseg"),
    Source("aparc+aseg", desc="aparcaseg", numbering=FREESURFER_LABELS, regions="aparcaseg"),
    Source("dseg with another desc", desc=ANY_DESC),
    PROBABILITIES,
    *(
        Source(
            f"FreeSurfer or FastSurfer, {file}",
            file=file,
            numbering=FREESURFER_LABELS,
            regions=regions,
            undescribed=("sub-*/mri/*aseg*.mgz", "sub-*/ses-*/mri/*aseg*.mgz"),
        )
        for file, regions in _FREESURFER_FILES.items()
    ),
)
"""Sources of segmentations, best first. A new source needs one row here and one label table."""


def source_of(entities: Mapping[str, str]) -> Source | None:
    """Return the source of a BIDS file by its entities, including ``suffix``.

    None if the file is not a segmentation.
    """
    suffix, desc = entities["suffix"], entities.get("desc", "")
    by_suffix = {source.suffix: source for source in SOURCES if source.suffix}
    if suffix != "dseg":
        return by_suffix.get(suffix)
    by_desc = {source.desc: source for source in SOURCES if source.desc is not None}
    return by_desc.get(desc) or by_desc[ANY_DESC]


def numberings() -> tuple[str, ...]:
    """Return the names of all built-in label tables; the BIDS common labels come last."""
    others = dict.fromkeys(source.numbering for source in SOURCES)
    others.pop(BIDS_LABELS)
    return (*others, BIDS_LABELS)
