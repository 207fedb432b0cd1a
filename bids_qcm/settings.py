"""Settings of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from bids_qcm.physics import PhaseType, Sign
from bids_qcm.recon.forms import form_of
from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.methods import METHODS, TARGET_STD
from bids_qcm.recon.radii import is_automatic

InPlane = Literal["auto", "none", "i", "j", "k"]
AnalysisLevel = Literal["participant", "group"]
ImageChecks = Literal["stop", "warn"]
Coreg = Literal["auto", "header", "rigid"]

ACQUISITION_SPACE = "acq"
"""Output space of the maps that are always written: the grid of the phase."""

SHIPPED_TEMPLATE = "MNI152NLin2009aSym"
"""Template that nilearn contains, to which the app itself can register a T1w image."""


class Atlas(NamedTuple):
    """An atlas from the option ``--atlas``.

    Attributes
    ----------
    name : str
        Name in region tables.
    path : Path
        Label image.
    table : Path or None
        Label table.
    space : str or None
        Label of the space; None to take it from the file name.
    """

    name: str
    path: Path
    table: Path | None = None
    space: str | None = None


@dataclass(frozen=True)
class Settings:
    """Options of one run, as set on the command line.

    Attributes
    ----------
    bids_dir, output_dir, work_dir : Path
        Absolute paths.
    analysis_level : {"participant", "group"}
    command : str
        The full command line.
    config : str
        The options of the run as the text of a configuration file.
    participant_labels, session_labels : tuple of str
        Labels without ``sub-`` and ``ses-``; empty for all participants or sessions.
    bids_filters : mapping
        Entities that an acquisition must have, from ``--bids-filter-file``.
    derivatives : tuple of (str, Path)
        Names (possibly empty) and folders of derivative datasets with segmentations and masks.
        Datasets in ``bids_dir/derivatives`` are also used.
    segmentation : str
        ``auto`` for a segmentation from any derivative dataset, the name of a derivative dataset,
        ``t1w`` for tissue classes of a T1w image, or ``none``.
    mask : str
        ``auto`` for a brain mask if a mask exists or can be created, and otherwise for the voxels
        with signal; ``brain`` for a brain mask (an error is raised if there is none); ``signal``
        for the voxels with signal; or the name of a derivative dataset.
    lesions : str
        ``auto`` for the lesion masks of any dataset, the name of a dataset, or ``none``.
    b1 : str
        ``auto`` for a measured ``|B1+|`` map from any dataset or, without such a map, the
        ``|B1+|`` of a homogeneous body for heads at 1.5 T and above, both in inversions only;
        ``model`` for the ``|B1+|`` of a homogeneous body in all methods; ``none``; or the name of a
        dataset whose measured map is used in all methods.
    image_checks : {"stop", "warn"}
        Whether contradictory images stop the acquisition (``stop``) or cause a warning (``warn``).
    echoes : tuple of int, "all" or "auto"
        Numbers of the echoes to use; ``all`` echoes; or ``auto`` for all echoes whose phase is
        linear in echo time.
    average_runs : tuple of str
        Entities in which acquisitions that are averaged may differ; empty for no average.
    segmentation_filters, mask_filters, lesion_filters, b1_filters : mapping
        Entities that a segmentation or T1w image, a mask, a lesion mask, or a measured ``|B1+|``
        map must have, from ``--bids-filter-file``.
    label_table : Path or None
        The user's label table for all segmentations.
    atlases : tuple of Atlas
        Atlases for regional statistics, in addition to the segmentation.
    coreg : {"auto", "header", "rigid"}
        Alignment of the participant's anatomical images with the phase if no transform is
        available.
    output_spaces : tuple of str
        Spaces in which the maps are written: `ACQUISITION_SPACE`, ``T1w``, or labels of templates.
        The maps on the grid of the phase are always written.
    bids_database_dir : Path or None
        Folder for the pybids database.
    skip_bids_validation : bool
        Whether to continue without a valid ``dataset_description.json``.
    methods : tuple of str
        Names of the methods; empty for the default, which depends on whether there is a
        segmentation.
    fit_radius, integral_radius : tuple of 3 floats, or "auto", or None
        Radii in mm. None for the published optimum of each method, ``auto`` for radii that reach
        `target_std`.
    in_plane : {"auto", "none", "i", "j", "k"}
        Axis along which the phase is not differentiated. ``none`` to differentiate along all axes;
        ``auto`` to select the axis across the slices of a 2-D acquisition with few slices.
    target_std : float
        Target of automatic radii for the median noise standard deviation over the voxels, S/m.
    phase_type : {"transceive", "transmit"}
    sign : {"auto", "+", "-"}
    uncertainty : bool
        Whether to write noise standard deviations.
    phase_units : str or float
        As in :func:`bids_qcm.phase.recognise_units`.
    aggregated_sessions : int or None
        If a participant has more sessions than this number, a report for each session is written in
        addition to the report on all sessions. None for only the report on all sessions.
    group_by : str or None
        Column of ``participants.tsv`` or ``sessions.tsv`` whose groups the group level compares.
    covariates : tuple of str
        Columns of these tables whose effects the group level estimates.
    differences : bool
        Whether the group level writes the differences between repeated scans.
    reports_only : bool
        Whether to write only reports, from existing results.
    boilerplate_only : bool
        Whether to write only the methods text, from existing results.
    nprocs, omp_nthreads : int
        Number of parallel processes, and number of threads per process.
    memory_gb : float or None
        Memory limit for all nodes together, GB. None for nine tenths of the machine's memory.
    plugin_file : Path or None
        YAML file with a nipype plugin and its arguments, to replace MultiProc.
    slurm_dir : Path or None
        Folder for Slurm scripts. If set, only these scripts are written.
    slurm_arguments : tuple of str
        Command line that the Slurm scripts run for each participant, without the participant label.
    dry_run : bool
        Whether to print the plan and stop.
    stop_on_first_crash, clean_workdir, write_graph, resource_monitor : bool
    """

    bids_dir: Path
    output_dir: Path
    work_dir: Path
    analysis_level: AnalysisLevel = "participant"
    command: str = ""
    config: str = ""
    participant_labels: tuple[str, ...] = ()
    session_labels: tuple[str, ...] = ()
    bids_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    derivatives: tuple[tuple[str, Path], ...] = ()
    segmentation: str = "auto"
    mask: str = "auto"
    lesions: str = "auto"
    b1: str = "auto"
    image_checks: ImageChecks = "stop"
    echoes: tuple[int, ...] | Literal["all", "auto"] = "all"
    average_runs: tuple[str, ...] = ()
    segmentation_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    mask_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    lesion_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    b1_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    label_table: Path | None = None
    atlases: tuple[Atlas, ...] = ()
    coreg: Coreg = "auto"
    output_spaces: tuple[str, ...] = (ACQUISITION_SPACE,)
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    methods: tuple[str, ...] = ()
    fit_radius: Triple | Literal["auto"] | None = None
    integral_radius: Triple | Literal["auto"] | None = None
    in_plane: InPlane = "auto"
    target_std: float = TARGET_STD
    phase_type: PhaseType = "transceive"
    sign: Sign | Literal["auto"] = "auto"
    phase_units: str | float = "auto"
    uncertainty: bool = True
    aggregated_sessions: int | None = None
    group_by: str | None = None
    covariates: tuple[str, ...] = ()
    differences: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    nprocs: int = 1
    omp_nthreads: int = 1
    memory_gb: float | None = None
    plugin_file: Path | None = None
    slurm_dir: Path | None = None
    slurm_arguments: tuple[str, ...] = ()
    dry_run: bool = False
    stop_on_first_crash: bool = False
    clean_workdir: bool = False
    write_graph: bool = False
    resource_monitor: bool = False

    def needs_noise(self, method: str) -> bool:
        """Whether a method requires the noise level of the images."""
        chosen = METHODS[method]
        return (
            self.uncertainty
            or form_of(chosen).needs_noise
            or is_automatic(chosen, self.fit_radius, self.integral_radius)
        )

    def uses_b1(self, method: str) -> bool:
        """Whether a method uses ``|B1+|`` if it is known.

        With ``auto``, kernel methods are phase-only, as published, so that their maps can be
        compared with the literature.
        """
        if self.b1 == "auto":
            return form_of(METHODS[method]).uses_b1_by_default
        return self.b1 != "none"
