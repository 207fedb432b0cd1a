"""Command ``bids-qcm-phantom``: write phantoms as BIDS datasets, and score their maps."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.files import visible
from bids_qcm.cli.exits import ExitStatus, Parser, existing_folder, status_of
from bids_qcm.phantom.parameters import (
    FORWARD_MODELS,
    PHASE_SCALINGS,
    RECEIVE_COILS,
    SPIN_ECHO_TIME,
    PhantomParameters,
    StudyParameters,
    scan_parameters,
)

_PROGRAM = "bids-qcm-phantom"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the command name. By default, the arguments of this process.

    Returns
    -------
    int
        An :class:`~bids_qcm.cli.exits.ExitStatus`.

    Raises
    ------
    SystemExit
        With status 0 after ``--help``, and with status 64 after a usage error.
    """
    arguments = build_parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        return status
    except InputError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return status_of(error)
    except OSError as error:
        print(f"{_PROGRAM}: error: cannot write: {error}", file=sys.stderr)
        return ExitStatus.CANNOT_WRITE


def _create(arguments: argparse.Namespace) -> ExitStatus:
    if arguments.participants < 1:
        arguments.fail(f"--participants must be at least 1, not {arguments.participants}")
    _check_lesions(arguments)
    _check_study(arguments)
    try:
        parameters = _parameters(arguments)
        study = _study_parameters(arguments)
        if study is not None:
            # the last scan has the most extreme lesion conductivity
            scan_parameters(parameters, study, study.participants - 1, study.sessions - 1)
    except ValueError as error:
        arguments.fail(str(error))
    _make_empty_folder(arguments.out)
    if parameters.forward_model == "full-wave":
        print("Solving Maxwell's equations takes several minutes, unless the fields are cached.")
    # import here, so that --help does not load the numerical libraries
    if study is None:
        from bids_qcm.bids.phantom.dataset import write_phantom_dataset

        write_phantom_dataset(arguments.out, parameters, arguments.participants)
    else:
        from bids_qcm.bids.phantom.study import write_study_dataset

        write_study_dataset(arguments.out, parameters, study)
    _print_next_step(arguments.out, parameters.phase_scaling, is_study=study is not None)
    return ExitStatus.DONE


