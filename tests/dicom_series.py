"""DICOM series in the formats of Siemens, Philips and GE scanners.

The formats follow the vendor notes in the dcm2niix documentation. Only elements that converters
read are written.
"""

from dataclasses import dataclass, field

import numpy as np

PHILIPS_PHASE = {"slope": 1.53455, "intercept": -3142.0, "scale_slope": 651.74}
"""Philips phase scaling: 0 to 4095 corresponds to -3142 to 3142 mrad, or -3.1416 to 3.1416 rad."""

PHILIPS_MAGNITUDE = {"slope": 2.5, "intercept": 0.0, "scale_slope": 0.0125}

SIEMENS = {
    "Manufacturer": "SIEMENS",
    "SoftwareVersions": "syngo MR E11",
    "ScanningSequence": "GR",
    "SequenceVariant": "SP",
    "SequenceName": "*fl3d3r",
}
PHILIPS = {
    "Manufacturer": "Philips Medical Systems",
    "SoftwareVersions": "5.3.1",
    "ScanningSequence": "GR",
    "SequenceVariant": "SP",
}
GE = {
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "SoftwareVersions": "DV26.0_R03_1831.b",
    "ScanningSequence": "GR",
    "SequenceVariant": "SS\\SP",
}


@dataclass
class Volume:
    """A volume of a series as stored, and the elements in which it differs from other volumes.

    Attributes
    ----------
    stored : ndarray of 16-bit integers, shape (X, Y, Z)
        Axes from right to left, from anterior to posterior, and from inferior to superior.
    elements : dict
        Public elements, keyed by keyword.
    private : dict
        Private elements as (VR, value), keyed by (group, creator, element).
    """

    stored: np.ndarray
    elements: dict
    private: dict = field(default_factory=dict)


def siemens(echoes, times, *, slope=2, intercept=-4096):
    """Return a Siemens magnitude series and phase series, keyed by series number."""
    series = {2: [], 3: []}
    scaled = {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}
    for signal, timing in _timed(echoes, times):
        kind = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}
        series[2].append(Volume(magnitude_levels(signal, echoes), timing | kind))
        kind = {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}
        if slope is not None:
            kind |= scaled
        series[3].append(Volume(phase_levels(signal), timing | kind))
    return SIEMENS, series


def philips(echoes, times):
    """Return one Philips series in which magnitude and phase are mixed."""
    volumes = []
    for signal, timing in _timed(echoes, times):
        for kind, stored, scaling in (
            ("M", magnitude_levels(signal, echoes), PHILIPS_MAGNITUDE),
            ("P", philips_levels(signal), PHILIPS_PHASE),
        ):
            elements = {
                "ImageType": ["ORIGINAL", "PRIMARY", f"{kind}_FFE", kind, "FFE"],
                "RescaleSlope": scaling["slope"],
                "RescaleIntercept": scaling["intercept"],
                "RescaleType": "mrad" if kind == "P" else "normalized",
            }
            private = {
                (0x2005, "Philips MR Imaging DD 001", 0x0D): ("FL", 0.0),
                (0x2005, "Philips MR Imaging DD 001", 0x0E): ("FL", scaling["scale_slope"]),
            }
            volumes.append(Volume(stored, timing | elements, private))
    return PHILIPS, {401: volumes}


def ge(echoes, times):
    """Return one GE series with the magnitude, the real part and the imaginary part.

    The phase has the GE sign, and neighbouring slices of the complex image alternate in sign.
    """
    volumes = []
    for signal, timing in _timed(echoes, times):
        alternating = np.conj(signal) * (-1) ** np.arange(signal.shape[2])
        for code, values in ((0, np.abs(signal)), (2, alternating.real), (3, alternating.imag)):
            stored = np.rint(values * _GREATEST / _largest(echoes)).astype(np.int16)
            private = {(0x0043, "GEMS_PARM_01", 0x2F): ("SS", code)}
            kind = {"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}
            volumes.append(Volume(stored, timing | kind, private))
    return GE, {5: volumes}


_GREATEST = 16000
_CYCLE = 2 * np.pi


def magnitude_levels(signal, echoes):
    return np.rint(np.abs(signal) * 4095 / _largest(echoes)).astype(np.uint16)


def phase_levels(signal):
    """Return the phase as integers from 0 to 4095; 2048 corresponds to 0 rad."""
    return (np.rint(np.angle(signal) / _CYCLE * 4096 + 2048) % 4096).astype(np.uint16)


def philips_levels(signal):
    milliradians = 1000 * np.angle(signal)
    scaled = (milliradians - PHILIPS_PHASE["intercept"]) / PHILIPS_PHASE["slope"]
    return np.clip(np.rint(scaled), 0, 4095).astype(np.uint16)


def _largest(echoes):
    return max(np.abs(signal).max() for signal in echoes)


def _timed(echoes, times):
    for number, (signal, time) in enumerate(zip(echoes, times, strict=True), start=1):
        yield signal, {"EchoTime": 1000 * time, "EchoNumbers": number}


def write_series(folder, scanner, series, voxel_size, frequency):
    """Write one file for each slice of each volume.

    Parameters
    ----------
    folder : Path
    scanner : dict
        Elements of all images from the scanner, keyed by keyword.
    series : dict of int to list of Volume
        Volumes, keyed by series number.
    voxel_size : tuple of 3 floats
        In mm.
    frequency : float
        Larmor frequency in Hz.
    """
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True)
    study, frame = generate_uid(), generate_uid()
    for number, volumes in series.items():
        common = {
            "StudyInstanceUID": study,
            "FrameOfReferenceUID": frame,
            "SeriesInstanceUID": generate_uid(),
            "SeriesNumber": number,
            "SeriesDescription": "qcm_megre",
            "ProtocolName": "qcm_megre",
            "PatientID": "phantom",
            "PatientName": "phantom",
            "PatientPosition": "HFS",
            "StudyDate": "20240101",
            "StudyTime": "120000",
            "AcquisitionDate": "20240101",
            "AcquisitionTime": "120000",
            "MRAcquisitionType": "3D",
            "RepetitionTime": 30,
            "FlipAngle": 15,
            "EchoTrainLength": len({volume.elements["EchoNumbers"] for volume in volumes}),
            "MagneticFieldStrength": 3,
            "ImagingFrequency": frequency / 1e6,
            "ImagedNucleus": "1H",
            **scanner,
        }
        files = ((volume, k) for volume in volumes for k in range(volume.stored.shape[2]))
        for instance, (volume, k) in enumerate(files, start=1):
            placed = _placement(volume.stored.shape, k, voxel_size)
            image = _image(volume, k, {**common, **placed, "InstanceNumber": instance})
            image.save_as(folder / f"{number:03d}_{instance:04d}.dcm", enforce_file_format=True)


def _placement(shape, k, voxel_size):
    x, y, z = voxel_size
    corner = [-x * (shape[0] - 1) / 2, -y * (shape[1] - 1) / 2, z * (k - (shape[2] - 1) / 2)]
    return {
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": corner,
        "PixelSpacing": [y, x],
        "SliceThickness": z,
        "SpacingBetweenSlices": z,
        "SliceLocation": corner[2],
    }


def _image(volume, k, elements):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    image.Modality = "MR"
    for keyword, value in {**elements, **volume.elements}.items():
        setattr(image, keyword, value)
    for (group, creator, element), (representation, value) in volume.private.items():
        block = image.private_block(group, creator, create=True)
        block.add_new(element, representation, value)
    pixels = np.ascontiguousarray(volume.stored[:, :, k].T)
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    image.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    return image
