import json

import numpy as np
import pytest
from PIL import Image

from bids_qcm.bids.derivatives import write_dataset_files
from bids_qcm.bids.images import save_array
from bids_qcm.bids.results import find_results
from bids_qcm.reports.drawing import draw_result

SIDECAR = {
    "MaskType": "signal",
    "PhaseSign": "+",
    "PhaseType": "transceive",
    "ImagingFrequency": 127.7,
    "Segmentation": [],
    "Sources": [],
}


@pytest.fixture
def result(tmp_path):
    """Return a function that writes the results of a disc or ball and finds these results."""

    def result(shape):
        out = tmp_path / "out"
        write_dataset_files(out, {"raw": tmp_path})
        centred = np.ogrid[tuple(slice(-1, 1, n * 1j) if n > 1 else slice(0, 1) for n in shape)]
        mask = sum(np.square(axis) for axis in centred) < 0.8
        values = np.where(mask, 0.5, 0).astype(np.float32)
        for name, volume in {
            "desc-laplacian_condmap": values,
            "desc-integral_condmap": values,
            "desc-integral_condstd": values / 10,
            "phi0map": (sum(centred) * mask).astype(np.float32),
            "desc-signal_mask": mask.astype(np.uint8),
            "part-mag_desc-preproc_T2w": values * 100,
        }.items():
            path = out / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"
            save_array(path, volume, np.diag([2.0, 3.0, 4.0, 1.0]))
            path.with_name(f"sub-01_{name}.json").write_text(json.dumps(SIDECAR))
        (found,) = find_results(out, "sub-01")
        return found

    return result


def test_b1_is_drawn_if_a_map_was_computed_with_it(result, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    found = result((12, 14, 10))
    path = tmp_path / "out/sub-01/fmap/sub-01_desc-model_TB1map.nii.gz"
    save_array(path, np.ones((12, 14, 10), np.float32), np.diag([2.0, 3.0, 4.0, 1.0]))
    # Figure of an earlier run.
    assert found.b1_map is None
    sidecar = found.maps[0].condmap.with_name("sub-01_desc-laplacian_condmap.json")
    sidecar.write_text(json.dumps(SIDECAR | {"B1Map": "model"}))
    (found,) = find_results(tmp_path / "out", "sub-01")
    assert found.b1_map == path
    assert "b1" in draw_result(found, folder).shared


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(20, 24, 1), (20, 1, 24), (1, 20, 24), (12, 14, 10)])
def test_a_single_slice_of_any_orientation_has_all_figures(result, tmp_path, shape):
    folder = tmp_path / "figures"
    folder.mkdir()
    drawn = draw_result(result(shape), folder)
    pictures = {"mask", "wrapped", "phase", "comparison"}
    assert set(drawn.shared) == pictures | {"distributions"}
    assert set(drawn.maps) == {"laplacian", "integral"}
    assert drawn.noise == {"integral": {"whole mask": pytest.approx(0.05)}}
    assert set(folder.iterdir()) == drawn.paths
    for path in (*(drawn.shared[name] for name in pictures), *drawn.maps.values()):
        picture = np.asarray(Image.open(path).convert("RGB"), float)
        # The figure shows the disc, not a line through the disc.
        coloured = np.abs(picture - picture[0, 0]).max(axis=-1) > 30
        assert coloured.any(axis=0).mean() > 0.2
        assert coloured.any(axis=1).mean() > 0.2


@pytest.mark.slow
def test_maps_in_other_spaces_are_drawn_with_outlines(result, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    found = result((12, 14, 10))
    anat = tmp_path / "out/sub-01/anat"
    grid = np.diag([8.0, 8.0, 8.0, 1.0])
    grid[:3, 3] = [-88, -120, -64]
    for space in ("T1w", "MNI152NLin2009aSym"):
        values = np.zeros((22, 26, 22), np.float32)
        values[6:16, 6:20, 8:18] = 0.5
        save_array(anat / f"sub-01_space-{space}_desc-laplacian_condmap.nii.gz", values, grid)
    drawn = draw_result(found, folder)
    assert set(drawn.spaces) == {"T1w", "MNI152NLin2009aSym"}
    red = {}
    for space, path in drawn.spaces.items():
        pixels = np.asarray(Image.open(path).convert("RGB"), int)
        red[space] = ((pixels - [255, 51, 51]).__abs__().max(axis=-1) < 40).mean()
    # only the map in template space has the red outline of the template brain
    assert red["MNI152NLin2009aSym"] > 0.001 > red["T1w"]
    (anat / "sub-01_space-T1w_desc-laplacian_condmap.nii.gz").unlink()
    old = drawn.spaces["T1w"]
    assert set(draw_result(found, folder).spaces) == {"MNI152NLin2009aSym"}
    assert not old.exists()
