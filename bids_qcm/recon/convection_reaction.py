"""The convection-reaction equation of the phase, and its derivatives."""

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.neighbours import at_both_ends, balance, differences, neighbours, through
from bids_qcm.recon.pairs import PairOperator


def inner_voxels(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which voxels of a mask, (X, Y, Z), have all six neighbours in it.

    Examples
    --------
    >>> inner_voxels(np.ones((3, 3, 3), dtype=bool)).sum()
    np.int64(1)
    """
    pairs = []
    for axis in range(3):
        here, there = neighbours(axis)
        pair = np.zeros(inside.shape)
        pair[here] = inside[here] & inside[there]
        pairs.append(pair)
    return at_both_ends(pairs, pairs) == 6


class ConvectionReaction:
    """The equation ``div(b^2 grad(phi) / kappa) = b^2`` at the inner voxels of a mask.

    b is the magnitude of B1+, constant if it is not given. kappa is ``2 omega mu0 sigma``: where
    the conductivity and b are constant, it is the Laplacian of the phase. The inner voxels are
    those with six neighbours in the mask; the phase of the others, its rim, is free.

    Parameters
    ----------
    inside : ndarray of bool, shape (X, Y, Z)
        The mask.
    voxel_size : tuple of 3 floats
        In mm.
    log_kappa : ndarray of float64, shape (X, Y, Z)
        kappa in rad/m^2.
    b1_squared : ndarray of float64, shape (X, Y, Z), optional
        b^2 in any unit, positive in the mask.

    Attributes
    ----------
    inner : ndarray of bool, shape (X, Y, Z)
        Where the equation holds.
    links : list of 3 ndarrays of float64, shape (X, Y, Z)
        b^2 / kappa over the squared distance, of the pairs along each axis, in 1/rad.
    voxel_size : tuple of 3 floats
        In mm.
    source : ndarray of float64, shape (X, Y, Z)
        b^2 at the inner voxels, 0 elsewhere.

    Notes
    -----
    Finite volumes: what flows through the face of two voxels is the harmonic mean of their 1/kappa
    times the difference of their phases. So the phase may have kinks where tissues meet, as the
    equation requires [1]_. The b^2 of a face is the mean of that of its two voxels.

    References
    ----------
    .. [1] Gurler N, Ider YZ. Gradient-based electrical conductivity imaging using MR phase. Magn
       Reson Med 2017. doi:10.1002/mrm.26338
    """

    def __init__(
        self,
        inside: NDArray[np.bool_],
        voxel_size: Triple,
        log_kappa: NDArray[np.float64],
        b1_squared: NDArray[np.float64] | None = None,
    ) -> None:
        self.inner = inner_voxels(inside)
        self.source = self.inner * (1.0 if b1_squared is None else b1_squared)
        self._inside = inside
        self.voxel_size = voxel_size
        self._kappa = np.where(inside, np.exp(log_kappa), 0)
        self.links, self._share = [], []
        for axis, size in enumerate(voxel_size):
            here, there = neighbours(axis)
            pair = inside[here] & inside[there]
            total = np.where(pair, self._kappa[here] + self._kappa[there], 1)
            link, share = np.zeros((2, *inside.shape))
            link[here] = np.where(pair, 2 / total / (size * 1e-3) ** 2, 0)
            if b1_squared is not None:
                link[here] *= (b1_squared[here] + b1_squared[there]) / 2
            # of the first of two voxels in what their 1/kappa depends on
            share[here] = self._kappa[here] / total
            self.links.append(link)
            self._share.append(share)
        # both operators share these arrays
        self._single = [link.astype(np.float32) for link in self.links]
        self._none = np.zeros(inside.shape, np.float32)
        self.divergence = PairOperator(self._single, self._single, self._none, self.inner)

    def excess(self, phase: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return ``b^2 - div(b^2 grad(phi) / kappa)`` at the inner voxels, 0 elsewhere."""
        return self.source + np.where(self.inner, through(self.links, phase), 0)

    def divergence_transposed(self, factor: NDArray[np.floating]) -> PairOperator:
        """Return the transpose of ``-div(b^2 grad() / kappa)``, times a volume, (X, Y, Z)."""
        return PairOperator(self._single, self._single, self._none, factor)

    def by_log_kappa(self, phase: NDArray[np.float64]) -> tuple[PairOperator, PairOperator]:
        """Return the derivative of the excess by log(kappa) at a phase, and its transpose."""
        fluxes, first, second = [], [], []
        for link, share, step in zip(self.links, self._share, differences(phase), strict=True):
            flux = link * step
            fluxes.append(flux)
            first.append((-flux * share).astype(np.float32))
            second.append((flux * (1 - share)).astype(np.float32))
        return (
            PairOperator(second, first, -balance(fluxes), self.inner),
            PairOperator(first, second, self._none, self._inside),
        )

    def squared_gradient(self, phase: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``|grad(phi)|^2 / kappa^2`` in mm^2, (X, Y, Z); 0 outside the mask."""
        total = np.zeros(phase.shape)
        for step, link, size in zip(differences(phase), self.links, self.voxel_size, strict=True):
            total += np.where(link > 0, (step / size) ** 2, 0)
        kappa = np.where(self._inside, self._kappa, 1)
        # rad/mm over rad/m^2
        return np.where(self._inside, total / kappa**2 * 1e12, 0)
