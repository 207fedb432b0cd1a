"""Estimate the linear phase in phi0 from its effect at tissue borders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from bids_qcm.recon.arguments import as_volume
from bids_qcm.recon.convection_reaction import ConvectionReaction
from bids_qcm.recon.kernels import Triple, as_triple

# Standard deviation, in mm, of the Gaussian that averages out noise and errors of tissue borders;
# and its minimum in voxels.
_SMOOTHING_MM, _LEAST_SMOOTHING = 4.0, 1.0

# Distance between slices, in mm, that exceeds all distances within a slice.
_FAR = 1e6

# Size of the jackknife blocks. Errors of the model, such as a wrong |B1+| map, are correlated over
# this distance. Smaller blocks would not be independent, and the standard error would be
# underestimated. A head contains few blocks, so the covariance is averaged over several grids of
# blocks, which are shifted by half a block.
_BLOCK_MM = 45.0
_SHIFTS = tuple(product((0.0, 0.5), repeat=3))
_FEWEST_BLOCKS = 8

# Prior of the linear phase along an axis: the odds of a non-zero linear phase, and the standard
# deviation, in rad/m, of a non-zero linear phase.
_PRIOR_ODDS, _PRIOR_SD = 0.25, 20.0

# Values of kappa are clipped to these multiples of the median.
_LOWEST, _HIGHEST = 0.3, 6.0


@dataclass(frozen=True, eq=False)
class LinearPhase:
    """Estimate of the linear phase in phi0, and its uncertainty.

    Attributes
    ----------
    estimate : ndarray of float64, shape (n,)
        Least-squares estimate of a in the phase ``a . x``, in rad/m along the n axes along which
        the phase is differentiated.
    covariance : ndarray of float64, shape (n, n)
        Covariance of the estimate in (rad/m)^2, from noise and model errors. The diagonal is
        infinite if the mask is too small for an estimate.
    posterior_mean : ndarray of float64, shape (n,)
        Posterior mean of a in rad/m: the linear phase to remove. It is close to the estimate if the
        evidence is strong, and close to 0 if the evidence is weak.
    explained_fraction : float
        Fraction of the residual variance that is explained by the estimate, 0 to 1.
    """

    estimate: NDArray[np.float64]
    covariance: NDArray[np.float64]
    posterior_mean: NDArray[np.float64]
    explained_fraction: float

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """Standard error of each component in rad/m."""
        return np.sqrt(np.diag(self.covariance))

    def shifted(self, removed: NDArray[np.float64]) -> "LinearPhase":
        """Return the estimate for the phase before `removed` (in rad/m) was subtracted."""
        estimate = self.estimate + removed
        return replace(
            self, estimate=estimate, posterior_mean=posterior_mean(estimate, self.covariance)
        )

    def on_axes(self, axes: Sequence[int]) -> "LinearPhase":
        """Return the linear phase along all three axes; it is 0 along axes that `axes` omits."""
        estimate, mean, covariance = np.zeros(3), np.zeros(3), np.zeros((3, 3))
        estimate[list(axes)], mean[list(axes)] = self.estimate, self.posterior_mean
        covariance[np.ix_(axes, axes)] = self.covariance
        return LinearPhase(estimate, covariance, mean, self.explained_fraction)


def unknown_linear_phase(n_axes: int = 3) -> LinearPhase:
    """Return the result for data that do not permit an estimate."""
    nothing = np.zeros(n_axes)
    return LinearPhase(nothing, np.diag(np.full(n_axes, np.inf)), nothing, 0.0)


def make_linear_phase(
    gradient: Sequence[float] | NDArray[np.floating], shape: Sequence[int], voxel_size: Triple
) -> NDArray[np.float64]:
    """Return the phase ``a . x`` on a voxel grid.

    Subtract this phase from phi0 to remove a linear phase.

    Parameters
    ----------
    gradient : sequence of 3 floats
        a in rad/m.
    shape : sequence of 3 ints
        Shape of the volume.
    voxel_size : tuple of 3 floats
        Voxel size in mm.

    Returns
    -------
    ndarray of float64, shape (X, Y, Z)
        Phase in rad; 0 at the first voxel.

    Examples
    --------
    >>> make_linear_phase((10, 0, 0), (3, 1, 1), (2, 2, 2)).ravel()
    array([0.  , 0.02, 0.04])
    """
    slopes = np.asarray(gradient, dtype=np.float64) * voxel_size * 1e-3
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(slope * axis for slope, axis in zip(slopes, axes, strict=True))


def estimate_linear_phase(
    phase: ArrayLike,
    mask: ArrayLike,
    kappa: ArrayLike,
    *,
    voxel_size: float | Triple,
    labels: ArrayLike | None = None,
    b1_squared: ArrayLike | None = None,
    axes: Sequence[int] = (0, 1, 2),
) -> LinearPhase:
    """Estimate the linear phase in phi0 from its effect at tissue borders.

    Parameters
    ----------
    phase : array_like of float, shape (X, Y, Z)
        phi0 in rad, unwrapped, finite in the mask. Its sign must make the Laplacian positive.
    mask : array_like of bool, shape (X, Y, Z)
        Brain mask.
    kappa : array_like of float, shape (X, Y, Z)
        Initial conductivity map, divided by the conductivity factor k, in rad/m^2. Compute it with
        a method that uses kernels, because such a method is hardly affected by a linear phase. A
        factor common to all voxels has no effect. NaN values are ignored.
    voxel_size : float or sequence of 3 floats
        Voxel size in mm.
    labels : array_like of int, shape (X, Y, Z), optional
        Tissue labels. In each tissue, kappa is replaced by its median. Label 0 is not a tissue; in
        its voxels, kappa is replaced by the median of the whole map. Without labels, the map is
        divided into two parts by Otsu's threshold, which is less accurate.
    b1_squared : array_like of float, shape (X, Y, Z), optional
        Square of the magnitude of B1+ in any unit, positive in the mask. Without it, the standard
        error at 3 T is several times larger, and most of the estimate may be an artefact of the
        missing map.
    axes : sequence of int
        Axes along which the phase is differentiated; two axes for in-plane kernels.

    Returns
    -------
    LinearPhase

    Raises
    ------
    ValueError
        If an argument has the wrong shape, or the median of kappa in the mask is not positive.

    Notes
    -----
    phi0 is the sum of ``a . x`` and a phase phi that obeys ``div(b^2 rho grad(phi)) = b^2``, where
    ``rho = 1/kappa`` [1]_. The residual ``q = div(b^2 rho grad(phi0)) - b^2`` is therefore the sum
    of ``a . grad(b^2 rho)``, noise, and errors of rho and b. If all values of kappa are wrong by a
    common factor, q also contains a multiple of b^2. All terms are computed with finite volumes, as
    in the inversion, and smoothed with a Gaussian with a standard deviation of 4 mm. Then a and the
    multiple of b^2 are estimated by least squares over the voxels that are far enough from the edge
    of the mask. For a given kappa, replacing phi0 by ``phi0 + c . x`` increases the estimate by
    exactly c.

    The covariance is a jackknife estimate over cubes of 45 mm, each left out once [2]_, averaged
    over eight grids of cubes. The cubes are large because the errors of the model are correlated
    over long distances. With cubes of 16 mm and without a map of B1+, the standard error would be
    three times too small.

    The prior is a "spike and slab" [3]_: each component of a is 0 with a probability of 0.8;
    otherwise it is normal with a standard deviation of 20 rad/m. An estimate of less than two
    standard errors therefore hardly changes the phase. An estimate of more than four standard
    errors is removed almost completely.

    References
    ----------
    .. [1] Gurler N, Ider YZ. Gradient-based electrical conductivity imaging using MR phase. Magn
       Reson Med 2017. doi:10.1002/mrm.26338
    .. [2] Kuensch HR. The jackknife and the bootstrap for general stationary observations. Ann Stat
       1989. doi:10.1214/aos/1176347265
    .. [3] Mitchell TJ, Beauchamp JJ. Bayesian variable selection in linear regression. J Am Stat
       Assoc 1988. doi:10.1080/01621459.1988.10478694
    """
    phi0 = np.asarray(phase, dtype=np.float64)
    size = as_triple(voxel_size, "voxel size")
    inside = as_volume(mask, phi0, "mask").astype(bool)
    tissues = None if labels is None else as_volume(labels, phi0, "labels")
    first = _of_tissues(as_volume(kappa, phi0, "kappa"), inside, tissues)
    squared = np.ones(phi0.shape)
    if b1_squared is not None:
        squared = as_volume(b1_squared, phi0, "b1_squared") / np.median(
            np.asarray(b1_squared)[inside]
        )
    squared = np.where(inside, squared, 1)
    equation = ConvectionReaction(inside, size, np.log(first), squared, axes)
    design, residual, voxels = _regression(equation, np.where(inside, phi0, 0), size)
    return _estimate(design, residual, voxels * np.array(size) / _BLOCK_MM)


def combine(first: LinearPhase, second: LinearPhase) -> LinearPhase:
    """Combine two estimates of the same linear phase.

    Parameters
    ----------
    first, second : LinearPhase
        Two estimates from the same phase with different values of kappa.

    Returns
    -------
    LinearPhase
        Mean of the estimates, weighted by their inverse covariances, with the smaller of the two
        explained fractions. If one estimate is unknown, the other estimate is returned.

    Notes
    -----
    If the estimates of a component differ by more than the standard error of their difference, the
    standard error of their mean is multiplied by the Birge ratio [1]_, which is the difference
    divided by its standard error. Therefore, little linear phase is removed if the estimates
    contradict each other.

    References
    ----------
    .. [1] Birge RT. The calculation of errors by the method of least squares. Phys Rev 1932.
       doi:10.1103/PhysRev.40.207
    """
    for one, other in ((first, second), (second, first)):
        if not np.isfinite(one.covariance).all():
            return other
    weights = [np.linalg.inv(one.covariance) for one in (first, second)]
    covariance = np.linalg.inv(weights[0] + weights[1])
    estimate = covariance @ (weights[0] @ first.estimate + weights[1] @ second.estimate)
    difference = np.abs(first.estimate - second.estimate)
    ratio = np.maximum(difference / np.hypot(first.standard_error, second.standard_error), 1)
    covariance *= np.outer(ratio, ratio)
    return LinearPhase(
        estimate,
        covariance,
        posterior_mean(estimate, covariance),
        min(first.explained_fraction, second.explained_fraction),
    )


def _of_tissues(
    kappa: NDArray[np.floating],
    inside: NDArray[np.bool_],
    labels: NDArray[np.integer] | None,
) -> NDArray[np.float64]:
    """Return the median kappa of each tissue at its voxels.

    Without labels, the tissues are the parts of the map above and below Otsu's threshold. The map
    itself cannot be used, because its errors come from the same phase.
    """
    known = inside & np.isfinite(kappa)
    typical = float(np.median(kappa[known])) if known.any() else 0.0
    if not typical > 0:
        raise ValueError("the median of kappa must be positive in the mask")
    limited = np.where(known, np.clip(kappa, _LOWEST * typical, _HIGHEST * typical), typical)
    if labels is None:
        labels = np.where(limited > np.exp(threshold_otsu(np.log(limited[inside]))), 2, 1)
    values = np.full(kappa.shape, typical)
    for label in np.unique(labels[known & (labels != 0)]):
        values[labels == label] = np.median(limited[known & (labels == label)])
    return values


def _regression(
    equation: ConvectionReaction, phase: NDArray[np.float64], voxel_size: Triple
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Return the regressors, the residual (n,) and the indices (n, 3) of the n voxels.

    The regressors are the components of ``grad(b^2 rho)`` along the axes of the equation, and b^2;
    shape (n, n_axes + 1). Regressors and residual are smoothed.
    """
    inner, axes = equation.inner, equation.axes
    sd = [
        max(_SMOOTHING_MM / size, _LEAST_SMOOTHING) if axis in axes else 0.0
        for axis, size in enumerate(voxel_size)
    ]
    # for an in-plane equation, measure the distance to the edge within each slice
    sampling = [size if axis in axes else _FAR for axis, size in enumerate(voxel_size)]
    depth = ndimage.distance_transform_edt(np.pad(inner, 1), sampling=sampling)
    kept = depth[1:-1, 1:-1, 1:-1] > max(s * size for s, size in zip(sd, voxel_size, strict=True))

    def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndimage.gaussian_filter(np.where(inner, values, 0), sd)[kept]

    def gradients() -> Iterator[NDArray[np.float64]]:
        for unit in np.eye(3)[list(equation.axes)]:
            # change of the divergence for a linear phase of 1 rad/m
            ramp = make_linear_phase(unit, phase.shape, voxel_size)
            yield smoothed(equation.source - equation.excess(ramp))

    residual = smoothed(-equation.excess(phase))
    # a factor common to all values of kappa changes the residual by a multiple of b^2, because
    # div(b^2 rho grad(phi)) = b^2
    columns = [*gradients(), smoothed(equation.source)]
    return np.stack(columns, axis=1), residual, np.argwhere(kept)


