"""Prior of log(conductivity), which favours smooth maps near the tissue means."""

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon.compiling import LEAF, compiled
from bids_qcm.recon.conjugate_gradients import conjugate_gradients
from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.multigrid import Multigrid
from bids_qcm.recon.neighbours import Links, neighbours
from bids_qcm.recon.pairs import PairOperator, in_planes

_TOLERANCE = 1e-2
_MAX_ITERATIONS = 60

# Eigenvalues below this fraction of the largest eigenvalue are rounding errors and count as 0.
_RANK_TOLERANCE = 1e-9


class TissuePrior:
    """A normal prior of u = log(kappa), ``exp(-u . Q u / 2)``, with a free mean over the mask.

    ``u . Q u = sum c_ij (u_i - u_j)^2 + mu V sum (u_i - mean of u over the tissue of i)^2``, where
    V is the volume of a voxel.

    Parameters
    ----------
    links : sequence of 3 ndarrays of float64, shape (X, Y, Z)
        Coefficients c for the pairs along each axis; not negative, and 0 unless both voxels are in
        the mask.
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 outside the mask.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    to_mean : float
        Weight mu in mm^-3; positive.
    """

    def __init__(
        self, links: Links, support: NDArray[np.int32], voxel_size: Triple, to_mean: float
    ) -> None:
        self._inside = support != 0
        numbers, tissues = np.unique(support, return_inverse=True)
        # index 0 is reserved for voxels outside the mask, even if the mask fills the volume
        tissues = tissues.reshape(support.shape) + (0 if numbers[0] == 0 else 1)
        self._tissues = tissues.astype(np.int32)
        self._sizes = np.maximum(np.bincount(tissues.ravel()), 1)
        self._weight = np.float32(to_mean * np.prod(voxel_size))
        self._differences = PairOperator(links, self._inside)
        self._smoother = Multigrid(links, self._inside, float(self._weight))
        self._by_means = np.linalg.pinv(
            _between_tissues(links, self._tissues, len(self._sizes)),
            rcond=_RANK_TOLERANCE,
            hermitian=True,
        )

    def precision(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return Q u, shape (X, Y, Z)."""
        out = self._differences(values)
        values = np.ascontiguousarray(values, np.float32)
        means = (self._sums(values) / self._sizes).astype(np.float32)
        in_planes(_add_less_mean, out, values, self._tissues, means, self._weight)
        return out

    def covariance(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return C v, shape (X, Y, Z), where C is the pseudoinverse of Q.

        Q has no inverse, because it maps a constant to 0.

        Raises
        ------
        RuntimeError
            If the iterations do not converge.
        """
        found = conjugate_gradients(
            self.precision,
            self._precondition,
            self._less_mean(values),
            tolerance=_TOLERANCE,
            max_iterations=_MAX_ITERATIONS,
        )
        if not found.converged:
            raise RuntimeError(
                f"the solver for the tissue prior did not converge in {found.iterations} iterations"
            )
        return self._less_mean(found.values)

    def _precondition(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the sum of a V-cycle and a pseudoinverse of Q for the tissue means.

        The V-cycle handles the variation within tissues, and the pseudoinverse of Q handles maps
        that are constant in each tissue.
        """
        out = self._smoother.cycle(values)
        means = (self._by_means @ self._sums(values)).astype(np.float32)
        in_planes(_add_means, out, self._tissues, means)
        return out

    def _less_mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        mean = values[self._inside].mean(dtype=np.float64)
        return np.where(self._inside, values - np.float32(mean), np.float32(0))

    def _sums(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the sum over each tissue, with 0 for the voxels outside the mask."""
        planes = np.zeros((len(values), len(self._sizes)))
        in_planes(_sum_tissues, values, self._tissues, planes)
        sums = planes.sum(axis=0)
        sums[0] = 0
        return sums


def _between_tissues(links: Links, tissues: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Return the matrix of Q for maps that are constant in tissues, shape (count, count)."""
    matrix = np.zeros((count, count))
    for axis, link in enumerate(links):
        here, there = neighbours(axis)
        first, second, c = tissues[here].ravel(), tissues[there].ravel(), link[here].ravel()
        across = (first != second) & (c > 0)
        pair = first[across] * count + second[across]
        matrix -= np.bincount(pair, c[across], count**2).reshape(count, count)
    matrix += matrix.T
    return matrix - np.diag(matrix.sum(axis=1))


@compiled(**LEAF)
def _sum_tissues(planes, values, tissues, sums):  # noqa: ANN001, ANN202
    for x in planes:
        for y in range(values.shape[1]):
            for z in range(values.shape[2]):
                sums[x, tissues[x, y, z]] += values[x, y, z]


@compiled(**LEAF)
def _add_less_mean(planes, out, values, tissues, means, weight):  # noqa: ANN001, ANN202
    for x in planes:
        for y in range(out.shape[1]):
            for z in range(out.shape[2]):
                tissue = tissues[x, y, z]
                if tissue:
                    out[x, y, z] += weight * (values[x, y, z] - means[tissue])


@compiled(**LEAF)
def _add_means(planes, out, tissues, means):  # noqa: ANN001, ANN202
    for x in planes:
        for y in range(out.shape[1]):
            for z in range(out.shape[2]):
                if tissues[x, y, z]:
                    out[x, y, z] += means[tissues[x, y, z]]
