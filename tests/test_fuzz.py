"""Garbage in every input: an error that a user can read, and nothing computed from it.

``FUZZ_EXAMPLES=2500`` gives ten thousand inputs in all instead of a few hundred.
"""

import gzip
import json
import os
import warnings
from contextlib import suppress

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.segmentations import read_tissues
from bids_qcm.bids.dataset import find_acquisitions
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_echo
from bids_qcm.phase import compute_phi0
from bids_qcm.recon import reconstruct
from bids_qcm.settings import Settings
from bids_qcm.workflows.preflight import Preflight
from tests.synthetic import write_subjects

fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=20_000,  # ms
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([127.74, 3, 0.005, -1, 0, 1e300, -1e-300, "rad", "3", "NaN", "\ud800"])
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = (
    *("EchoTime", "ImagingFrequency", "MagneticFieldStrength", "Units", "ScanningSequence"),
    "Rescale",
)
sidecars = (
    st.dictionaries(st.sampled_from(FIELDS), json_values).map(json.dumps)
    | json_values.map(json.dumps)
    | st.text(max_size=40)
).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40)

numbers = st.floats(width=32) | st.sampled_from([0, -1, 1e-3, 1e3, float("nan"), float("inf")])
shorts = st.integers(-(2**15), 2**15 - 1) | st.integers(-2, 12)
HEADER_FIELDS = {
    "sizeof_hdr": st.integers(-(2**31), 2**31 - 1),
    "dim": st.lists(shorts, min_size=8, max_size=8),
    "datatype": shorts | st.sampled_from([2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1536, 2048]),
    "bitpix": shorts | st.sampled_from([1, 8, 16, 32, 64, 128]),
    "pixdim": st.lists(numbers, min_size=8, max_size=8),
    "vox_offset": numbers | st.sampled_from([0, 352, 348, 1e6]),
    "scl_slope": numbers,
    "scl_inter": numbers,
    "sform_code": shorts,
    "qform_code": shorts,
    "quatern_b": numbers,
    "srow_x": st.lists(numbers, min_size=4, max_size=4),
    "srow_y": st.lists(numbers, min_size=4, max_size=4),
    "magic": st.sampled_from([b"n+1", b"ni1", b"", b"n+2"]),
}
headers = st.dictionaries(
    st.sampled_from(sorted(HEADER_FIELDS)), st.none(), min_size=1, max_size=3
).flatmap(lambda names: st.fixed_dictionaries({name: HEADER_FIELDS[name] for name in names}))

cells = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["1", "2", "-1", "1.5", "9" * 30, "GM", "NA", "", "n/a", "\x00", '"', "١"]
)
tables = (
    st.lists(st.lists(cells, max_size=4), max_size=4).map(
        lambda rows: "\n".join("\t".join(row) for row in [["index", "name", "tissue"], *rows])
    )
    | st.text(max_size=40)
).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60)


@pytest.fixture
def raw(tmp_path):
    return write_subjects(tmp_path / "raw", 1, n_echoes=2)


def given_settings(raw):
    return Settings(raw, raw / "out", raw / "work", methods=("laplacian-fd",))


def look(raw, acquisitions=None):
    """Plan by headers and by values, and compute from what passes both."""
    given = given_settings(raw)
    preflight = Preflight(given, {"seg": raw / "derivatives/seg"})
    if acquisitions is None:
        acquisitions = group_acquisitions(raw.glob("sub-*/anat/*_part-*.nii*"))
    outlines = preflight.outline(acquisitions)
    plans = [result.plan for result in outlines if result.plan is not None]
    checked = preflight.check(plans) if plans else []
    for result in (*outlines, *checked):
        assert "internal error" not in result.why_skipped
        if result.plan is None:
            assert ". Remedy: " in result.why_skipped
    for result in checked:
        if result.plan is not None:
            compute(result.plan)


def compute(plan):
    """Compute as the nodes do; the words of an error are those of a failed node."""
    assert 0.4e6 < plan.frequency < 1.3e9
    assert all(0.05 <= size <= 50 for size in plan.grid.voxel_size)
    pairs = [read_echo(*echo.files, echo.units) for echo in plan.echoes]
    with suppress(ValueError):
        phi0 = compute_phi0(*zip(*pairs, strict=True), [echo.time for echo in plan.echoes])
        result = reconstruct(
            phi0.phase,
            method="laplacian-fd",
            voxel_size=plan.grid.voxel_size,
            frequency=plan.frequency,
            mask=phi0.mask,
        )
        assert not np.isinf(result.conductivity).any()


@fuzzed
@given(content=sidecars, part=st.sampled_from(["mag", "phase"]))
def test_sidecars(raw, content, part):
    (raw / f"sub-0000/anat/sub-0000_echo-2_part-{part}_MEGRE.json").write_bytes(content)
    look(raw)


@fuzzed
@given(fields=headers, which=st.sampled_from(["one", "all"]), compressed=st.booleans())
def test_headers(raw, fields, which, compressed):
    anat = raw / "sub-0000/anat"
    kind = "part" if which == "all" else "echo-1_part-phase"
    for original in sorted(anat.glob(f"*{kind}*_MEGRE.nii.gz")):
        content = gzip.decompress(original.read_bytes())
        header = np.frombuffer(content[:348], nib.nifti1.header_dtype).copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, value in fields.items():
                header[name] = value
        content = header.tobytes() + content[348:]
        original.write_bytes(gzip.compress(content, 1))
        if not compressed:
            original.unlink()
            original.with_suffix("").write_bytes(content)
    try:
        look(raw)
    finally:
        for path in anat.iterdir():
            path.unlink()
        write_subjects(raw, 1, n_echoes=2)


@fuzzed
@given(data=st.data(), what=st.sampled_from(["phase", "mask", "dseg"]))
def test_bytes_of_images(raw, data, what):
    paths = {
        "phase": raw / "sub-0000/anat/sub-0000_echo-1_part-phase_MEGRE.nii.gz",
        "mask": raw / "derivatives/seg/sub-0000/anat/sub-0000_desc-brain_mask.nii.gz",
        "dseg": raw / "derivatives/seg/sub-0000/anat/sub-0000_dseg.nii.gz",
    }
    path = paths[what]
    original = path.read_bytes()
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        look(raw)
    finally:
        path.write_bytes(original)


@fuzzed
@given(content=tables)
def test_label_tables(raw, content):
    path = raw / "labels.tsv"
    path.write_bytes(content)
    seg = raw / "derivatives/seg"
    auxiliary = AuxiliaryImage((seg / "sub-0000/anat/sub-0000_dseg.nii.gz",), seg)
    try:
        labels, names = read_tissues(auxiliary, path)
    except InputError:
        return
    assert set(np.unique(labels.values)) - {0} <= set(names)


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\x00") | st.sampled_from("_-.0aT"),
    max_size=30,
)


@fuzzed
@given(name=names, suffix=st.sampled_from(["_part-phase_T2w.nii.gz", "part-phase.nii", ".json"]))
def test_names(raw, name, suffix):
    path = raw / f"sub-0000/anat/{name}{suffix}"
    try:
        path.write_bytes(b"")
    except OSError:  # a name that this file system cannot have
        return
    try:
        look(raw, find_acquisitions(given_settings(raw)))
    finally:
        path.unlink()
