"""
Conductivity from arrays
========================

This example computes a conductivity map and its noise standard deviation from the magnitude and
phase of two echoes. The example uses no files. The images show a numerical head with known
conductivity. You can also use your own arrays of shape (X, Y, Z).
"""

# %%
# The images
# ----------
# The head has 4 mm voxels, so the example takes only seconds. The phase is wrapped and noisy,
# like phase images from a scanner. At this voxel size, most voxels of the cortex and the fluid
# contain two tissues.

from bids_qcm.phantom.make import make_phantom
from bids_qcm.phantom.parameters import PhantomParameters

phantom = make_phantom(PhantomParameters(resolution=4, snr=100, echo_times=(0.003, 0.008)))
voxel_size = (4, 4, 4)  # mm
print(len(phantom.phase), "echoes of", phantom.phase[0].shape, phantom.phase[0].dtype)

# %%
# The phase at echo time zero
# ---------------------------
# A line is fitted to the phase of both echoes, and phi0 is the value of the line at echo time zero.
# ``compute_phi0`` also estimates the noise of the phase and of the magnitude. If your phase images
# are not in radians, first convert them with
# :func:`~bids_qcm.phase.recognise_units` and :func:`~bids_qcm.phase.to_radians`.

from bids_qcm.phase import compute_phi0

phi0 = compute_phi0(phantom.magnitude, phantom.phase, (0.003, 0.008), mask=phantom.mask)
print(f"mean noise of the phase {1000 * phi0.noise[phi0.mask].mean():.1f} mrad")

# %%
# The sign of the phase
# ---------------------
# The sign depends on the scanner. ``determine_sign`` finds the sign for which the conductivity is
# positive.

from bids_qcm.recon import determine_sign

decision = determine_sign(phi0.phase, mask=phi0.mask, voxel_size=voxel_size)
print(f"sign {decision.sign}, in agreement with {decision.agreement:.0%} of the voxels")

# %%
# The conductivity
# ----------------
# With an integral radius below the published 20 mm, the map is less smooth but noisier.

from bids_qcm.recon import reconstruct

result = reconstruct(
    phi0.phase,
    method="integral-magseg",
    voxel_size=voxel_size,
    frequency=phantom.frequency,  # Hz
    mask=phi0.mask,
    magnitude=phi0.magnitude,
    labels=phantom.labels,
    sign=decision.sign,
    fit_radius=10,  # mm
    integral_radius=12,
    phase_noise=phi0.noise,
    magnitude_noise=phi0.magnitude_noise,
)
print(f"{result.invalid_fraction:.1%} of the mask is invalid")

# %%
# The result
# ----------
# Invalid voxels are NaN, so use statistics that ignore NaN values.

import numpy as np

for label, tissue in ((1, "gray matter"), (2, "white matter"), (3, "fluid")):
    where = (phantom.labels == label) & phi0.mask
    found = np.nanmedian(result.conductivity[where])
    noise = np.nanmedian(result.conductivity_std[where])
    truth = np.median(phantom.conductivity[where])
    print(f"{tissue}: {found:.2f} S/m, noise {noise:.2f} S/m, truth {truth:.2f} S/m")

# %%
# The figure shows one slice of the true conductivity, the map and its noise standard deviation, all
# in S/m:

import matplotlib.pyplot as plt

level = 32
figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
shown = (
    ("truth", phantom.conductivity * phi0.mask, 2.2),
    ("integral-magseg", result.conductivity, 2.2),
    ("noise standard deviation", result.conductivity_std, 0.5),
)
for axis, (title, volume, largest) in zip(axes, shown, strict=True):
    image = axis.imshow(volume[:, :, level].T, origin="lower", vmin=0, vmax=largest)
    axis.set(title=title, xticks=[], yticks=[])
    figure.colorbar(image, ax=axis, shrink=0.7)
plt.show()
