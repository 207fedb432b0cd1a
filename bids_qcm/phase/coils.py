"""Coil combination that preserves the phase at echo time zero."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Exponent of the voxel weights. With an exponent of 8, almost only voxels near the centre of the
# coil array contribute.
_CENTRALITY = 8

_ITERATIONS = 50


def coil_weights(coils: Sequence[NDArray[np.complexfloating]]) -> NDArray[np.complex128]:
    """Return a phase factor for each coil, such that the coil signals add up in phase.

    Parameters
    ----------
    coils : sequence of complex ndarrays, shape (X, Y, Z)
        Signal of each coil for one echo.

    Returns
    -------
    ndarray of complex, shape (coils,)
        Factors of magnitude 1. The combined signal is the sum of the signals times their factors.

    Notes
    -----
    A sum with constant factors is the signal of one coil whose receive field is the sum of the
    receive fields. Such a field obeys Maxwell's equations, so that the phase of the sum is a
    transceive phase like the phase of a single coil. Methods that divide by the phase of each coil
    in each voxel, such as MCPC-3D-S and ASPIRE, remove the transceive phase.

    The factors maximise the energy of the combined signal. Each voxel is weighted by
    ``((sum |S|)^2 / (n sum |S|^2))^8`` with sums over the n coils, which is 1 where all coils
    receive the same signal. Near a coil, the relative phase of two coils differs from the value in
    the centre, and the weight is almost 0.
    """
    signals = np.stack([np.ravel(coil) for coil in coils]).astype(np.complex64)
    amplitude = np.abs(signals)
    energy = len(signals) * np.sum(amplitude**2, axis=0)
    shared = np.divide(amplitude.sum(axis=0) ** 2, energy, where=energy > 0, out=0 * energy)
    signals *= shared ** (_CENTRALITY / 2)
    products = (signals @ signals.conj().T).astype(np.complex128)
    found = []
    for start in products.T:
        phases = np.exp(1j * np.angle(start))
        for _ in range(_ITERATIONS):
            phases = np.exp(1j * np.angle(products @ phases))
        found.append(phases)
    best: NDArray[np.complex128] = max(found, key=lambda one: (one.conj() @ products @ one).real)
    return best.conj()