def _score(arguments: argparse.Namespace) -> ExitStatus:
    # resolve the path, because the path . has no name to which -score can be appended
    derivatives = arguments.derivatives.resolve()
    output_dir = arguments.output_dir or derivatives.with_name(f"{derivatives.name}-score")
    from bids_qcm.cli.score import score_maps

    return score_maps(
        arguments.out.resolve(), derivatives, output_dir.resolve(), arguments.participant_label
    )


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with its subcommands ``create`` and ``score``."""
    parser = Parser(
        prog=_PROGRAM, description="Numerical head phantoms whose conductivity is known."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    create = commands.add_parser(
        "create",
        help="write a phantom as a BIDS dataset",
        description="Write magnitude and phase images of a numerical head as a BIDS dataset. Write "
        "its segmentation, brain mask and true conductivity as a derivative dataset inside the "
        "BIDS dataset.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_create_options(create)
    create.set_defaults(run=_create, fail=create.error)
    score = commands.add_parser(
        "score",
        help="compare conductivity maps with the truth",
        description="Compare every conductivity map (*_condmap.nii.gz) of a derivative dataset "
        "with the true conductivity of its phantom, and write tables (TSV) and figures.",
    )
    _add_score_options(score)
    score.set_defaults(run=_score)
    return parser


def _add_score_options(score: argparse.ArgumentParser) -> None:
    add = score.add_argument
    add(
        "out",
        type=existing_folder,
        metavar="OUT",
        help="phantom dataset written by `bids-qcm-phantom create`",
    )
    add(
        "derivatives",
        type=existing_folder,
        metavar="DERIVATIVES",
        help="derivative dataset with the maps",
    )
    add(
        "-o",
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="folder for the tables and figures (default: DERIVATIVES-score, next to DERIVATIVES)",
    )
    add(
        "--participant-label",
        nargs="+",
        default=[],
        type=lambda label: label.removeprefix("sub-"),
        metavar="LABEL",
        help="participant labels, with or without the prefix sub- (default: all)",
    )


def _add_create_options(create: argparse.ArgumentParser) -> None:
    default = PhantomParameters()
    create.add_argument("out", type=Path, metavar="OUT", help="new or empty folder for the dataset")
    create.add_argument(
        "--participants",
        type=int,
        metavar="N",
        default=1,
        help="number of participants; all have the same head, except in a study",
    )
    _add_study_options(create.add_argument_group("study"))
    _add_head_options(create.add_argument_group("head"), default)
    _add_scanner_options(create.add_argument_group("scanner"), default)


def _add_study_options(group: argparse._ArgumentGroup) -> None:
    default = StudyParameters()
    add = group.add_argument
    add(
        "--sessions",
        type=int,
        metavar="M",
        default=argparse.SUPPRESS,
        help="write a study with M sessions for each participant: controls and patients with "
        "different anatomies, conductivities and head positions; only patients have the tumour of "
        "--lesion",
    )
    add(
        "--group-effect",
        type=float,
        metavar="FRACTION",
        default=default.group_effect,
        help="relative difference in white-matter conductivity between patients and controls",
    )
    add(
        "--subject-sd",
        type=float,
        metavar="FRACTION",
        default=default.subject_sd,
        help="between-participant standard deviation of the conductivity in each brain tissue, "
        "divided by the mean",
    )
    add(
        "--lesion-change",
        type=float,
        metavar="FRACTION",
        default=default.lesion_change,
        help="relative change in tumour conductivity from each session to the next",
    )
    add(
        "--deformation",
        type=float,
        metavar="MM",
        default=default.deformation,
        help="standard deviation of the anatomical displacement along each axis, mm",
    )
    add(
        "--movement",
        type=float,
        metavar="MM",
        default=default.movement,
        help="maximum translation (mm) and rotation (degrees) of the head along and about each "
        "axis, between the first session and each later session",
    )


def _add_head_options(group: argparse._ArgumentGroup, default: PhantomParameters) -> None:
    add = group.add_argument
    add("--resolution", type=float, metavar="MM", default=default.resolution, help="voxel size, mm")
    add("--field-strength", type=float, metavar="T", default=default.field_strength, help="B0, T")
    add(
        "--forward-model",
        choices=FORWARD_MODELS,
        default=default.forward_model,
        help="equation from which the phase is computed: div(grad(phase) / conductivity); "
        "laplacian(phase), which ignores tissue boundaries; or Maxwell's equations in a birdcage "
        "coil, which also yield the shading of the magnitude and a |B1+| map (takes minutes; the "
        "fields are cached in ~/.cache/bids_qcm)",
    )
    add(
        "--receive",
        choices=RECEIVE_COILS,
        default=default.receive,
        help="receive coil of the full-wave model: the birdcage coil, or an array of surface coils "
        "whose signals are added after their relative phases have been removed",
    )
    add("--lesion", action="store_true", help="add a tumour in the white matter")
    add(
        "--lesion-diameter",
        type=float,
        metavar="MM",
        default=default.lesion_diameter,
        help="diameter of the tumour, mm",
    )
    add(
        "--lesion-conductivity",
        type=float,
        metavar="S/M",
        default=default.lesion_conductivity,
        help="conductivity of the tumour and the small lesions, S/m",
    )
    add(
        "--small-lesions",
        action="store_true",
        help="add lesions of 4 to 16 mm diameter, which the segmentation does not contain",
    )
    add(
        "--tissue-variation",
        type=float,
        metavar="FRACTION",
        default=default.tissue_variation,
        help="standard deviation of the conductivity within each tissue, divided by its mean",
    )
    add(
        "--anatomy-seed",
        type=int,
        metavar="N",
        default=default.anatomy_seed,
        help="random seed for the positions of small lesions and the tissue variation",
    )


def _add_scanner_options(group: argparse._ArgumentGroup, default: PhantomParameters) -> None:
    add = group.add_argument
    add(
        "--snr",
        type=float,
        metavar="S",
        default=default.snr,
        help="mean magnitude of the first echo in the brain, divided by the noise standard "
        "deviation in each of the real and imaginary channels; inf for no noise",
    )
    add(
        "--echo-times",
        type=float,
        nargs="+",
        metavar="TE",
        default=argparse.SUPPRESS,
        help="echo times in seconds, as in BIDS: two or more for a multi-echo gradient-echo "
        f"acquisition, one for a spin echo (default: one spin echo at {SPIN_ECHO_TIME})",
    )
    add(
        "--off-resonance",
        type=float,
        metavar="HZ",
        default=default.off_resonance,
        help="largest off-resonance frequency in the brain, for gradient echoes only",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        default=default.seed,
        help="random seed for the noise of the first participant; each further participant uses "
        "the next seed",
    )
    add(
        "--phase-scaling",
        choices=PHASE_SCALINGS,
        default=default.phase_scaling,
        help="unit and range in which the files store the phase",
    )
    add("--phase-sign", choices=("+", "-"), default="+", help="sign convention of the phase")


def _check_lesions(arguments: argparse.Namespace) -> None:
    """Reject lesion options without the option that adds the lesion."""
    default = PhantomParameters()
    if arguments.lesion_diameter != default.lesion_diameter and not arguments.lesion:
        arguments.fail("--lesion-diameter needs --lesion")
    has_lesions = arguments.lesion or arguments.small_lesions
    if arguments.lesion_conductivity != default.lesion_conductivity and not has_lesions:
        arguments.fail("--lesion-conductivity needs --lesion or --small-lesions")


_STUDY_OPTIONS = ("group_effect", "subject_sd", "lesion_change", "deformation", "movement")


def _check_study(arguments: argparse.Namespace) -> None:
    """Reject study options without ``--sessions``."""
    if hasattr(arguments, "sessions"):
        return
    default = StudyParameters()
    for name in _STUDY_OPTIONS:
        if getattr(arguments, name) != getattr(default, name):
            arguments.fail(f"--{name.replace('_', '-')} needs --sessions")


def _study_parameters(arguments: argparse.Namespace) -> StudyParameters | None:
    """Return the parameters of the study; None for a dataset without sessions."""
    if not hasattr(arguments, "sessions"):
        return None
    return StudyParameters(
        arguments.participants,
        arguments.sessions,
        **{name: getattr(arguments, name) for name in _STUDY_OPTIONS},
    )


def _parameters(arguments: argparse.Namespace) -> PhantomParameters:
    return PhantomParameters(
        resolution=arguments.resolution,
        snr=arguments.snr,
        echo_times=tuple(getattr(arguments, "echo_times", ())),
        off_resonance=arguments.off_resonance,
        field_strength=arguments.field_strength,
        forward_model=arguments.forward_model,
        receive=arguments.receive,
        lesion=arguments.lesion,
        lesion_diameter=arguments.lesion_diameter,
        lesion_conductivity=arguments.lesion_conductivity,
        small_lesions=arguments.small_lesions,
        tissue_variation=arguments.tissue_variation,
        anatomy_seed=arguments.anatomy_seed,
        seed=arguments.seed,
        phase_scaling=arguments.phase_scaling,
        phase_sign=1 if arguments.phase_sign == "+" else -1,
    )


def _make_empty_folder(out: Path) -> None:
    """Create the folder, and raise OSError on failure or if the folder is not empty."""
    out.mkdir(parents=True, exist_ok=True)
    if any(visible(out, "*")):
        raise FileExistsError(f"{out} is not empty; choose a new or empty folder")


def _print_next_step(out: Path, scaling: str, *, is_study: bool) -> None:
    # resolve the path, because the path . has no name to which -maps can be appended
    out = out.resolve()
    results = out.with_name(f"{out.name}-maps")
    print(f"The phantom is in {out}. To map its conductivity and score the maps, run:")
    for command in (
        ["bids-qcm", out, results, "participant", *_units_option(scaling)],
        *([["bids-qcm", out, results, "group"]] if is_study else []),
        [_PROGRAM, "score", out, results],
    ):
        print(f"  {shlex.join(map(str, command))}")


def _units_option(scaling: str) -> list[str]:
    """Return the option for the phase unit of the phantom.

    The option is needed because low-noise images may not fill the range from which the unit is
    detected.
    """
    from bids_qcm.phantom.scaling import UNITS_PER_CYCLE

    return ["--phase-units", UNITS_PER_CYCLE[scaling]] if scaling in UNITS_PER_CYCLE else []
