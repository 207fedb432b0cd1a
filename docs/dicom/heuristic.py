"""HeuDiConv heuristic for multi-echo gradient echoes from Siemens, Philips and GE scanners.

HeuDiConv adds the entity ``echo``, and also ``part`` if magnitude and phase are in one series.
"""

import logging

import pydicom

PROTOCOL = "qcm_megre"

_PARTS = {"M": "mag", "P": "phase", "R": "real", "I": "imag"}
_GE_PARTS = ("mag", "phase", "real", "imag")


def custom_seqinfo(wrapper, series_files):
    """Return the parts of the complex signal (magnitude, phase, ...) in a series."""
    headers = (pydicom.dcmread(path, stop_before_pixels=True) for path in series_files)
    return tuple(sorted({_part(header) for header in headers}))


def _part(header):
    if (0x0043, 0x102F) in header:  # GE
        return _GE_PARTS[header[0x0043, 0x102F].value]
    return next((_PARTS[kind] for kind in header.ImageType if kind in _PARTS), "")


def infotodict(seqinfo):
    """Return the series to convert for each file name."""
    names = {}
    for series in seqinfo:
        if series.protocol_name != PROTOCOL:
            continue
        if series.custom == ("mag", "phase"):
            part = ""
        elif len(series.custom) == 1:
            part = f"_part-{series.custom[0]}"
        else:
            logging.warning("%s contains %s: use dcm2bids", series.series_id, series.custom)
            continue
        name = f"sub-{{subject}}/anat/sub-{{subject}}{part}_MEGRE"
        names.setdefault((name, ("nii.gz",), None), []).append(series.series_id)
    return names
