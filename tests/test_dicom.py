"""DICOM series of three vendors, converted as documented, and mapped.

The configurations are the files shown on the page about data. dcm2bids (GPL-3.0) and HeuDiConv are
not dependencies of the tests; without them, their tests are skipped.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_qcm.cli.run import main
from tests import dicom_series

pytestmark = pytest.mark.slow

CONFIGURATIONS = Path(__file__).parents[1] / "docs/dicom"
ECHO_TIMES = ("0.004", "0.010", "0.018")
# file names from dcm2niix, after the prefix
PARTS = {"": "mag", "_ph": "phase", "_real": "real", "_imaginary": "imag"}
# Rounding to 4096 levels has a standard deviation of 2 % of the phase noise at this SNR.
LARGEST_ROUNDING = 0.05


def find_program(name):
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which(name, path=folders)
    if program is None:
        pytest.skip(f"{name} is not installed: pip install {name}")
    return program


def run_program(name, *arguments):
    # dcm2bids and HeuDiConv call dcm2niix
    folders = [str(Path(find_program(one)).parent) for one in (name, "dcm2niix")]
    environment = {**os.environ, "PATH": os.pathsep.join([*folders, os.environ["PATH"]])}
    # the program may have a separate environment with other packages
    environment.pop("PYTHONPATH", None)
    command = [find_program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("dicom")


@pytest.fixture(scope="module")
def phantom(workspace, add_phantom):
    dataset = workspace / "phantom"
    options = ("--forward-model", "laplacian", "--echo-times", *ECHO_TIMES)
    add_phantom(dataset, "01", workspace / "made", *options)
    shutil.rmtree(dataset / "sub-01/fmap")
    # the signal mask is used for all maps, because the converted datasets have no brain mask
    return dataset


@pytest.fixture(scope="module")
def echoes(phantom):
    """Complex signal of each echo, with DICOM axes."""
    signals = []
    for path in sorted(phantom.glob("sub-01/anat/*part-phase*.nii.gz")):
        magnitude = nib.load(str(path).replace("part-phase", "part-mag")).get_fdata()
        signals.append(magnitude * np.exp(1j * nib.load(path).get_fdata()))
    return [signal[::-1, ::-1] for signal in signals]


@pytest.fixture(scope="module")
def write(workspace, phantom, echoes):
    """A function that writes the series of a scanner, and returns their folder."""
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    image = next(phantom.glob("sub-01/anat/*_echo-1_part-phase*.nii.gz"))
    sidecar = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    frequency = 1e6 * sidecar["ImagingFrequency"]

    def write(name, scanner, change=lambda series: series):
        folder = workspace / "dicom" / name
        if not folder.exists():
            elements, series = scanner(echoes, list(map(float, ECHO_TIMES)))
            dicom_series.write_series(folder, elements, change(series), (4, 4, 4), frequency)
        return folder

    return write


@pytest.fixture(scope="module")
def map_conductivity(workspace, in_process, without_pages):
    """A function that runs the app on a dataset, and returns the map in NIfTI order."""

    def run(dataset):
        out = workspace / f"{dataset.name}-maps"
        description = dataset / "dataset_description.json"
        description.write_text('{"Name": "converted", "BIDSVersion": "1.10.0"}')
        options = ["--method", "laplacian", "--mask", "signal", "--no-uncertainty"]
        arguments = [str(dataset), str(out), "participant", *options, *in_process]
        with without_pages():
            assert main([*arguments, "-w", str(workspace / "work" / dataset.name)]) == 0
        image = nib.load(next(out.glob("sub-01/anat/*_desc-laplacian_condmap.nii.gz")))
        return nib.as_closest_canonical(image).get_fdata()

    return run


@pytest.fixture(scope="module")
def assert_same_map(phantom, map_conductivity):
    """A function that compares a map with the map of the phantom's own images."""
    (path,) = (phantom / "derivatives/phantom/sub-01/anat").glob("*_desc-brain_mask.nii.gz")
    brain = nib.load(path).get_fdata() > 0
    expected = map_conductivity(phantom)[brain]

    def compare(dataset):
        found = map_conductivity(dataset)[brain]
        assert np.array_equal(np.isfinite(found), np.isfinite(expected))
        assert np.nanmedian(found) == pytest.approx(np.nanmedian(expected), rel=0.01)
        # most of the variation of this map is noise
        assert np.nanstd(found - expected) < LARGEST_ROUNDING * np.nanstd(expected)

    return compare