def _estimate(
    design: NDArray[np.float64], residual: NDArray[np.float64], places: NDArray[np.float64]
) -> LinearPhase:
    """Solve the regression.

    `places` contains the position of each row in units of blocks, shape (n, 3).
    """
    jackknifes = []
    for shift in _SHIFTS:
        covariance = _jackknife(design, residual, (places + shift).astype(int))
        if covariance is None:
            return unknown_linear_phase(design.shape[1] - 1)
        jackknifes.append(covariance)
    solution = np.linalg.solve(design.T @ design, design.T @ residual)
    # the last regressor is b^2
    estimate = solution[:-1].astype(np.float64)
    covariance = np.mean(jackknifes, axis=0)[:-1, :-1]
    explained = float(np.var(design[:, :-1] @ estimate) / np.var(residual))
    return LinearPhase(estimate, covariance, posterior_mean(estimate, covariance), explained)


def _jackknife(
    design: NDArray[np.float64], residual: NDArray[np.float64], blocks: NDArray[np.intp]
) -> NDArray[np.float64] | None:
    """Return the covariance of the regression, estimated by leaving out one block at a time.

    The result is None if there are too few blocks.
    """
    if not len(blocks):
        return None
    number = np.ravel_multi_index(tuple(blocks.T), blocks.max(axis=0) + 1)
    found, which = np.unique(number, return_inverse=True)
    n_blocks = len(found)
    if n_blocks < _FEWEST_BLOCKS:
        return None
    n_columns = design.shape[1]
    normal, right = np.zeros((n_blocks, n_columns, n_columns)), np.zeros((n_blocks, n_columns))
    for p in range(n_columns):
        right[:, p] = np.bincount(which, design[:, p] * residual, n_blocks)
        for q in range(n_columns):
            normal[:, p, q] = np.bincount(which, design[:, p] * design[:, q], n_blocks)
    without = np.linalg.solve(normal.sum(axis=0) - normal, (right.sum(axis=0) - right)[..., None])
    deviations = without[..., 0] - without[..., 0].mean(axis=0)
    return deviations.T @ deviations * (n_blocks - 1) / n_blocks


