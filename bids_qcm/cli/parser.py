"""Command-line parser of ``bids-qcm``."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from bids_qcm import __version__
from bids_qcm.bids.anatomy.sources import RESERVED_ATLASES
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.filters import check_filters
from bids_qcm.bids.privacy import shared_command
from bids_qcm.bids.readers import read_json_object
from bids_qcm.cli.config_file import format_options, read_options
from bids_qcm.cli.exits import Parser, existing_folder
from bids_qcm.physics import PhaseType
from bids_qcm.recon.kernels import Triple, as_triple
from bids_qcm.recon.methods import DEFAULT_METHODS, METHODS, PUBLISHED, TARGET_STD
from bids_qcm.settings import (
    ACQUISITION_SPACE,
    SHIPPED_TEMPLATE,
    AnalysisLevel,
    Atlas,
    Coreg,
    ImageChecks,
    InPlane,
    Settings,
)
from bids_qcm.workflows.machine import available_cores

_FILTER_KEYS = ("phase", "segmentation", "mask", "lesions", "b1")

# Options that only the group level uses.
_ONLY_GROUP_OPTIONS = ("group_by", "covariates", "differences")

# Options that the group level uses, and options of the execution, which change no result.
_GROUP_OPTIONS = (
    *_ONLY_GROUP_OPTIONS,
    *("participant_label", "work_dir", "config_file", "verbose"),
    *("nprocs", "omp_nthreads", "mem", "use_plugin"),
)

_EPILOG = """\
exit status: 0 everything was done; 1 an acquisition or method failed or was skipped; 2 all maps
were computed, but a report failed; 16 the dataset is invalid; 18 the participants or filters
select nothing; 64 usage error; 65 bad data; 66 no phase image; 70 internal error; 73 an output
cannot be written; 130 interrupted.
"""


def parse_settings(argv: Sequence[str] | None = None) -> tuple[Settings, int]:
    """Parse the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the command name. By default, the arguments of this process.

    Returns
    -------
    settings : Settings
        Settings of the run.
    verbosity : int
        Number of ``-v`` options.

    Raises
    ------
    SystemExit
        With status 0 after ``--help`` or ``--version``, and with status 64 after a usage error.
    """
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    config = _read_config(parser, argv)
    options = _parse(parser, argv, config)
    as_written = _without_conversion(build_parser())
    _refuse_ignored_options(parser, as_written.parse_args(argv))
    needs_raw_data = options.analysis_level == "participant" and not (
        options.reports_only or options.boilerplate_only
    )
    if needs_raw_data and not options.bids_dir.is_dir():
        parser.error(f"argument BIDS_DIR: {options.bids_dir} is not a folder")
    _refuse_pairs(parser, options)
    slurm_arguments: tuple[str, ...] = ()
    if options.write_slurm:
        # import here, because this module imports numerical libraries
        from bids_qcm.cli.slurm import task_arguments

        slurm_arguments = task_arguments(argv)
    settings = _settings_of(
        parser,
        options,
        command=_command(parser.prog, argv, options),
        config=format_options(parser._actions, _parse(as_written, argv, config)),
        slurm_arguments=slurm_arguments,
    )
    if needs_raw_data:
        _check_folders(parser, settings)
    return settings, options.verbose


def _settings_of(
    parser: Parser,
    options: argparse.Namespace,
    *,
    command: str,
    config: str,
    slurm_arguments: tuple[str, ...],
) -> Settings:
    """Return the settings of a run from its options."""
    filters = dict(options.bids_filter_file.get("phase", {}))
    listed = filters.pop("echo", None)
    nprocs = options.nprocs or available_cores()
    return Settings(
        bids_dir=options.bids_dir.resolve(),
        output_dir=options.output_dir.resolve(),
        analysis_level=options.analysis_level,
        command=command,
        config=config,
        work_dir=options.work_dir.resolve(),
        participant_labels=tuple(options.participant_label),
        session_labels=tuple(options.session_label),
        bids_filters=filters,
        echoes=_echoes(parser, options.echoes, listed),
        average_runs=_averaged(options.average_runs),
        derivatives=tuple(options.derivatives),
        segmentation=options.segmentation,
        mask=options.mask,
        lesions=options.lesions,
        b1=options.b1,
        image_checks=options.image_checks,
        segmentation_filters=options.bids_filter_file.get("segmentation", {}),
        mask_filters=options.bids_filter_file.get("mask", {}),
        lesion_filters=options.bids_filter_file.get("lesions", {}),
        b1_filters=options.bids_filter_file.get("b1", {}),
        label_table=options.label_table and options.label_table.resolve(),
        atlases=_atlases(parser, options.atlas),
        coreg=options.coreg,
        output_spaces=tuple(dict.fromkeys(options.output_spaces)),
        bids_database_dir=options.bids_database_dir,
        skip_bids_validation=options.skip_bids_validation,
        methods=_expand(options.method),
        fit_radius=_radius(parser, options.fit_radius, "--fit-radius"),
        integral_radius=_radius(parser, options.integral_radius, "--integral-radius"),
        in_plane=options.in_plane,
        target_std=options.target_std,
        phase_type=options.phase_type,
        sign=options.sign,
        phase_units=options.phase_units,
        uncertainty=options.uncertainty,
        aggregated_sessions=options.aggregate_session_reports,
        group_by=options.group_by,
        covariates=tuple(options.covariates),
        differences=options.differences,
        reports_only=options.reports_only,
        boilerplate_only=options.boilerplate_only,
        nprocs=nprocs,
        omp_nthreads=min(options.omp_nthreads or 8, nprocs),
        memory_gb=options.mem,
        plugin_file=options.use_plugin,
        slurm_dir=options.write_slurm and options.write_slurm.resolve(),
        slurm_arguments=slurm_arguments,
        dry_run=options.dry_run,
        stop_on_first_crash=options.stop_on_first_crash,
        clean_workdir=options.clean_workdir,
        write_graph=options.write_graph,
        resource_monitor=options.resource_monitor,
    )


def _read_config(parser: Parser, argv: Sequence[str]) -> tuple[Path, list[str]] | None:
    """Return the path and the options of the configuration file; None without a file."""
    file = parser.parse_args(argv).config_file
    if file is None:
        return None
    try:
        return file, read_options(file)
    except InputError as error:
        parser.error(f"argument --config-file: {error}")


def _parse(
    parser: Parser, argv: Sequence[str], config: tuple[Path, list[str]] | None
) -> argparse.Namespace:
    """Parse the configuration file and then the command line, which overrides its options."""
    if config is None:
        return parser.parse_args(argv)
    return parser.parse_args(argv, _OptionsParser(parser, config[0]).parse_args(config[1]))


class _OptionsParser(Parser):
    """Parser of a configuration file, with the same options as another parser."""

    def __init__(self, parser: Parser, file: Path) -> None:
        super().__init__(prog=parser.prog, usage=parser.usage, add_help=False)
        self._file = file
        for action in parser._actions:
            if action.option_strings and action.default != argparse.SUPPRESS:
                self._add_action(action)

    def error(self, message: str) -> NoReturn:
        """Print the usage and an error message that names the file, and exit with status 64."""
        super().error(f"argument --config-file: {self._file}: {message}")


def _without_conversion(parser: Parser) -> Parser:
    """Change a parser so that it returns the values of options as the user wrote them."""
    for action in parser._actions:
        action.type = None
    return parser


def _refuse_ignored_options(parser: Parser, given: argparse.Namespace) -> None:
    """Raise a usage error for an option on the command line that the level ignores."""
    for action in parser._actions:
        flag = next(iter(action.option_strings), None)
        if flag is None or getattr(given, action.dest, action.default) == action.default:
            continue
        if given.analysis_level == "group" and action.dest not in _GROUP_OPTIONS:
            parser.error(
                f"argument {flag}: the group level combines the maps in OUTPUT_DIR and does not "
                "use this option; omit the option"
            )
        if given.analysis_level == "participant" and action.dest in _ONLY_GROUP_OPTIONS:
            parser.error(
                f"argument {flag}: only the group level compares participants; use this option at "
                "the group level"
            )


def _refuse_pairs(parser: Parser, options: argparse.Namespace) -> None:
    """Raise a usage error for two options that contradict each other."""
    for name in ("write_slurm", "reports_only", "boilerplate_only"):
        if options.dry_run and getattr(options, name):
            flag = name.replace("_", "-")
            parser.error(
                f"argument --dry-run: not allowed with --{flag}, which computes no maps either"
            )
    if options.resource_monitor and options.use_plugin:
        parser.error(
            "argument --resource-monitor: not allowed with --use-plugin, because only the default "
            "plugin measures its steps"
        )


def _command(program: str, argv: Sequence[str], options: argparse.Namespace) -> str:
    """Return the command line as it is written to records and reports."""
    places = {
        options.work_dir: "WORK_DIR",
        options.output_dir: "OUTPUT_DIR",
        options.bids_dir: "BIDS_DIR",
    }
    return shared_command(program, argv, places)


def build_parser() -> Parser:
    """Build the parser. Options in common with fMRIPrep have the same names as in fMRIPrep."""
    parser = Parser(
        prog="bids-qcm",
        description="Compute conductivity maps (S/m) from the MRI phase images of a BIDS dataset.",
        epilog=_EPILOG,
        usage="%(prog)s BIDS_DIR OUTPUT_DIR {participant,group} [options]",
    )
    add = parser.add_argument
    add(
        "bids_dir",
        type=Path,
        metavar="BIDS_DIR",
        help="root folder of the BIDS dataset; the group level reads only participants.tsv and "
        "sessions.tsv, if they exist",
    )
    add("output_dir", type=Path, metavar="OUTPUT_DIR", help="folder of the derivative dataset")
    add(
        "analysis_level",
        choices=get_args(AnalysisLevel),
        help="participant: map conductivity; group: compile the statistics of all maps in "
        "OUTPUT_DIR into tables and a web page, and compare groups",
    )
    add("--version", action="version", version=f"bids-qcm {__version__}")
    add(
        "--config-file",
        type=_file,
        metavar="FILE",
        help='TOML file with options, such as method = ["integral-mag"]; options on the command '
        "line take precedence; every run writes such a file to OUTPUT_DIR/logs",
    )
    add("-v", "--verbose", action="count", default=0, help="log each step of each nipype node")
    _add_selection(parser.add_argument_group("data selection"))
    _add_segmentation(parser.add_argument_group("segmentation and masks"))
    _add_spaces(parser.add_argument_group("output spaces"))
    _add_method(parser.add_argument_group("reconstruction"))
    _add_reports(parser.add_argument_group("reports"))
    _add_group(parser.add_argument_group("group level"))
    _add_resources(parser.add_argument_group("execution"))
    return parser


def _add_selection(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--participant-label",
        nargs="+",
        default=[],
        type=lambda label: label.removeprefix("sub-"),
        metavar="LABEL",
        help="participant labels, with or without the prefix sub- (default: all)",
    )
    add(
        "--session-label",
        nargs="+",
        default=[],
        type=lambda label: label.removeprefix("ses-"),
        metavar="LABEL",
        help="session labels, with or without the prefix ses- (default: all)",
    )
    add(
        "--echoes",
        nargs="+",
        type=_echo,
        metavar="{all,auto,N}",
        help="echoes to use: all; auto, which omits echoes whose phase is not linear in echo time; "
        "or the numbers of the echoes, such as 1 2 3 (default: all)",
    )
    add(
        "--average-runs",
        nargs="*",
        choices=["run", "dir", "acq"],
        metavar="{run,dir,acq}",
        help="average, as complex images, the acquisitions that differ only in these entities: run "
        "for repetitions; dir or acq for readouts of opposite polarity (default: no averaging; "
        "without a value: run)",
    )
    add(
        "--bids-filter-file",
        type=_filters,
        default={},
        metavar="FILE",
        help='JSON file that selects images by their entities: {"phase": {"suffix": "MEGRE", '
        '"acquisition": ["a", "b"]}}; the key "segmentation" selects segmentations and T1w '
        'images, "mask" selects brain masks, "lesions" selects lesion masks, and "b1" selects '
        "|B1+| maps",
    )
    add(
        "-d",
        "--derivatives",
        nargs="+",
        default=[],
        type=_derivative,
        metavar="[NAME=]PATH",
        help="derivative datasets to search first for segmentations, brain masks and |B1+| maps, "
        "such as datasets written by fMRIPrep, sMRIPrep, FreeSurfer, FastSurfer, SynthSeg or "
        "other software that writes *_dseg or *_TB1map files; datasets in BIDS_DIR/derivatives "
        "are always searched",
    )
    add(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="folder in which pybids keeps its index of the dataset for later runs; delete the "
        "folder when the dataset changes",
    )
    add(
        "--skip-bids-validation",
        action="store_true",
        help="run without a valid dataset_description.json",
    )


def _add_segmentation(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--segmentation",
        default="auto",
        metavar="{auto,t1w,none,NAME}",
        help="segmentation to use: auto, from any derivative dataset; NAME, from the derivative "
        "dataset with this name; t1w, tissue classes of the T1w image, with low confidence; none, "
        "no segmentation (default: auto)",
    )
    add(
        "--mask",
        default="auto",
        metavar="{auto,brain,signal,NAME}",
        help="mask in which to map conductivity: auto, the brain mask of any derivative dataset, "
        "otherwise a brain mask made from the T1w image or the magnitude, otherwise all voxels "
        "with signal; brain, like auto, but with an error instead of all voxels with signal; "
        "signal, all voxels with signal; NAME, the brain mask of the derivative dataset with this "
        "name (default: auto)",
    )
    add(
        "--lesions",
        default="auto",
        metavar="{auto,none,NAME}",
        help="lesion masks (label-lesion_mask, desc-lesion_mask or *_roi), whose lesions become "
        "separate regions: auto, from any derivative dataset, otherwise from BIDS_DIR; raw, from "
        "BIDS_DIR; NAME, from the derivative dataset with this name; none, no lesion masks "
        "(default: auto)",
    )
    add(
        "--label-table",
        type=_file,
        metavar="FILE",
        help="TSV file that defines segmentation labels, with the columns index, name and tissue; "
        "tissues are CSF, GM, WM, SGM and other (default: the table in the dataset, or the known "
        "labels of the segmentation software)",
    )
    add(
        "--atlas",
        nargs="+",
        action="extend",
        type=_atlas,
        default=[],
        metavar="NAME[@SPACE]=FILE[:TABLE]",
        help="label images in the T1w space or in a template space; statistics are computed for "
        "their regions; TABLE is a TSV file with the columns index and name; without SPACE, the "
        'space is taken from the entity "space" or "tpl" of the file name',
    )
    add(
        "--coreg",
        choices=get_args(Coreg),
        default="auto",
        help="alignment of an anatomical segmentation with the phase if no transform is available: "
        "header, the coordinates in the headers; rigid, rigid registration of the anatomical image "
        "to the magnitude; auto, the better of the two (default: auto)",
    )


def _add_spaces(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--output-spaces",
        nargs="+",
        type=_space,
        default=[ACQUISITION_SPACE],
        metavar="SPACE",
        help=f"spaces of the maps: {ACQUISITION_SPACE}, the grid of the phase, which is always "
        "written; T1w, the grid of the participant's T1w image; or the label of a template, such "
        "as MNI152NLin2009cAsym, to which a derivative dataset has a transform "
        f"(from-T1w_to-LABEL_mode-image_xfm.h5); if there is no transform to {SHIPPED_TEMPLATE}, "
        f"the app registers the T1w image to this template (default: {ACQUISITION_SPACE})",
    )


def _add_method(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--method",
        nargs="+",
        default=[],
        choices=[*METHODS, "all"],
        metavar="METHOD",
        help=f"one or more of {', '.join(METHODS)}; the value all selects the ten published "
        f"methods (default: {' and '.join(DEFAULT_METHODS[True])} with a segmentation, otherwise "
        f"{' and '.join(DEFAULT_METHODS[False])})",
    )
    for name in ("fit", "integral"):
        add(
            f"--{name}-radius",
            nargs="+",
            type=_radius_number,
            metavar="MM",
            help=f"{name} radius in mm for all methods that use this radius: one number or three "
            "(x y z); 0 on one axis selects an in-plane kernel; auto selects the smallest radius "
            "that meets --target-std (default: the published optimum of each method)",
        )
    add(
        "--in-plane",
        choices=get_args(InPlane),
        default="auto",
        help="axis across the slices (i, j or k) along which the phase is not differentiated, for "
        "2-D acquisitions whose slices have different phase offsets; none: the phase is "
        "differentiated along all axes; auto: none, unless a 2-D acquisition has fewer than 5 "
        "slices. The conductivity of in-plane maps is too low (default: %(default)s)",
    )
    add(
        "--target-std",
        type=_positive,
        default=TARGET_STD,
        metavar="S_PER_M",
        help="target for automatic radii: median noise standard deviation over the voxels, in S/m "
        "(default: %(default)s)",
    )
    add(
        "--phase-type",
        choices=get_args(PhaseType),
        default="transceive",
        help="phase type of the images: transceive, as scanners write it, or transmit, if the "
        "phase has already been halved (default: %(default)s)",
    )
    add(
        "--sign",
        "--phase-sign",
        choices=["auto", "+", "-"],
        default="auto",
        help="sign of the phase; auto chooses the sign that makes the median conductivity positive "
        "(default: auto)",
    )
    add(
        "--phase-units",
        type=_phase_units,
        default="auto",
        metavar="UNITS",
        help="unit of the phase images: auto, rad, mrad, or the number of units per cycle, such "
        "as 4096; auto uses the Units field and the value range (default: auto)",
    )
    add(
        "--b1",
        default="auto",
        metavar="{auto,model,none,NAME}",
        help="transmit field magnitude |B1+|. For the inversions only: auto, a measured map "
        "(fmap/*_TB1map) of the same session or, without such a map, the modelled field of a "
        "homogeneous body with the outline of the head (for heads at 1.5 T and above). For all "
        "methods: model, the modelled field; NAME, the measured map of the derivative dataset with "
        "this name; raw, the measured map in BIDS_DIR; none, a constant |B1+| (default: auto)",
    )
    add(
        "--image-checks",
        choices=get_args(ImageChecks),
        default="stop",
        help="action for an image that is certainly wrong, such as a magnitude with negative "
        "values: stop, skip the acquisition with an error; warn, compute the map with a warning "
        "(default: stop)",
    )
    add(
        "--no-uncertainty",
        dest="uncertainty",
        action="store_false",
        help="do not compute noise standard deviation maps (*_condstd), which take most of the "
        "computation time of integral methods",
    )


def _add_reports(group: argparse._ArgumentGroup) -> None:
    only = group.add_mutually_exclusive_group()
    only.add_argument(
        "--reports-only",
        action="store_true",
        help="compute no maps; write the participant reports again from the files in OUTPUT_DIR",
    )
    only.add_argument(
        "--boilerplate-only",
        action="store_true",
        help="compute no maps; write OUTPUT_DIR/logs/CITATION.{md,html,bib} for all maps in "
        "OUTPUT_DIR, including maps from earlier runs",
    )
    group.add_argument(
        "--aggregate-session-reports",
        type=_positive_int,
        metavar="N",
        help="also write one report per session for participants with more than N sessions "
        "(default: only one report per participant)",
    )


def _add_group(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--group-by",
        metavar="COLUMN",
        help="column of participants.tsv or sessions.tsv whose groups are compared in each "
        "region; the first group in numerical or alphabetical order is the reference",
    )
    group.add_argument(
        "--covariates",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns of participants.tsv or sessions.tsv, such as age, whose effects are "
        "estimated in each region, jointly with the group differences",
    )
    group.add_argument(
        "--differences",
        action="store_true",
        help="align the repeated scans of each participant, and write maps of the difference "
        "between each later scan and the first scan, divided by the noise standard deviation of "
        "the difference",
    )


def _add_resources(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--nprocs",
        "--nthreads",
        "--n-cpus",
        type=_positive_int,
        metavar="N",
        help="number of threads that may run at the same time (default: the number of cores)",
    )
    add(
        "--omp-nthreads",
        type=_positive_int,
        metavar="N",
        help="number of threads in each process, at most --nprocs (default: --nprocs, at most 8)",
    )
    add(
        "--mem",
        "--mem-mb",
        type=_gigabytes,
        metavar="SIZE",
        help="maximum memory: a number with the unit K, M, G or T, or a number of megabytes "
        "without a unit (default: 90 %% of the memory of the machine)",
    )
    add(
        "-w",
        "--work-dir",
        type=Path,
        default=Path("work"),
        metavar="DIR",
        help="folder for intermediate results, which a later run reuses (default: ./work)",
    )
    add(
        "--clean-workdir",
        action="store_true",
        help="first delete the intermediate results of these acquisitions from the work directory",
    )
    add(
        "--use-plugin",
        "--nipype-plugin-file",
        type=_file,
        metavar="FILE",
        help="YAML file with a nipype plugin and its plugin_args, used instead of MultiProc",
    )
    add(
        "--write-slurm",
        type=Path,
        metavar="DIR",
        help="compute no maps; write scripts to DIR that run all participants as a Slurm job "
        "array and then the group level; each task requests --omp-nthreads cores, and the "
        "estimated memory and time for one participant",
    )
    add("--dry-run", action="store_true", help="print the plan and exit")
    add("--stop-on-first-crash", action="store_true", help="stop the run at the first failure")
    add("--write-graph", action="store_true", help="write the workflow graph to logs/")
    add(
        "--resource-monitor",
        action="store_true",
        help="write the processor time and the peak memory of each step, with their estimates, to "
        "logs/",
    )


def _in_raw_data(folder: Path, bids_dir: Path) -> bool:
    """Whether a folder lies in the dataset, but not in its ``derivatives`` folder."""
    return folder.is_relative_to(bids_dir) and not folder.is_relative_to(bids_dir / "derivatives")


def _check_folders(parser: argparse.ArgumentParser, settings: Settings) -> None:
    """Raise a usage error if a folder cannot be written because of its place or name."""
    if _in_raw_data(settings.output_dir, settings.bids_dir):
        parser.error(
            "OUTPUT_DIR is inside the raw data of BIDS_DIR; choose another folder, such as "
            f"{settings.bids_dir / 'derivatives' / 'bids_qcm'}"
        )
    work_dir = settings.work_dir
    if set("[]*?") & set(str(work_dir)):
        parser.error(
            f"argument --work-dir: {work_dir} contains one of the characters [ ] * ?, which nipype "
            "reads as a file pattern; choose another folder"
        )
    if work_dir.is_relative_to(settings.bids_dir):
        parser.error(
            f"argument --work-dir: {work_dir} is inside BIDS_DIR; choose another folder, such as "
            f"{settings.bids_dir.with_name('work')}"
        )
    if work_dir == settings.output_dir:
        parser.error(
            f"argument --work-dir: {work_dir} is also OUTPUT_DIR; choose another folder, such as "
            f"{settings.output_dir.with_name('work')}"
        )


def _echoes(
    parser: argparse.ArgumentParser,
    given: list[int | str] | None,
    listed: Any,  # noqa: ANN401
) -> tuple[int, ...] | Literal["all", "auto"]:
    """Return the echoes to use, from the option or from the filter file."""
    if listed is not None:
        if given is not None:
            parser.error('argument --echoes: not allowed with "echo" in --bids-filter-file')
        given = listed if isinstance(listed, list) else [listed]
        try:
            given = [_echo(str(one)) for one in given]
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument --bids-filter-file: echo: {error}")
    if given is None or given == ["all"]:
        return "all"
    if given == ["auto"]:
        return "auto"
    numbers = [one for one in given if not isinstance(one, str)]
    if not numbers or len(numbers) < len(given):
        parser.error("--echoes takes all, auto or echo numbers")
    return tuple(sorted(set(numbers)))


def _averaged(entities: list[str] | None) -> tuple[str, ...]:
    return () if entities is None else tuple(sorted(set(entities))) or ("run",)


def _echo(text: str) -> int | str:
    if text in ("all", "auto"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not an echo number, all or auto")
    return int(text)


def _expand(methods: Sequence[str]) -> tuple[str, ...]:
    expanded = chain.from_iterable(PUBLISHED if name == "all" else [name] for name in methods)
    return tuple(dict.fromkeys(expanded))


def _radius(
    parser: argparse.ArgumentParser, numbers: list[float | Literal["auto"]] | None, flag: str
) -> Triple | Literal["auto"] | None:
    if numbers is None:
        return None
    if numbers == ["auto"]:
        return "auto"
    radii = [one for one in numbers if not isinstance(one, str)]
    if len(radii) < len(numbers):
        parser.error(f"{flag} takes auto, or one or three numbers in mm")
    try:
        return as_triple(radii, flag)
    except ValueError as error:
        parser.error(str(error))


def _radius_number(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is neither a number (in mm) nor auto") from error


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path


def _derivative(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or Path(text).is_dir():
        return "", existing_folder(text).resolve()
    return name, existing_folder(path).resolve()


def _atlas(text: str) -> Atlas:
    named, equals, files = text.partition("=")
    name, at, space = named.partition("@")
    labels = [name, *([space] if at else [])]
    if not equals or not all(one.isascii() and one.isalnum() for one in labels):
        raise argparse.ArgumentTypeError(
            f"{text} is not an atlas; use NAME=FILE, NAME=FILE:TABLE or NAME@SPACE=FILE; NAME and "
            "SPACE may contain only letters and digits"
        )
    if name in RESERVED_ATLASES:
        raise argparse.ArgumentTypeError(
            f"{text} has a name that the app itself uses in tables of regions; choose a NAME other "
            f"than {', '.join(RESERVED_ATLASES)}"
        )
    image, colon, table = files.rpartition(":")
    if not (colon and table.endswith(".tsv")):
        image, table = files, ""
    return Atlas(
        name, _file(image).resolve(), _file(table).resolve() if table else None, space or None
    )


def _atlases(parser: argparse.ArgumentParser, atlases: Sequence[Atlas]) -> tuple[Atlas, ...]:
    """Return the atlases; only atlases of different participants may have the same name."""
    given = Counter((atlas.name, atlas.path) for atlas in atlases)
    for (name, path), n in given.items():
        if n > 1:
            parser.error(f"argument --atlas: {name}={path} is given {n} times; give it once")
    return tuple(atlases)


def _filters(text: str) -> dict[str, dict[str, Any]]:
    try:
        content = read_json_object(_file(text))
        unknown = set(content) - set(_FILTER_KEYS)
        if unknown or not content:
            raise KeyError(*sorted(unknown))
        for key, filters in content.items():
            check_filters(filters, key)
        if "part" in content.get("phase", ()):
            raise argparse.ArgumentTypeError(
                f'{text} selects the phase by "part", but an acquisition always includes all its '
                'parts; remove "part" from the key "phase"'
            )
        return content
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise argparse.ArgumentTypeError(
            f"{text} must contain a JSON object with one or more of the keys "
            f"{', '.join(_FILTER_KEYS)} ({error!r})"
        ) from error


def _phase_units(text: str) -> str | float:
    return text if text in ("auto", "rad", "mrad") else _positive(text)


def _space(text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise argparse.ArgumentTypeError(
            f"{text} is not a space label; use only letters and digits, such as {SHIPPED_TEMPLATE}"
        )
    return text


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _gigabytes(text: str) -> float:
    units = {"K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3}
    number = text.upper().removesuffix("B")
    factor = units.get(number[-1:])
    return _positive(number if factor is None else number[:-1]) * (factor or units["M"])


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return number