def convert_with_dcm2bids(dicom, configuration, dataset):
    run_program("dcm2bids", "-d", dicom, "-p", "01", "-c", configuration, "-o", dataset)


@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge"])
def test_images_of_dcm2niix_are_mapped_after_renaming(vendor, write, assert_same_map, workspace):
    dicom = write(vendor, getattr(dicom_series, vendor))
    converted, anat = workspace / f"{vendor}-nifti", workspace / f"{vendor}-renamed/sub-01/anat"
    converted.mkdir()
    anat.mkdir(parents=True)
    run_program("dcm2niix", "-z", "y", "-f", "series", "-o", converted, dicom)
    for path in converted.iterdir():
        stem, extension = path.name.split(".", 1)
        echo, kind = re.fullmatch("series_e([0-9])(_[a-z]+)?", stem).groups()
        if vendor == "ge" and not kind:  # the real and imaginary parts are sufficient
            continue
        path.rename(anat / f"sub-01_echo-{echo}_part-{PARTS[kind or '']}_MEGRE.{extension}")
    assert_same_map(anat.parents[1])


@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge"])
def test_series_are_mapped_after_dcm2bids(vendor, write, assert_same_map, workspace):
    dicom, dataset = write(vendor, getattr(dicom_series, vendor)), workspace / f"{vendor}-dcm2bids"
    convert_with_dcm2bids(dicom, CONFIGURATIONS / f"{vendor}.json", dataset)
    assert_same_map(dataset)


def test_displayed_values_of_philips_are_milliradians(write, assert_same_map, workspace):
    """With the option "-p n", dcm2niix stores the values that the console displays."""
    configuration = json.loads((CONFIGURATIONS / "philips.json").read_text())
    options = configuration["dcm2niixOptions"]
    configuration["dcm2niixOptions"] = options.replace("-p y", "-p n")
    configuration["descriptions"][1]["sidecar_changes"]["Units"] = "mrad"
    path, dataset = workspace / "displayed.json", workspace / "displayed"
    path.write_text(json.dumps(configuration))
    convert_with_dcm2bids(write("philips", dicom_series.philips), path, dataset)
    assert_same_map(dataset)


def test_echoes_in_one_4d_file_are_mapped_after_dcm2bids(write, assert_same_map, workspace):
    """Some GE research sequences write the first echo time to the images of all echoes."""

    def forget_echoes(series):
        for volume in series[5]:
            volume.elements.update(EchoTime=4, EchoNumbers=1)
        return series

    dicom, dataset = write("4d", dicom_series.ge, forget_echoes), workspace / "4d-dcm2bids"
    convert_with_dcm2bids(dicom, CONFIGURATIONS / "4d.json", dataset)
    assert nib.load(next(dataset.glob("sub-01/anat/*_part-real_*.nii.gz"))).shape[3] == 3
    assert_same_map(dataset)


def separate_parts(series):
    """Return each part of a GE image as a separate series."""
    return {50 + part: series[5][part::3] for part in range(3)}


@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge-separate"])
def test_series_are_mapped_after_heudiconv(vendor, write, assert_same_map, workspace):
    change = {"change": separate_parts} if vendor == "ge-separate" else {}
    dicom = write(vendor, getattr(dicom_series, vendor.removesuffix("-separate")), **change)
    dataset = workspace / f"{vendor}-heudiconv"
    heuristic = CONFIGURATIONS / "heuristic.py"
    options = ("-s", "01", "-f", heuristic, "-c", "dcm2niix", "-b", "--minmeta", "-o", dataset)
    run_program("heudiconv", "--files", dicom, *options)
    assert_same_map(dataset)
