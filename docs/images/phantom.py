"""Draw phantom.png: true conductivity of the phantom, three conductivity maps, and their errors.

Run this script in the folder in which these commands created `phantom` and `maps`:

    bids-qcm-phantom create phantom
    bids-qcm phantom maps participant --method laplacian integral-magseg inversion-seg
    python .../docs/images/phantom.py
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

TRUTH = Path("phantom/derivatives/phantom/sub-01/anat/sub-01_desc-truth_condmap.nii.gz")
MASK = TRUTH.with_name("sub-01_desc-brain_mask.nii.gz")
MAPS = Path("maps/sub-01/anat")
METHODS = {
    "laplacian": "laplacian",
    "integral-magseg": "integralMagSeg",
    "inversion-seg": "inversionSeg",
}
Z_MM = 20


def scale(colours: str, low: float, high: float) -> mpl.cm.ScalarMappable:
    """Return a colour scale from low to high that shows invalid voxels in green."""
    known = mpl.colormaps[colours].with_extremes(bad="limegreen")
    return mpl.cm.ScalarMappable(mpl.colors.Normalize(low, high), known)


def main() -> None:
    """Draw the figure and save it in the folder of this file."""
    image = nib.load(TRUTH)
    level = int(np.linalg.solve(image.affine, (0, 0, Z_MM, 1))[2])
    inside = nib.load(MASK).get_fdata() > 0
    truth = np.where(inside, image.get_fdata(), 0)
    found = {
        name: nib.load(MAPS / f"sub-01_desc-{desc}_condmap.nii.gz").get_fdata()
        for name, desc in METHODS.items()
    }
    across, along = (np.flatnonzero(inside[:, :, level].any(axis)) for axis in (1, 0))
    shown = np.s_[across[0] : across[-1] + 1, along[0] : along[-1] + 1, level]
    figure, axes = plt.subplots(2, 4, figsize=(8, 5), layout="constrained")
    conductivity = scale("inferno", 0, 2.2)
    difference = scale("RdBu_r", -1, 1)

    def draw(axis: plt.Axes, values: np.ndarray, colours: mpl.cm.ScalarMappable) -> None:
        alpha = inside[shown].T.astype(float)
        axis.imshow(values[shown].T, colours.cmap, colours.norm, origin="lower", alpha=alpha)

    for axis in axes.flat:
        axis.set_axis_off()
    draw(axes[0, 0], truth, conductivity)
    axes[0, 0].set_title("true conductivity", size=9)
    for (upper, lower), (name, values) in zip(axes[:, 1:].T, found.items(), strict=True):
        error = values - truth
        draw(upper, values, conductivity)
        draw(lower, error, difference)
        upper.set_title(f"{name}\nmean error {np.nanmean(np.abs(error[inside])):.2f} S/m", size=9)
    bars = ((0.7, "conductivity, S/m", conductivity), (0.3, "map minus truth, S/m", difference))
    for height, label, colours in bars:
        bar = axes[1, 0].inset_axes((0, height, 0.9, 0.05))
        figure.colorbar(colours, bar, orientation="horizontal", label=label)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
