from dataclasses import replace

import pytest

from bids_qcm.bids.sidecar_schema import (
    CondmapSidecar,
    CondstdSidecar,
    InSpace,
    MaskSidecar,
    Phi0Sidecar,
    SegmentationSidecar,
)
from bids_qcm.recon import METHODS
from bids_qcm.recon.forms.base import EXACT, EXACT_BUT_MAGNITUDE
from bids_qcm.reports.citations import as_markdown
from bids_qcm.reports.methods_text import Processing, describe_methods

VERSIONS = dict.fromkeys(
    ("bids_qcm", "nipype", "pybids", "nibabel", "numpy", "scipy", "scikit-image", "numba"), "1.2"
)


def processing(*methods, segmentation=None, mask=None, std=None, **phi0):
    sidecar = {
        "SoftwareVersions": VERSIONS,
        "ImagingFrequency": 127.73,
        "ImagingFrequencySource": "ImagingFrequency",
        "PhaseUnits": ["rad"],
        "PhaseType": "transceive",
        "PhaseSign": "+",
        "PhaseSignOrigin": "auto",
        "AlternateSlicesFlipped": [],
    } | phi0
    numbers = {"FitRadius": [7.0] * 3, "IntegralRadius": [8.0] * 3, "MagnitudeDelta": 0.45}
    of_map = CondmapSidecar.from_dict(numbers | {"Smoothness": 0.5})
    return Processing(
        phi0=Phi0Sidecar.from_dict(sidecar),
        mask=MaskSidecar.from_dict(mask or {"Type": "ROI", "Sources": ["bids:raw:x"]}),
        segmentation=segmentation and SegmentationSidecar.from_dict(segmentation),
        maps=dict.fromkeys(methods, of_map),
        stds={method: CondstdSidecar(propagation=std) for method in methods if std},
    )


def change_map(processed, method, **fields):
    """Change fields of the sidecar of a map."""
    processed.maps[method] = replace(processed.maps[method], **fields)


def text(*done):
    return " ".join(describe_methods(done))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_described_and_its_citations_exist(method):
    found = as_markdown(describe_methods([processing(method, std="exact")]))
    assert f"The {method} method computed " in found
    uses = METHODS[method]
    assert ("within a radius of 7 mm" in found) == (uses.derivative == "fit")
    assert ("within a radius of 8 mm" in found) == (uses.form == "integral")
    assert ("magnitude (width 0.45" in found) == uses.uses_magnitude
    sentence = found.partition(f"The {method} method computed ")[2].split(". ")[0]
    assert ("tissue" in sentence) == uses.uses_labels
    assert ("Karsa" in found) == (uses.uses_magnitude or uses.uses_labels)


def test_the_text_describes_only_the_steps_that_were_done():
    plain = text(processing("laplacian"))
    for word in ("noise standard deviation", "egment", "very second slice", "preceding echoes"):
        assert word not in plain
    assert "(phi0) was taken to be the phase of the single echo." in plain
    assert "signal-to-noise ratio above 5" in plain
    assert "chosen so that the median Laplacian" in plain


def test_the_text_describes_the_corrections_of_echoes():
    several = {"PhaseUnits": ["rad"] * 4, "EchoTime": [0.005, 0.01, 0.015, 0.02]}
    plain = text(processing("laplacian", **several))
    assert "left out" not in plain
    assert "alternating polarity" not in plain
    corrected = processing(
        "laplacian", **several, EchoesRequested="auto", AlternatingPhase={"Amplitude": 0.8}
    )
    found = text(corrected)
    assert "repetitions" not in found
    averaged = text(processing("laplacian", AveragedAcquisitions=["a", "b"]))
    coils = text(processing("laplacian", CombinedCoils=8))
    assert "one constant phase factor for each coil" in coils
    assert " 2 repetitions were averaged as complex images" in averaged
    banded = text(processing("laplacian", BandFraction=0.1))
    assert "Dark bands of the balanced steady-state images were left out" in banded
    cycled = text(processing("laplacian", AveragedAcquisitions=["a", "b"], PhaseCycled=True))
    assert "the squared complex images were added" in cycled
    assert "repetitions were averaged" not in cycled
    assert "was not linear in echo time were left out." in found
    assert "alternating polarity [@yu2010], was removed." in found


def test_the_text_describes_the_inputs_and_the_options():
    found = text(
        processing(
            "laplacian-seg",
            std="32 noise replicates",
            mask={"Type": "Brain", "Sources": ["bids:fmriprep:x"]},
            segmentation={"Sources": ["bids:seg:y"], "Coregistration": "rigid"},
            PhaseUnits=["milliradian"] * 3,
            PhaseType="transmit",
            PhaseSign="-",
            PhaseSignOrigin="given",
            AlternateSlicesFlipped=["k"],
        )
    )
    for words in (
        "(milliradian) to radians",
        "from 3 echoes",
        "Every second slice",
        "The sign of the phase was specified by the user (-).",
        "a brain mask from the derivative dataset fmriprep.",
        "segmentation in the derivative dataset seg.",
        "by rigid registration",
        "(mu0 omega) for a transmit phase phi0",
        "32 noise replicates",
        "after erosion by 2 and 4 voxels",
    ):
        assert words in found


