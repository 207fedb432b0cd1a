"""What a run was asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from bids_qcm.physics import PhaseType, Sign
from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.methods import METHODS, TARGET_STD
from bids_qcm.recon.radii import is_automatic

AnalysisLevel = Literal["participant", "group"]
ImageChecks = Literal["stop", "warn"]
Coreg = Literal["auto", "header", "rigid"]


@dataclass(frozen=True)
class Settings:
    """The options of one run, as the command line gives them.

    Attributes
    ----------
    bids_dir, output_dir, work_dir : Path
        Absolute.
    analysis_level : {"participant", "group"}
    command : str
        The command line.
    participant_labels, session_labels : tuple of str
        Without ``sub-`` and ``ses-``; empty for all.
    bids_filters : mapping
        From ``--bids-filter-file``: entities that an acquisition must have.
    derivatives : tuple of (str, Path)
        Names (may be empty) and folders of derivative datasets to take segmentations and masks
        from, besides those found under ``bids_dir/derivatives``.
    segmentation : str
        ``auto`` for that of any derivative dataset, the name of one, ``t1w`` for the tissue classes
        of a T1w image, or ``none``.
    mask : str
        ``auto`` for a brain mask where there is one or can be made, else the signal; ``brain`` for
        a brain mask or an error; ``signal``; or the name of a derivative dataset.
    b1 : str
        ``auto`` for inversions with the measured |B1+| map of any dataset, else with that of a
        homogeneous body where it helps; ``model`` for that of a homogeneous body, in all methods;
        ``none``; or the name of a dataset, for its measured map in all methods.
    image_checks : {"stop", "warn"}
        Whether images that cannot be right stop their acquisition, or are mapped with a warning.
    segmentation_filters, mask_filters, b1_filters : mapping
        From ``--bids-filter-file``: entities that a segmentation or T1w image, a mask, or a
        measured |B1+| map must have.
    label_table : Path or None
        The user's own label table, for all segmentations.
    coreg : {"auto", "header", "rigid"}
        How images of the participant's anatomy are brought to the phase where no transform is
        given.
    bids_database_dir : Path or None
        Where to keep pybids' index.
    skip_bids_validation : bool
        Go on without a valid ``dataset_description.json``.
    methods : tuple of str
        Empty for the default, which depends on whether there is a segmentation.
    fit_radius, integral_radius : tuple of 3 floats, or "auto", or None
        In mm; None for each method's published optimum, ``auto`` for radii by `target_std`.
    target_std : float
        Standard deviation in S/m that automatic radii give the median voxel.
    phase_type : {"transceive", "transmit"}
    sign : {"auto", "+", "-"}
    uncertainty : bool
        Whether to write standard deviations.
    phase_units : str or float
        As in :func:`bids_qcm.phase.recognise_units`.
    aggregated_sessions : int or None
        A participant with more sessions gets a report for each; None for never.
    reports_only : bool
        Write reports of what is there, and compute nothing.
    boilerplate_only : bool
        Write the methods text of what is there, and nothing else.
    nprocs, omp_nthreads : int
        Processes at once, and threads in each.
    memory_gb : float or None
        Limit of what nodes may use together; None for nine tenths of the machine's.
    plugin_file : Path or None
        YAML with nipype's plugin and its arguments, instead of MultiProc.
    slurm_dir : Path or None
        Where to write scripts for Slurm, instead of computing.
    slurm_arguments : tuple of str
        The command line that these scripts run for each participant, without naming one.
    dry_run : bool
        Whether to stop after the plan.
    stop_on_first_crash, clean_workdir, write_graph : bool
    """

    bids_dir: Path
    output_dir: Path
    work_dir: Path
    analysis_level: AnalysisLevel = "participant"
    command: str = ""
    participant_labels: tuple[str, ...] = ()
    session_labels: tuple[str, ...] = ()
    bids_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    derivatives: tuple[tuple[str, Path], ...] = ()
    segmentation: str = "auto"
    mask: str = "auto"
    b1: str = "auto"
    image_checks: ImageChecks = "stop"
    segmentation_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    mask_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    b1_filters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    label_table: Path | None = None
    coreg: Coreg = "auto"
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    methods: tuple[str, ...] = ()
    fit_radius: Triple | Literal["auto"] | None = None
    integral_radius: Triple | Literal["auto"] | None = None
    target_std: float = TARGET_STD
    phase_type: PhaseType = "transceive"
    sign: Sign | Literal["auto"] = "auto"
    phase_units: str | float = "auto"
    uncertainty: bool = True
    aggregated_sessions: int | None = None
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

    def needs_noise(self, method: str) -> bool:
        """Tell whether a method is given the noise of the images."""
        chosen = METHODS[method]
        return (
            self.uncertainty
            or chosen.form == "inversion"
            or is_automatic(chosen, self.fit_radius, self.integral_radius)
        )

    def uses_b1(self, method: str) -> bool:
        """Whether a method is given |B1+|, where it is known.

        With ``auto`` the kernel methods are phase-only, as published, so that their maps can be
        compared with the literature.
        """
        if self.b1 == "auto":
            return METHODS[method].form == "inversion"
        return self.b1 != "none"
