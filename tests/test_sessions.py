"""A dataset whose participant has two sessions with two runs each."""

import shutil
from fnmatch import fnmatch

import pytest

from bids_qcm.bids.outputs import OUTPUTS
from bids_qcm.cli.run import main
from tests.synthetic import write_subjects

pytestmark = pytest.mark.slow

# there is neither a T1w image to align nor a lesion
NOT_WRITTEN = {"lesions", "condlesions", *(key for key in OUTPUTS if key.startswith("xfm_"))}
NAMES = [f"sub-0000_ses-{session}_run-{run}" for session in "ab" for run in "12"]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory, in_process):
    """The output of both analysis levels."""
    root = tmp_path_factory.mktemp("sessions")
    raw, out = root / "raw", root / "out"
    one = write_subjects(root / "one", 1)
    for path in (path for path in one.rglob("*") if path.is_file()):
        entities, folder = path.name.removeprefix("sub-0000"), path.relative_to(one).parent
        if path.name == "dataset_description.json" or "derivatives" in path.parts:
            copies = [raw / folder / path.name]
        else:
            copies = [
                raw / "sub-0000" / name.split("_")[1] / "anat" / f"{name}{entities}"
                for name in NAMES
            ]
        for copy in copies:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    options = ["-w", str(root / "work"), *in_process]
    options += ["--fit-radius", "3", "--aggregate-session-reports", "1"]
    options += ["--method", "laplacian", "laplacian-seg"]
    assert main([str(raw), str(out), "participant", *options]) == 0
    assert main([str(raw), str(out), "group"]) == 0
    return out


def test_the_official_validator_passes(mapped, validate):
    status, text = validate(mapped)
    assert status == 0, text


def test_patterns_match_all_outputs_that_bids_does_not_define(mapped):
    patterns = (mapped / ".bidsignore").read_text().splitlines()
    for name in NAMES:
        folder = mapped / "sub-0000" / name.split("_")[1]
        for key, output in OUTPUTS.items():
            desc = "laplacian" if output.of_method else None
            for variant in output.variants or [desc]:
                file_name = output.file_name(name, variant, "MEGRE")
                found = (folder / output.folder / file_name).exists()
                assert found or output.variants or key in NOT_WRITTEN, file_name
                ignored = any(fnmatch(file_name, pattern) for pattern in patterns)
                assert ignored != output.in_bids, file_name


def test_each_session_has_a_page(mapped):
    pages = ["sub-0000.html", "sub-0000_ses-a.html", "sub-0000_ses-b.html"]
    assert sorted(path.name for path in mapped.glob("sub-*.html")) == pages
    for name in NAMES:
        page = mapped / f"{name.rpartition('_')[0]}.html"
        assert f'id="{name}"' in page.read_text()
