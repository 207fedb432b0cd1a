"""Write phantoms as a BIDS dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_qcm import __version__
from bids_qcm.bids.condmaps import TRUTH_DESC
from bids_qcm.bids.derivatives import BIDS_VERSION, write_json, write_text
from bids_qcm.bids.images import save_array
from bids_qcm.phantom.fullwave.imaging import NOMINAL_FLIP_ANGLE, B1Map
from bids_qcm.phantom.lesions import SMALL_LESION_DIAMETERS
from bids_qcm.phantom.make import Head, Phantom, make_head, make_phantom
from bids_qcm.phantom.parameters import SPIN_ECHO_TIME, PhantomParameters
from bids_qcm.phantom.scaling import scale_phase
from bids_qcm.phantom.tissues import TISSUES

TRUTH_DATASET = Path("derivatives", "phantom")
"""Folder of the true maps, relative to the phantom dataset."""

_GENERATOR = "bids-qcm-phantom"

_ABOUT = (
    "The anatomy is the MNI152 average brain with a skull and a scalp. All participants",
    "have the same anatomy, lesions and conductivity, but different noise. The seed",
    "increases by one from each participant to the next.",
)


def write_phantom_dataset(out: Path, parameters: PhantomParameters, participants: int) -> None:
    """Write a phantom dataset in which all participants have the same head but different noise.

    Parameters
    ----------
    out : Path
        Folder of the raw dataset. The true maps are written to its subfolder
        ``derivatives/phantom``.
    parameters : PhantomParameters
        Parameters of the first participant. The seed increases by one for each participant.
    participants : int
        Number of participants.
    """
    names = [f"sub-{number:02d}" for number in range(1, participants + 1)]
    write_descriptions(out, _ABOUT, asdict(parameters))
    write_text(out / "participants.tsv", "\n".join(["participant_id", *names, ""]))
    head = make_head(parameters)
    for offset, name in enumerate(names):
        write_scan(out, name, head, replace(parameters, seed=parameters.seed + offset))


def write_scan(out: Path, name: str, head: Head, parameters: PhantomParameters) -> Path:
    """Write the images, the ``|B1+|`` map and the truth of one scan.

    Parameters
    ----------
    out : Path
        Folder of the raw dataset.
    name : str
        Start of the file names: ``sub-01``, or ``sub-01_ses-01`` for a session.
    head : Head
    parameters : PhantomParameters

    Returns
    -------
    Path
        Folder with the truth of this scan.
    """
    folder = scan_folder(name)
    phantom = make_phantom(parameters, head)
    written = _write_raw(out / folder / "anat", name, phantom, parameters)
    intended_for = [f"bids::{path.relative_to(out).as_posix()}" for path in written]
    _write_b1_map(out / folder / "fmap", name, phantom.b1_map, intended_for)
    truth = out / TRUTH_DATASET / folder / "anat"
    _write_truth(truth, name, head, parameters)
    return truth


def scan_folder(name: str) -> Path:
    """Return the folder of a scan, ``sub-01/ses-01`` for ``sub-01_ses-01``."""
    return Path(*name.split("_"))


def write_descriptions(out: Path, about: Sequence[str], parameters: Mapping[str, object]) -> None:
    """Write the descriptions of the raw dataset and the truth dataset.

    Parameters
    ----------
    out : Path
        Folder of the raw dataset.
    about : sequence of str
        Lines of the README that describe the participants.
    parameters : mapping of str to object
        Parameters that the README lists.
    """
    common = {
        "BIDSVersion": BIDS_VERSION,
        "License": "CC0",
        "GeneratedBy": [{"Name": _GENERATOR, "Version": __version__}],
    }
    raw = {"Name": "Conductivity phantom", **common, "DatasetType": "raw"}
    truth = {
        "Name": "Conductivity phantom: the truth",
        **common,
        "DatasetType": "derivative",
        "SourceDatasets": [{"URL": "../.."}],
    }
    write_json(out / "dataset_description.json", raw)
    write_json(out / TRUTH_DATASET / "dataset_description.json", truth)
    readme = _readme(about, parameters)
    write_text(out / "README", readme)
    write_text(out / TRUTH_DATASET / "README", readme)
    # BIDS has no suffix for conductivity.
    write_text(out / TRUTH_DATASET / ".bidsignore", "*_condmap.nii.gz\n*_condmap.json\n")


def _readme(about: Sequence[str], parameters: Mapping[str, object]) -> str:
    lines = [f"- {name}: {value}" for name, value in parameters.items()]
    return "\n".join(
        [
            "# Conductivity phantom",
            "",
            f"A numerical head phantom, written by {_GENERATOR} {__version__}. The raw dataset",
            "contains the magnitude and phase images. The derivative dataset",
            f"{TRUTH_DATASET.as_posix()} contains the segmentation, the brain mask and the true",
            "conductivity.",
            "",
            *about,
            "",
            "Parameters (mm, s, Hz, T, S/m):",
            "",
            *lines,
            "",
        ]
    )


def _write_raw(
    folder: Path, name: str, phantom: Phantom, parameters: PhantomParameters
) -> list[Path]:
    """Write the magnitude and phase of all echoes of a participant; return the image paths."""
    written = []
    echo_times = parameters.echo_times or (SPIN_ECHO_TIME,)
    images = zip(echo_times, phantom.magnitude, phantom.phase, strict=True)
    for number, (echo_time, magnitude, phase) in enumerate(images, start=1):
        sidecar: dict[str, float | str] = {
            "EchoTime": echo_time,
            "MagneticFieldStrength": parameters.field_strength,
            "ImagingFrequency": phantom.frequency / 1e6,
        }
        if phantom.head.fields is not None:
            sidecar["FlipAngle"] = NOMINAL_FLIP_ANGLE
            sidecar["ReceiveCoilName"] = parameters.receive
        echo = f"_echo-{number}" if parameters.is_gradient_echo else ""
        suffix = suffix_of(parameters)
        stem = f"{name}{echo}_part-mag_{suffix}"
        written.append(folder / f"{stem}.nii.gz")
        save_array(written[-1], magnitude, phantom.affine)
        write_json(folder / f"{stem}.json", sidecar)
        stored = scale_phase(phase, parameters.phase_scaling)
        stem = f"{name}{echo}_part-phase_{suffix}"
        written.append(folder / f"{stem}.nii.gz")
        save_array(written[-1], stored.stored, phantom.affine, stored.slope, stored.inter)
        write_json(folder / f"{stem}.json", {**sidecar, "Units": stored.units or "arbitrary"})
    return written


def suffix_of(parameters: PhantomParameters) -> str:
    """Return the BIDS suffix of the magnitude and phase images."""
    return "MEGRE" if parameters.is_gradient_echo else "T2w"


def _write_b1_map(folder: Path, name: str, b1_map: B1Map, intended_for: list[str]) -> None:
    """Write the ``|B1+|`` map of a participant."""
    save_array(folder / f"{name}_TB1map.nii.gz", b1_map.percent, b1_map.grid.affine)
    write_json(
        folder / f"{name}_TB1map.json",
        {
            "Description": "Flip angle in percent of the nominal flip angle; 0 outside the head",
            "Units": "percent",
            "IntendedFor": intended_for,
        },
    )


def _write_truth(folder: Path, name: str, head: Head, parameters: PhantomParameters) -> None:
    """Write the true segmentation, masks and conductivity of a participant."""
    anatomy, affine = head.anatomy, head.anatomy.grid.affine
    save_array(folder / f"{name}_dseg.nii.gz", anatomy.labels, affine)
    present = [tissue for tissue in TISSUES if (anatomy.labels == tissue.index).any()]
    rows = [f"{tissue.index}\t{tissue.name}\t{tissue.abbreviation}" for tissue in present]
    write_text(folder / f"{name}_dseg.tsv", "\n".join(["index\tname\tabbreviation", *rows, ""]))
    _write_mask(folder / f"{name}_desc-brain_mask", anatomy.brain, affine, Type="Brain")
    if parameters.small_lesions:
        for diameter in SMALL_LESION_DIAMETERS:
            _write_mask(
                folder / f"{name}_label-L_desc-{diameter}mm_mask",
                anatomy.small_lesion_diameter == diameter,
                affine,
                Type="Lesion",
                Description=f"Small lesions of {diameter} mm diameter",
            )
    truth = folder / f"{name}_desc-{TRUTH_DESC}_condmap"
    save_array(truth.with_suffix(".nii.gz"), head.conductivity.astype(np.float32), affine)
    write_json(
        truth.with_suffix(".json"),
        {
            "Description": "True conductivity; 0 outside the head",
            "Units": "S/m",
            "ImagingFrequency": parameters.frequency / 1e6,
        },
    )


def _write_mask(
    stem: Path, mask: NDArray[np.bool_], affine: NDArray[np.floating], **sidecar: str
) -> None:
    save_array(stem.with_suffix(".nii.gz"), mask, affine)
    write_json(stem.with_suffix(".json"), sidecar)
