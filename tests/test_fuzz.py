"""Invalid content in every input raises a clear error, and nothing is computed from it.

`make fuzz` tries ten thousand inputs in total instead of a few hundred.
"""

import gzip
import json
import os
import warnings
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nipype.pipeline.engine import Workflow

from bids_qcm.bids.acquisitions import group_acquisitions
from bids_qcm.bids.anatomy.auxiliary import AuxiliaryImage
from bids_qcm.bids.anatomy.datasets import SearchedDatasets, derivative_datasets
from bids_qcm.bids.anatomy.segmentations import read_tissues
from bids_qcm.bids.anatomy.transforms import check_transform, read_transform
from bids_qcm.bids.dataset import check_description, find_acquisitions
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.images import read_echo, read_grid, read_integers
from bids_qcm.cli.parser import parse_settings
from bids_qcm.cli.run import main
from bids_qcm.phase import compute_phi0
from bids_qcm.recon import reconstruct
from bids_qcm.settings import Settings
from bids_qcm.workflows.preflight import Preflight
from bids_qcm.workflows.progress import Progress
from bids_qcm.workflows.running import Monitor, _plugin
from tests.synthetic import write_subjects

fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "30")),
    deadline=120_000,  # ms, for a machine with other load
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
    """Check headers and values, and compute the acquisitions that pass both checks."""
    given = given_settings(raw)
    preflight = Preflight(given, SearchedDatasets.of(given, {"seg": raw / "derivatives/seg"}))
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
    """Compute like the nodes; an error has the message of a failed node."""
    assert 0.4e6 < plan.frequency < 1.3e9
    assert all(0.05 <= size <= 50 for size in plan.grid.voxel_size)
    pairs = [read_echo(echo.images) for echo in plan.echoes]
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
def test_damaged_sidecars_cause_no_internal_error(raw, content, part):
    (raw / f"sub-0000/anat/sub-0000_echo-2_part-{part}_MEGRE.json").write_bytes(content)
    look(raw)


@fuzzed
@given(fields=headers, which=st.sampled_from(["one", "all"]), compressed=st.booleans())
def test_damaged_headers_cause_no_internal_error(raw, fields, which, compressed):
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
def test_damaged_images_cause_no_internal_error(raw, data, what):
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
def test_damaged_label_tables_cause_no_internal_error(raw, content):
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
def test_unusual_file_names_cause_no_internal_error(raw, name, suffix):
    path = raw / f"sub-0000/anat/{name}{suffix}"
    try:
        path.write_bytes(b"")
    except OSError:  # this file system does not allow the name
        return
    try:
        look(raw, find_acquisitions(given_settings(raw)))
    finally:
        path.unlink()