def posterior_mean(
    estimate: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the posterior mean of a linear phase, which is close to 0 if the evidence is weak.

    Parameters
    ----------
    estimate : ndarray of float64, shape (n,)
        Least-squares estimate in rad/m.
    covariance : ndarray of float64, shape (n, n)
        Covariance of the estimate in (rad/m)^2.

    Returns
    -------
    ndarray of float64, shape (n,)
        Posterior mean in rad/m; 0 if the covariance is infinite.

    Examples
    --------
    >>> posterior_mean(np.array([3.0, 10.0, 40.0]), 2.0**2 * np.eye(3)).round(1)
    array([ 0.2,  9.9, 39.6])
    """
    if not np.isfinite(covariance).all():
        return np.zeros_like(estimate)
    means, logs = [], []
    for present in product((False, True), repeat=len(estimate)):
        prior = np.diag(np.where(present, _PRIOR_SD**2, 0.0))
        total = covariance + prior
        solved = np.linalg.solve(total, estimate)
        means.append(prior @ solved)
        evidence = -(estimate @ solved + np.linalg.slogdet(total)[1]) / 2
        logs.append(evidence + sum(present) * np.log(_PRIOR_ODDS))
    weights = np.exp(np.array(logs) - np.max(logs))
    return weights @ np.array(means) / weights.sum()
