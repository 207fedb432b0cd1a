"""The convection-reaction equation of the phase and its derivatives."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.neighbours import (
    balance,
    differences,
    graph_laplacian,
    neighbours,
    scatter_to_voxels,
)
from bids_qcm.recon.pairs import PairOperator


def inner_voxels(inside: NDArray[np.bool_], axes: Sequence[int] = (0, 1, 2)) -> NDArray[np.bool_]:
    """Whether each voxel has both neighbours along each axis in the mask, shape (X, Y, Z).

    Examples
    --------
    >>> inner_voxels(np.ones((3, 3, 3), dtype=bool)).sum()
    np.int64(1)
    """
    pairs = []
    for axis in range(3):
        pair = np.zeros(inside.shape)
        if axis in axes:
            here, there = neighbours(axis)
            pair[here] = inside[here] & inside[there]
        pairs.append(pair)
    return scatter_to_voxels(pairs, pairs) == 2 * len(axes)


class ConvectionReaction:
    """The equation ``div(b^2 grad(phi) / kappa) = b^2`` at the inner voxels of a mask.

    b is the magnitude of B1+, or a constant if there is no map. For the transceive phase, kappa is
    ``2 omega mu0 sigma``. Where the conductivity and b are constant, kappa is the Laplacian of the
    phase. Inner voxels have all six neighbours in the mask. The other voxels of the mask form its
    rim, where the equation does not constrain the phase. With two axes, the equation is
    two-dimensional: it neglects the flux across the slices, and inner voxels have four neighbours.

    Parameters
    ----------
    inside : ndarray of bool, shape (X, Y, Z)
        The mask.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    log_kappa : ndarray of float64, shape (X, Y, Z)
        Natural logarithm of kappa in rad/m^2.
    b1_squared : ndarray of float64, shape (X, Y, Z), optional
        b^2 in any unit, positive in the mask.
    axes : sequence of int
        Axes along which the phase is differentiated.

    Attributes
    ----------
    inner : ndarray of bool, shape (X, Y, Z)
        The inner voxels, where the equation holds.
    links : list of 3 ndarrays of float64, shape (X, Y, Z)
        ``b^2 / kappa`` divided by the squared distance for the pairs along each axis, in 1/rad
        times the unit of b^2; 0 along axes that are not in `axes`.
    axes : tuple of int
        Axes along which the phase is differentiated.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    source : ndarray of float64, shape (X, Y, Z)
        b^2 at the inner voxels; 0 elsewhere.
    divergence : PairOperator
        Returns ``-div(b^2 grad(phi) / kappa)`` at the inner voxels, 0 elsewhere.

    Notes
    -----
    The equation is discretised by finite volumes. The flux through the face between two voxels is
    the difference of their phases times the harmonic mean of their ``1 / kappa``. The phase may
    therefore have kinks at tissue borders, as the equation requires [1]_. The value of b^2 on a
    face is the mean over its two voxels.

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
        axes: Sequence[int] = (0, 1, 2),
    ) -> None:
        self.axes = tuple(axes)
        self.inner = inner_voxels(inside, axes)
        self.source = np.where(self.inner, 1.0 if b1_squared is None else b1_squared, 0.0)
        self._inside = inside
        self.voxel_size = voxel_size
        self._kappa = np.where(inside, np.exp(log_kappa), 0)
        self.links, self._share = [], []
        for axis, size in enumerate(voxel_size):
            here, there = neighbours(axis)
            pair = inside[here] & inside[there] & (axis in axes)
            total = np.where(pair, self._kappa[here] + self._kappa[there], 1)
            link, share = np.zeros((2, *inside.shape))
            link[here] = np.where(pair, 2 / total / (size * 1e-3) ** 2, 0)
            if b1_squared is not None:
                link[here] *= (b1_squared[here] + b1_squared[there]) / 2
            # negative derivative of log(link) with respect to log(kappa) of the pair's first voxel
            share[here] = self._kappa[here] / total
            self.links.append(link)
            self._share.append(share)
        self.divergence = PairOperator(self.links, self.inner)

    def excess(self, phase: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``b^2 - div(b^2 grad(phi) / kappa)`` at the inner voxels, 0 elsewhere."""
        return self.source + np.where(self.inner, graph_laplacian(self.links, phase), 0)

    def divergence_transposed(self, factor: NDArray[np.floating]) -> PairOperator:
        """Return the operator ``y -> factor * A' y``, where A is `divergence`.

        y must be 0 outside the inner voxels; `factor` is a volume, (X, Y, Z).
        """
        return self.divergence.with_factor(factor)

    def by_log_kappa(self, phase: NDArray[np.float64]) -> tuple[PairOperator, PairOperator]:
        """Return the derivative of the excess with respect to log(kappa), and its transpose.

        The derivative is taken at the given phase. The argument of the transpose must be 0 outside
        the inner voxels.
        """
        fluxes = [link * step for link, step in zip(self.links, differences(phase), strict=True)]
        derivative = PairOperator(
            (flux * (1 - share) for flux, share in zip(fluxes, self._share, strict=True)),
            self.inner,
            backward=(-flux * share for flux, share in zip(fluxes, self._share, strict=True)),
            extra=-balance(fluxes),
        )
        return derivative, derivative.exchanged(self._inside)

    def squared_gradient(self, phase: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``|grad(phi)|^2 / kappa^2`` in mm^2 from forward differences, shape (X, Y, Z).

        The result is 0 outside the mask.
        """
        total = np.zeros(phase.shape)
        for step, link, size in zip(differences(phase), self.links, self.voxel_size, strict=True):
            total += np.where(link > 0, (step / size) ** 2, 0)
        kappa = np.where(self._inside, self._kappa, 1)
        # convert (rad/mm)^2 / (rad/m^2)^2 to mm^2
        return np.where(self._inside, total / kappa**2 * 1e12, 0)
