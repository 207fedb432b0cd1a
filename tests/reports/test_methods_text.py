import pytest

from bids_qcm.bids.provenance import EXACT, EXACT_BUT_MAGNITUDE
from bids_qcm.recon import METHODS
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
    return Processing(
        phi0=sidecar,
        mask=mask or {"Type": "ROI", "Sources": ["bids:raw:x"]},
        segmentation=segmentation,
        maps={method: numbers | {"Smoothness": 0.5} for method in methods},
        stds={method: {"Propagation": std} for method in methods if std},
    )


def text(*done):
    return " ".join(describe_methods(done))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_described_and_what_it_cites_exists(method):
    found = as_markdown(describe_methods([processing(method, std="exact")]))
    assert f" {method}: " in found
    uses = METHODS[method]
    assert ("within 7 mm" in found) == (uses.derivative == "fit")
    assert ("within 8 mm" in found) == (uses.form == "integral")
    assert ("magnitude (width 0.45" in found) == uses.uses_magnitude
    assert ("tissue" in found.partition(f" {method}: ")[2].split(". ")[0]) == uses.uses_labels
    assert ("Karsa" in found) == (uses.uses_magnitude or uses.uses_labels)


def test_only_what_was_done_is_told():
    plain = text(processing("laplacian"))
    for word in ("noise standard deviation", "egment", "every second slice", "echoes before"):
        assert word not in plain
    assert "phi0, was that of the single echo." in plain
    assert "signal-to-noise ratio above 5" in plain
    assert "chosen to make the median Laplacian" in plain


def test_what_was_found_and_given_is_told():
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
        "as milliradian",
        "over 3 echo times",
        "every second slice",
        "The sign of the phase was given (-).",
        "a brain mask from the derivative dataset fmriprep.",
        "segmentation in the derivative dataset seg.",
        "by rigid registration",
        "(mu0 omega), phi0 being the transmit phase",
        "32 noise replicates",
        "eroded by 2 and 4 voxels",
    ):
        assert words in found


def test_b1_is_told_with_its_origin():
    measured, modelled, plain = (processing("inversion", "laplacian") for _ in range(3))
    measured.maps["inversion"].update(B1Map="measured", B1MapSmoothing=8.0)
    model = {"B1Map": "model", "B1ModelConductivity": 0.5, "B1ModelPermittivity": 60.0}
    modelled.maps["inversion"].update(model)
    plain.maps["inversion"].update(B1Map="none")
    assert "B1+" not in text(plain)
    found = as_markdown(describe_methods([measured, modelled, plain]))
    assert (
        "The magnitude of B1+, which inversion took into account (Gurler and Ider, 2017; Katscher "
        "and van den Berg, 2017), was a measured map, smoothed by a Gaussian of 8 mm full width "
        "(in 1 of 3 acquisitions)."
    ) in found
    assert "homogeneous body with the outline of the head (0.5 S/m, relative permittivity 60)" in (
        found
    )


def test_tissue_classes_of_a_t1w_image_are_told():
    segmentation = {"Sources": ["bids:raw:y"], "SegmentationConfidence": "low"}
    found = text(processing("laplacian", segmentation=segmentation))
    assert "classified on the T1w image" in found
    assert "derivative dataset" not in found


def test_differences_between_acquisitions_are_counted():
    found = text(
        processing("laplacian", ImagingFrequency=63.9),
        processing("laplacian", "integral", PhaseUnits=["rad"] * 2),
        processing("integral", PhaseUnits=["complex"], PhaseSign="-"),
    )
    assert "3 acquisitions at a Larmor frequency of 63.90 to 127.73 MHz" in found
    assert "single echo (in 2 of 3 acquisitions)" in found
    assert "(1 of 3 were inverted)" in found
    assert "laplacian (in 2 of 3 acquisitions): " in found
    assert "integral (in 2 of 3 acquisitions): " in found


def test_automatic_radii_are_told_with_their_range():
    one, other = processing("laplacian"), processing("laplacian")
    for processed, radius in ((one, 7.0), (other, 9.5)):
        processed.maps["laplacian"].update(FitRadius=[radius] * 3, TargetStd=0.1)
    found = text(one, other)
    assert "within 7 to 9.5 mm" in found
    assert "predicted noise standard deviation of 0.1 S/m" in found


def test_automatic_and_given_radii_are_told_apart():
    """The first acquisition need not be the automatic one."""
    done = [processing("laplacian") for _ in range(3)]
    done[1].maps["laplacian"].update(TargetStd=0.1)
    done[2].maps["laplacian"].update(TargetStd=0.05)
    found = text(*done)
    assert "of 0.05 to 0.1 S/m in the median voxel allows (in 2 of 3 acquisitions)" in found


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        ((EXACT,), "exactly through the Laplacian methods (they are linear in the phase)."),
        (
            (EXACT, EXACT_BUT_MAGNITUDE, "32 noise replicates"),
            "linear in the phase; the magnitude's noise to first order) and through the others "
            "by 32 noise replicates.",
        ),
        (("32 noise replicates",), "propagated through the methods by 32 noise replicates."),
    ],
)
def test_how_noise_was_propagated(ways, words):
    assert words in text(*(processing("laplacian", std=way) for way in ways))


def test_what_several_echoes_do_to_the_noise_is_told():
    line = "by the least-squares line at echo time zero"
    assert line in text(processing("laplacian", std=EXACT, PhaseUnits=["rad"] * 2))
    assert line not in text(processing("laplacian", std=EXACT))


def test_a_sign_by_the_manufacturer_is_said():
    found = text(processing("laplacian", PhaseSignOrigin="Manufacturer", PhaseSign="-"))
    assert "taken from the manufacturer of the scanner (-)." in found
    assert "median Laplacian over" not in found


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("T1w", "the filled hull of the gray matter, white matter and cerebrospinal fluid"),
        ("template", "the signal in the brain of the MNI152 template"),
    ],
)
def test_a_mask_that_was_made(origin, words):
    made = processing("laplacian", mask={"Type": "Brain", "MaskOrigin": origin, "Sources": []})
    assert words in text(made)
    both = text(made, processing("laplacian"))
    assert "(in 1 of 2 acquisitions) and in the largest connected part" in both
    assert "Abraham" in as_markdown(describe_methods([made]))
