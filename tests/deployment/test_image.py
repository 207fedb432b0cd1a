"""The image, run with as few privileges as possible."""

import json
import signal
import subprocess
import time

import pandas as pd
import pytest

from bids_qcm import __version__
from tests.deployment.helpers import (
    LABELS,
    OPTIONS,
    USER,
    assert_close,
    assert_same_bytes,
    assert_whole,
    container_of,
    run,
)

LOCKED_DOWN = (
    *("docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"),
    *("--memory", "2g", "--memory-swap", "2g", "--user", f"{USER}:{USER}"),
)

# imitate an older processor: neither our compiled loops nor the libraries use instructions of newer
# processors
OLD_PROCESSOR = {
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3",
    "OPENBLAS_CORETYPE": "Nehalem",
}


@pytest.fixture(scope="module")
def inspected(image):
    return json.loads(run("docker", "image", "inspect", image).stdout)[0]


@pytest.fixture(scope="module")
def command(image, phantoms):
    """A function that returns the command that maps the phantoms to a folder."""

    def command(output, *options, engine=(), start=("bids-qcm",)):
        entry, *first = start
        return (
            *(*LOCKED_DOWN, "-v", f"{phantoms}:/data:ro", "-v", f"{output}:/out", *engine),
            *("--entrypoint", entry, image, *first),
            *("/data", "/out", "participant", *OPTIONS, *options),
        )

    return command


@pytest.fixture(scope="module")
def work(make_folder):
    return make_folder("work")


@pytest.fixture(scope="module")
def maps(command, make_folder, work):
    output = make_folder("maps")
    # container engines always set HOME
    no_home = ("env", "-u", "HOME", "bids-qcm")
    run(*command(output, "-w", "/work", engine=("-v", f"{work}:/work"), start=no_home))
    return output


def test_the_image_has_its_labels_and_is_below_the_size_limit(inspected):
    assert inspected["Size"] < 1.2e9
    labels = inspected["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert inspected["Config"]["Entrypoint"] == ["bids-qcm"]


def test_the_image_prints_its_version(image):
    assert run(*LOCKED_DOWN, image, "--version").stdout == f"bids-qcm {__version__}\n"


def test_maps_are_valid_and_owned_by_the_caller(maps, image, validate):
    status, verdict = validate(maps)
    assert status == 0, verdict
    assert_whole(maps)
    assert {path.stat().st_uid for path in maps.rglob("*")} == {USER}
    expected = {f"sub-{label}{end}" for label in LABELS for end in ("", ".html")}
    assert {path.name for path in maps.glob("sub-*")} == expected
    assert container_of(maps) == {"Type": "docker", "Tag": image}


def test_the_group_level_runs_in_the_image(maps, image, validate):
    run(*LOCKED_DOWN, "-v", f"{maps}:/out", image, "/data", "/out", "group")
    table = pd.read_csv(maps / "group_condmap.tsv", sep="\t")
    assert set(table.participant_id) == {f"sub-{label}" for label in LABELS}
    assert (maps / "group_condmap.html").stat().st_uid == USER
    status, verdict = validate(maps)
    assert status == 0, verdict


def test_the_image_contains_all_compiled_functions(maps, work, image):
    """Run this test on the machine that built the image, because it compiled for its processor."""
    baked = run(
        *("docker", "run", "--rm", "--entrypoint", "sh", image),
        *("-c", "cd $NUMBA_CACHE_DIR && find . -type f"),
    ).stdout.split()
    used = work / f"numba-{__version__}"
    assert {f"./{path.relative_to(used)}" for path in used.rglob("*.nb?")} == set(baked)
    assert len(baked) > 20


def test_maps_equal_the_maps_of_an_installation(maps, installed_maps):
    assert_same_bytes(maps, installed_maps)


def test_maps_hardly_depend_on_the_processor(maps, command, make_folder):
    output = make_folder("old")
    run(*command(output, engine=[f"--env={name}={value}" for name, value in OLD_PROCESSOR.items()]))
    assert_close(output, maps, tolerance=1e-5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_container_without_an_incomplete_file(command, make_folder, number):
    output = make_folder("stopped")
    process = subprocess.Popen(
        command(output, "--method", "all", "--participant-label", "01", "-v"),
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "write_laplacian_fd: done" in line:
            break
    before = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=30)
    assert time.monotonic() - before < 10
    assert process.returncode == 130
    assert_whole(output)
    assert list(output.rglob("*_condmap.nii.gz"))
