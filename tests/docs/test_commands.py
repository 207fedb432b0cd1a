"""The commands in the documentation work as written, on a 4 mm phantom."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bids_qcm.cli.parser import build_parser
from bids_qcm.cli.phantom import build_parser as build_phantom_parser
from tests.docs.blocks import PAGES, ROOT, blocks

SHELL = [block for page in PAGES for block in blocks(page, "sh")]
NOT_RUN = [block for block in SHELL if block.remark]


def typed(page, language):
    """Return the text of the blocks of a page that are run."""
    return [block.text for block in blocks(page, language) if not block.remark]


TYPED = [page for page in PAGES if typed(page, "sh") or typed(page, "python")]
PARSERS = {"bids-qcm": build_parser, "bids-qcm-phantom": build_phantom_parser}
BIN = Path(sys.executable).parent

# the voxels of the phantom are too large for the published radii
SHIMS = {
    "bids-qcm-phantom": '[ "$1" = create ] && set -- "$@" --resolution 4',
    "bids-qcm": 'case "$*" in *group*|*radius*|*version*) ;; '
    '*) set -- "$@" --fit-radius 9 --integral-radius 9;; esac',
}


def commands(block):
    """Yield the name and the arguments of each command of this package in a block."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for words in (shlex.split(part, comments=True) for part in re.split(r"&&|;", line)):
            for position, word in enumerate(words):
                name = Path(word).name
                is_image = name.startswith("bids-qcm:") or name.endswith(".sif")
                if name in PARSERS and position == 0:
                    yield name, words[1:]
                elif is_image and words[:2] in (["docker", "run"], ["apptainer", "run"]):
                    yield "bids-qcm", words[position + 1 :]


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_blocks_are_valid(block):
    done = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_the_parsers_accept_commands_that_are_not_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, arguments in commands(block):
        if arguments == ["--version"]:
            continue
        # the parser requires files and folders that exist only on the reader's machine
        given = [re.sub(r"^((?:[\w@]+=)?)/path/to", rf"\1{tmp_path}", a) for a in arguments]
        for path in (Path(part) for one in given for part in re.split("[=:]", one)):
            if path.suffix in (".tsv", ".yml", ".toml", ".gz"):
                path.touch()
            elif path.is_relative_to(tmp_path):
                path.mkdir(parents=True, exist_ok=True)
        PARSERS[name]().parse_args(given)


def test_commands_are_found_in_blocks():
    found = [name for block in NOT_RUN for name, _ in commands(block)]
    assert len(found) >= 6


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    spans = re.findall(r"`make ([a-z -]+)`|^make ([a-z-]+)", text, re.M)
    named = {target for span in spans for words in span for target in words.split()}
    assert {"demo", "docs", "test-slow"} <= named <= targets


@pytest.mark.parametrize("block", [b for p in PAGES for b in blocks(p, "json")], ids=str)
def test_filter_files_are_valid(block, tmp_path):
    path = tmp_path / "filters.json"
    path.write_text(block.text)
    arguments = ["data", "maps", "participant", "--bids-filter-file", str(path)]
    assert build_parser().parse_args(arguments).bids_filter_file == json.loads(block.text)


@pytest.mark.parametrize("block", [b for p in PAGES for b in blocks(p, "yaml")], ids=str)
def test_yaml_blocks_are_valid(block):
    content = yaml.safe_load(block.text)
    for flag in content.get("bids_app_args", {}):
        assert flag.startswith("$") or flag in build_parser()._option_string_actions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The working directory of a reader."""
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A function that runs a command where BIDS_DIR is a phantom and OUTPUT_DIR has its maps."""
    shims = tmp_path_factory.mktemp("bin")
    for name, change in SHIMS.items():
        shim = shims / name
        shim.write_text(f'#!/bin/bash\n{change}\nexec {shlex.quote(str(BIN / name))} "$@"\n')
        shim.chmod(0o755)
    path = os.pathsep.join(map(str, (shims, BIN, os.environ["PATH"])))
    environment = {**os.environ, "PATH": path, "MPLBACKEND": "Agg"}

    def run(*command):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    run("bids-qcm-phantom", "create", "BIDS_DIR")
    run("bids-qcm", "BIDS_DIR", "OUTPUT_DIR", "participant")
    run("bids-qcm", "BIDS_DIR", "OUTPUT_DIR", "group")
    return run


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.name)
def test_commands_for_readers_work(page, run):
    for text in typed(page, "sh"):
        run("bash", "-eu", "-o", "pipefail", "-c", text)
    run("python", "-c", "\n".join(typed(page, "python")))


@pytest.mark.slow
def test_every_column_is_explained(run, folder):
    columns = set()
    for path in folder.glob("OUTPUT_DIR/**/*.json"):
        if path.name.endswith(("_condstats.json", "group_condmap.json")):
            columns |= set(json.loads(path.read_text()))
    columns = {re.sub("_eroded[24]$", "", name) for name in columns}
    assert {"iqr", "outlier_score"} <= columns
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    assert sorted(name for name in columns if f"`{name}`" not in page) == []