def damage(data, content):
    """Change some bytes of a file, and truncate the file at a random position."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    return bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])


@fuzzed
@given(data=st.data(), compressed=st.booleans())
def test_damaged_freesurfer_images_cause_no_internal_error(tmp_path, data, compressed):
    """Damage the file before compression, so that the checksum cannot detect it."""
    content = damage(data, nib.MGHImage(np.ones((4, 5, 6), np.uint8), np.eye(4)).to_bytes())
    path = tmp_path / f"aseg.{'mgz' if compressed else 'mgh'}"
    path.write_bytes(gzip.compress(content, 1) if compressed else content)
    for read in (read_grid, read_integers):
        with suppress(InputError):
            read(path)


@pytest.fixture(scope="module")
def transforms(tmp_path_factory):
    """The content of a displacement field and of a linear transform, keyed by extension."""
    path = tmp_path_factory.mktemp("transforms") / "field.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("TransformGroup")
        group["0/TransformType"] = [b"CompositeTransform_double_3_3"]
        group["1/TransformType"] = [b"DisplacementFieldTransform_double_3_3"]
        fixed = [3, 3, 3, 0, 0, 0, 1, 1, 1, *np.eye(3).ravel()]
        group["1/TransformFixedParameters"] = np.array(fixed, float)
        group["1/TransformParameters"] = np.zeros(81)
    linear = (
        b"#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        b"Parameters: 1 0 0 0 1 0 0 0 1 2 3 4\nFixedParameters: 0 0 0\n"
    )
    return {".h5": path.read_bytes(), ".txt": linear}


@fuzzed
@given(data=st.data(), extension=st.sampled_from([".h5", ".txt"]))
def test_damaged_transforms_cause_no_internal_error(tmp_path, transforms, data, extension):
    path = tmp_path / f"x{extension}"
    path.write_bytes(damage(data, transforms[extension]))
    for read in (check_transform, read_transform):
        with suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)


descriptions = sidecars | st.dictionaries(
    st.sampled_from(["Name", "BIDSVersion", "DatasetType", "GeneratedBy"]), json_values
).map(lambda content: json.dumps(content).encode())


@fuzzed
@given(content=descriptions, where=st.sampled_from(["", "derivatives/seg/"]))
def test_damaged_descriptions_cause_no_internal_error(raw, content, where):
    path = raw / where / "dataset_description.json"
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with suppress(InputError):
            check_description(raw)
        with suppress(InputError):
            derivative_datasets(raw, [("seg", raw / "derivatives/seg")], raw / "out")
        with suppress(InputError):
            find_acquisitions(given_settings(raw))
    finally:
        path.write_bytes(before)


entities = st.sampled_from(["suffix", "session", "run", "part", "datatype"])
filters = (
    st.dictionaries(
        st.sampled_from(["phase", "segmentation", "mask", "b1"]),
        st.dictionaries(entities, json_values, max_size=2) | json_values,
        max_size=2,
    ).map(lambda content: json.dumps(content).encode())
    | sidecars
)


@fuzzed
@given(content=filters)
def test_damaged_filter_files_cause_no_internal_error(raw, content):
    path = raw / "filters.json"
    path.write_bytes(content)
    argv = [raw, raw.parent / "out", "participant", "--bids-filter-file", path]
    with redirect_stderr(StringIO()):
        try:
            given_filters = parse_settings(list(map(str, argv)))[0]
        except SystemExit:
            return
    with suppress(InputError):
        look(raw, find_acquisitions(given_filters))


keys = st.sampled_from(["n_procs", "memory_gb", "mp_context", "raise_insufficient", "x"])
plugin_files = (
    st.fixed_dictionaries(
        {"plugin": st.sampled_from(["MultiProc", "SLURM", "Linear", "PBS"]) | json_values},
        optional={"plugin_args": st.dictionaries(keys, json_values, max_size=2) | json_values},
    ).map(lambda content: json.dumps(content).encode())
    | sidecars
)


@fuzzed
@given(content=plugin_files)
def test_damaged_plugin_files_cause_no_internal_error(tmp_path, content):
    path = tmp_path / "plugin.yml"
    path.write_bytes(content)
    given_plugin = Settings(tmp_path, tmp_path, tmp_path, plugin_file=path)
    with suppress(InputError):
        _plugin(given_plugin, Monitor(Progress({}, 0), Workflow("wf")))


@pytest.fixture(scope="module")
def computed(tmp_path_factory, in_process, without_pages):
    folder = tmp_path_factory.mktemp("computed")
    raw = write_subjects(folder / "raw", 2, n_echoes=1)
    options = ("--method", "laplacian", "--fit-radius", "3", "-w", str(folder / "work"))
    with without_pages():
        assert main([str(raw), str(folder / "out"), "participant", *options, *in_process]) == 0
    return folder


outputs = st.sampled_from(
    [
        "sub-0001/anat/sub-0001_desc-laplacian_condstats.tsv",
        "sub-0001/anat/sub-0001_desc-laplacian_condmap.json",
        "sub-0001/anat/sub-0001_phi0map.json",
        "sub-0001/anat/sub-0001_seg-tissue_dseg.json",
        "logs/sub-0001_MEGRE.json",
    ]
)


@fuzzed
@given(data=st.data(), name=outputs, value=json_values | st.none())
def test_damaged_outputs_cause_no_internal_error(computed, data, name, value):
    """If a file of one participant is damaged, the group table still contains the other."""
    path: Path = computed / "out" / name
    before = path.read_bytes()
    if path.suffix == ".json" and data.draw(st.booleans()):
        content = json.loads(before)
        content[data.draw(st.sampled_from(sorted(content)))] = value
        path.write_text(json.dumps(content))
    else:
        path.write_bytes(damage(data, before))
    try:
        assert main([str(computed / "raw"), str(computed / "out"), "group"]) in (0, 1)
        assert "sub-0000\t" in (computed / "out/group_condmap.tsv").read_text()
    finally:
        path.write_bytes(before)
