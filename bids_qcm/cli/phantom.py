"""The command `bids-qcm-phantom`: write a phantom as a BIDS dataset."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_qcm.cli.exits import ExitStatus, Parser
from bids_qcm.phantom.parameters import PHASE_SCALINGS, SPIN_ECHO_TIME, PhantomParameters

_PROGRAM = "bids-qcm-phantom"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv
        The arguments after the command's name; None means those of the process.

    Returns
    -------
    int
        0, or 73 if the dataset's directory is not empty or cannot be made.

    Raises
    ------
    SystemExit
        Help was asked for (0) or the usage is wrong (64).
    """
    arguments = _build_parser().parse_args(argv)
    if arguments.participants < 1:
        arguments.fail(f"--participants must be at least 1, not {arguments.participants}")
    try:
        parameters = _parameters(arguments)
    except ValueError as error:
        arguments.fail(str(error))
    try:
        _claim(arguments.out)
    except OSError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return ExitStatus.CANNOT_WRITE
    # Here and not above, so that `--help` does not wait for the numerical libraries.
    from bids_qcm.bids.phantom_dataset import write_phantom_dataset

    write_phantom_dataset(arguments.out, parameters, arguments.participants)
    _print_next_step(arguments.out)
    return ExitStatus.DONE


def _build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog=_PROGRAM, description="A numerical head whose conductivity is known.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    create = commands.add_parser(
        "create",
        help="write a phantom as a BIDS dataset",
        description="Write magnitude and phase images of a numerical head as a BIDS dataset, and "
        "its segmentation, brain mask and true conductivity as a derivative dataset inside it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_create_options(create)
    create.set_defaults(fail=create.error)
    return parser


def _add_create_options(create: argparse.ArgumentParser) -> None:
    default = PhantomParameters()
    create.add_argument(
        "out", type=Path, metavar="OUT", help="directory of the dataset; new or empty"
    )
    add = create.add_argument
    add("--resolution", type=float, metavar="MM", default=default.resolution, help="voxel size, mm")
    add(
        "--snr",
        type=float,
        metavar="S",
        default=default.snr,
        help="mean magnitude of the first echo in the brain over the standard deviation of the "
        "noise in each of the real and imaginary channels; inf for no noise",
    )
    add(
        "--echo-times",
        type=float,
        nargs="+",
        metavar="TE",
        default=argparse.SUPPRESS,
        help="echo times in seconds, as in BIDS: two or more make a gradient-echo series, one a "
        f"spin echo (default: one spin echo at {SPIN_ECHO_TIME})",
    )
    add(
        "--off-resonance",
        type=float,
        metavar="HZ",
        default=default.off_resonance,
        help="largest off-resonance frequency in the brain; gradient echoes only",
    )
    add("--field-strength", type=float, metavar="T", default=default.field_strength, help="B0, T")
    add("--participants", type=int, metavar="N", default=1, help="number of participants")
    add(
        "--seed",
        type=int,
        metavar="N",
        default=default.seed,
        help="seed of the first participant's noise; the next one's is one more",
    )
    add(
        "--phase-scaling",
        choices=PHASE_SCALINGS,
        default=default.phase_scaling,
        help="how the files store the phase",
    )
    add("--phase-sign", choices=("+", "-"), default="+", help="the scanner's sign of the phase")


def _parameters(arguments: argparse.Namespace) -> PhantomParameters:
    return PhantomParameters(
        resolution=arguments.resolution,
        snr=arguments.snr,
        echo_times=tuple(getattr(arguments, "echo_times", ())),
        off_resonance=arguments.off_resonance,
        field_strength=arguments.field_strength,
        seed=arguments.seed,
        phase_scaling=arguments.phase_scaling,
        phase_sign=1 if arguments.phase_sign == "+" else -1,
    )


def _claim(out: Path) -> None:
    """Make the directory, or raise OSError if that fails or if something is in it already."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; name a new or an empty directory")


def _print_next_step(out: Path) -> None:
    out = out.resolve()  # `.` has no name to derive another from
    results = out.with_name(f"{out.name}-qcm")
    command = ["bids-qcm", out, results, "participant", "--method", "all"]
    print(f"The phantom is in {out}. To map its conductivity:")
    print(f"  {shlex.join(map(str, command))}")
