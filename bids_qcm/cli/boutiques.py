"""Boutiques descriptor of the command line.

Some platforms use such a descriptor to run a tool. ``make boutiques`` writes the file. The
descriptor follows version 0.5 of the Boutiques schema (https://boutiques.github.io); see Glatard et
al. 2018, doi:10.1093/gigascience/giy016.
"""

import argparse
import json
from typing import Any

from bids_qcm import __version__
from bids_qcm.cli.exits import ExitStatus
from bids_qcm.cli.parser import build_parser

# Boutiques types by metavar. Arguments with any other metavar are strings.
_TYPES: dict[Any, dict[str, str | bool]] = {
    "BIDS_DIR": {"type": "File"},
    "FILE": {"type": "File"},
    "N": {"type": "Number", "integer": True},
    "S_PER_M": {"type": "Number"},
}


def describe_command() -> dict[str, Any]:
    """Return the Boutiques descriptor of the command ``bids-qcm``.

    Returns
    -------
    dict
        The descriptor, ready to be serialised as JSON.
    """
    parser = build_parser()
    # --help and --version are left out because they only print text and exit
    actions = [action for action in parser._actions if action.default != argparse.SUPPRESS]
    inputs = [_describe(action) for action in actions]
    keys = [argument["value-key"] for argument in inputs]
    return {
        "name": parser.prog,
        "description": parser.description,
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": " ".join([parser.prog, *keys]),
        "container-image": {"type": "docker", "image": f"{parser.prog}:{__version__}"},
        "inputs": inputs,
        "output-files": [
            {
                "id": "maps",
                "name": "derivative dataset",
                "path-template": "[OUTPUT_DIR]",
            }
        ],
        "error-codes": [
            {"code": int(status), "description": status.name.replace("_", " ").lower()}
            for status in ExitStatus
            if status
        ],
        "tags": {"domain": ["neuroinformatics", "bids-app", "mri"]},
    }


def _describe(action: argparse.Action) -> dict[str, Any]:
    """Return the Boutiques input that describes one argument."""
    flag = next((option for option in action.option_strings if option.startswith("--")), None)
    name = (flag or action.dest).strip("-").replace("-", "_")
    described: dict[str, Any] = {
        "id": name,
        "name": name.replace("_", " "),
        "description": (action.help or "") % vars(action),
        "value-key": f"[{name.upper()}]",
        "optional": not action.required,
        "type": "String",
        **_TYPES.get(action.metavar, {}),
    }
    if action.nargs == 0:
        described["type"] = "Flag"
    if flag:
        described["command-line-flag"] = flag
    if action.nargs == "+":
        described["list"] = True
    if action.choices:
        described["value-choices"] = list(action.choices)
    return described


if __name__ == "__main__":
    print(json.dumps(describe_command(), indent=2))
