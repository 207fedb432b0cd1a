"""The image in Apptainer, run as the superuser and as an ordinary user."""

import os
import stat
from pathlib import Path

import pytest

from tests.deployment.helpers import (
    OPTIONS,
    assert_same_bytes,
    assert_whole,
    container_of,
    run,
)

FUSE = Path("/dev/fuse")
NOBODY = 65534


@pytest.fixture
def as_nobody(tmp_path):
    """Prefix of a command that is run as an ordinary user."""
    if os.getuid() != 0:
        return ()
    nobody = ("runuser", "-u", "nobody", "--", "env", "-u", "HOME")
    if stat.S_IMODE(FUSE.stat().st_mode) & 0o006 == 0o006:
        return nobody
    # on this system, only the superuser can use FUSE, unless udev created the device
    node = tmp_path / "fuse"
    os.mknod(node, 0o666 | stat.S_IFCHR, FUSE.stat().st_rdev)
    node.chmod(0o666)
    mount = f'mount --bind {node} {FUSE} && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", mount, "sh", *nobody)


def apptainer(sif, *binds):
    bound = [part for bind in binds for part in ("-B", bind)]
    return ("apptainer", "run", "--cleanenv", "--containall", *bound, sif)


@pytest.mark.parametrize("ordinary", [True, False], ids=["nobody", "root"])
def test_maps_equal_the_maps_of_an_installation(
    as_nobody, sif, phantoms, make_folder, installed_maps, image, ordinary
):
    owner = NOBODY if ordinary and as_nobody else os.getuid()
    output = make_folder("apptainer", owner)
    before = as_nobody if ordinary else ()
    command = apptainer(sif, f"{phantoms}:/data:ro", f"{output}:/out")
    run(*before, *command, "/data", "/out", "participant", *OPTIONS, cwd="/")
    assert_same_bytes(output, installed_maps)
    assert_whole(output)
    assert container_of(output) == {"Type": "apptainer", "Tag": image}
    assert {path.stat().st_uid for path in output.rglob("*")} == {owner}