def test_the_text_describes_b1_and_its_origin():
    measured, modelled, plain = (processing("inversion", "laplacian") for _ in range(3))
    change_map(measured, "inversion", b1_map="measured", b1_map_smoothing=8.0)
    model = {"b1_map": "model", "b1_model_conductivity": 0.5, "b1_model_permittivity": 60.0}
    change_map(modelled, "inversion", **model)
    change_map(plain, "inversion", b1_map="none")
    assert "B1+" not in text(plain)
    found = as_markdown(describe_methods([measured, modelled, plain]))
    assert (
        "The inversion method accounted for the magnitude of B1+ (Gurler and Ider, 2017; Katscher "
        "and van den Berg, 2017), which was taken from a measured map, smoothed with a Gaussian "
        "kernel of 8 mm full width at half maximum (in 1 of 3 acquisitions)."
    ) in found
    assert (
        "homogeneous body with the outline of the head (conductivity 0.5 S/m, relative "
        "permittivity 60)"
    ) in found


def test_the_text_describes_the_t1w_segmentation():
    segmentation = {"Sources": ["bids:raw:y"], "SegmentationConfidence": "low"}
    found = text(processing("laplacian", segmentation=segmentation))
    assert "classified in the T1w image" in found
    assert "derivative dataset" not in found


def test_differences_between_acquisitions_are_counted():
    found = text(
        processing("laplacian", ImagingFrequency=63.9),
        processing("laplacian", "integral", PhaseUnits=["rad"] * 2),
        processing("integral", PhaseUnits=["complex"], PhaseSign="-"),
    )
    assert "3 acquisitions at a Larmor frequency of 63.90 to 127.73 MHz" in found
    assert "single echo (in 2 of 3 acquisitions)" in found
    assert "The phase was therefore inverted (in 1 of 3 acquisitions)." in found
    assert "The phase images were in radians (in 2 of 3 acquisitions)." in found
    assert "real and imaginary parts of the images (in 1 of 3 acquisitions)." in found
    assert "The laplacian method (in 2 of 3 acquisitions) computed " in found
    assert "The integral method (in 2 of 3 acquisitions) computed " in found


def test_the_text_states_the_range_of_automatic_radii():
    one, other = processing("laplacian"), processing("laplacian")
    for processed, radius in ((one, 7.0), (other, 9.5)):
        change_map(processed, "laplacian", fit_radius=[radius] * 3, target_std=0.1)
    found = text(one, other)
    assert "within a radius of 7 to 9.5 mm" in found
    assert "predicted to reach a median noise standard deviation of 0.1 S/m" in found


def test_the_text_distinguishes_automatic_radii_from_given_radii():
    """The automatic radii may belong to any acquisition, not only the first."""
    done = [processing("laplacian") for _ in range(3)]
    change_map(done[1], "laplacian", target_std=0.1)
    change_map(done[2], "laplacian", target_std=0.05)
    found = text(*done)
    assert "a median noise standard deviation of 0.05 to 0.1 S/m (in 2 of 3 acquisitions)" in found


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        (
            [("laplacian", EXACT)],
            "exactly through the Laplacian methods (which are linear in the phase).",
        ),
        (
            [
                ("laplacian", EXACT),
                ("laplacian-mag", EXACT_BUT_MAGNITUDE),
                ("integral", "32 noise replicates"),
            ],
            "linear in the phase; magnitude noise was propagated to first order) and through the "
            "integral methods by 32 noise replicates.",
        ),
        (
            [("inversion", "16 noise replicates, to first order")],
            "propagated through the inversion methods by 16 noise replicates to first order.",
        ),
    ],
)
def test_the_text_describes_the_noise_propagation(ways, words):
    assert words in text(*(processing(method, std=way) for method, way in ways))


def test_the_text_describes_the_noise_of_several_echoes():
    line = "was derived from the least-squares fit over echo time"
    assert line in text(processing("laplacian", std=EXACT, PhaseUnits=["rad"] * 2))
    assert line not in text(processing("laplacian", std=EXACT))


def test_the_text_describes_a_sign_by_the_manufacturer():
    found = text(processing("laplacian", PhaseSignOrigin="Manufacturer", PhaseSign="-"))
    assert "set to the usual sign of the scanner manufacturer (-)." in found
    assert "median Laplacian" not in found


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("T1w", "the filled hull of the gray matter, white matter and cerebrospinal fluid"),
        ("template", "the voxels with signal in the brain of the MNI152 template"),
    ],
)
def test_the_text_describes_a_computed_mask(origin, words):
    made = processing("laplacian", mask={"Type": "Brain", "MaskOrigin": origin, "Sources": []})
    assert words in text(made)
    both = text(made, processing("laplacian"))
    assert "(in 1 of 2 acquisitions) and in the largest connected region" in both
    assert "Abraham" in as_markdown(describe_methods([made]))


def test_the_text_describes_other_spaces():
    spaces = {
        "T1w": InSpace(space_transforms=["x.txt"]),
        "MNI152NLin2009aSym": InSpace(template_registration="affine transform and demons"),
    }
    plain = processing("laplacian")
    found = text(replace(plain, spaces=spaces))
    assert "registered to the MNI152NLin2009aSym template from nilearn" in found
    assert "vercauteren2009" in found
    assert "resampled to the T1w image and MNI152NLin2009aSym by linear interpolation" in found
    assert "in 1 of 2 acquisitions" in text(replace(plain, spaces=spaces), plain)
    assert "resampled to" not in text(plain)
