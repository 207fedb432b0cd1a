"""The closed surface integral of the phase gradient on a voxel grid."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from bids_qcm.recon.blocks import aligned, blocks_of, padded, padded_all, reach, zeros_for_run
from bids_qcm.recon.compiling import LEAF, VECTORISED, compiled, in_threads
from bids_qcm.recon.kernels import Triple, ellipsoid, runs
from bids_qcm.recon.methods import MAGNITUDE_DELTA
from bids_qcm.recon.neighbours import neighbours

_Scalar = TypeVar("_Scalar", bound=np.generic)

# Number of lanes in a block. It is larger than in the fit, because these loops need little data for
# each lane.
_LANES = 128

# Number of blocks that process a run of the kernel one after the other, while its data is in the
# cache.
_GROUP = 8

# Maximum number of gradients that are integrated at once; more gradients would need more memory.
_TOGETHER = 8


def integrate_surface(
    gradient: NDArray[np.float32],
    support: NDArray[np.int32],
    *,
    voxel_size: Triple,
    radius: Triple,
    axes: Sequence[int] = (0, 1, 2),
    zscore: NDArray[np.float32] | None = None,
    variance: NDArray[np.float32] | None = None,
    b1_squared: NDArray[np.float32] | None = None,
    at: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Compute the flux per volume, ``1/V closed_integral(grad(phi0) . dS)``, around every voxel.

    The region of voxel i consists of the voxels j of the ellipsoid that have a valid gradient and
    ``support[j] == support[i]``. With a magnitude m, these voxels also satisfy ``|m_j - m_i| <=
    delta``. Along each axis, the flux through the surface of the region is a telescoping sum over
    the pairs (j, j + e_a) inside the region, and V is the volume swept by these pairs. The result
    is exact for any quadratic phase, any shape of the region and any voxel size. It remains exact
    if the steps of the pairs are averaged with weights. Inverse-variance weights reduce the noise
    of the average and the influence of gradients that were fitted in small supports.

    With b^2, the squared magnitude of B1+, the result is the flux of ``b^2 grad(phi0)`` divided by
    the integral of b^2 over the swept volume. If ``div(b^2 grad(phi0)) = kappa b^2`` with constant
    kappa, the result is kappa, by the divergence theorem.

    Parameters
    ----------
    gradient : ndarray of float32, shape (3, X, Y, Z)
        Gradient of phi0 in rad/m; NaN where invalid.
    support : ndarray of int32, shape (X, Y, Z)
        A kernel combines only voxels with the same number; voxels with 0 are not used.
    voxel_size, radius : tuple of 3 floats
        Voxel size and semi-axes in mm.
    axes : sequence of int
        Axes of the kernel; two axes for an in-plane kernel.
    zscore : ndarray of float32, shape (X, Y, Z), optional
        z-scored magnitude m.
    variance : ndarray of float32, shape (3, X, Y, Z), optional
        Variance of the gradient in any unit. The weight of a pair's step is the inverse of the sum
        of both voxels' variances along the axis of the pair. Default: all weights are 1.
    b1_squared : ndarray of float32, shape (X, Y, Z), optional
        Squared magnitude of B1+ in any unit, positive in the support. Default: constant.
    at : ndarray of bool, shape (X, Y, Z), optional
        Voxels to integrate around; default: all voxels of the support.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Flux per volume in rad/m^2; NaN where no integral was requested or an axis has no pair.

    Notes
    -----
    The flux step of a pair is ``s = (b^2 g)(j + e_a) - (b^2 g)(j)``, where g is the gradient's
    component along the axis. The integral of b^2 over the volume swept by the pair is proportional
    to B, the mean of b^2 over its two voxels. Along an axis, the flux divided by the
    integral of b^2 is ``sum s / sum B``, which is the mean of ``s / B`` with the weights B. If g
    has the variance v, and b^2 hardly changes from j to j + e_a, the noise of ``s / B`` has the
    variance ``v(j) + v(j + e_a)``, because B cancels. Therefore, the optimal weights for the mean
    of ``s / B`` are the same as for the mean of the steps with constant b^2.
    """
    valid = np.where(np.isfinite(gradient).all(axis=0), support, 0)
    wanted = support if at is None else np.where(at, support, 0)
    (values,) = _mean_divergence(
        lambda axis: gradient[axis : axis + 1],
        None if variance is None else variance.__getitem__,
        valid,
        wanted,
        voxel_size,
        radius,
        axes,
        zscore,
        b1_squared,
    )
    laplacian = np.full(support.shape, np.nan, dtype=np.float32)
    laplacian[wanted != 0] = values
    return laplacian


def integrate_gradients(
    gradients: NDArray[np.float32],
    support: NDArray[np.int32],
    *,
    voxel_size: Triple,
    radius: Triple,
    axes: Sequence[int] = (0, 1, 2),
    zscore: NDArray[np.float32] | None = None,
    variance: NDArray[np.float32] | None = None,
    b1_squared: NDArray[np.float32] | None = None,
    at: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Integrate several gradients at once, like :func:`integrate_surface`.

    Parameters
    ----------
    gradients : ndarray of float32, shape (n, 3, n_voxels)
        Gradients in rad/m at the voxels of the support, in C order; NaN where invalid. All
        gradients must be invalid at the same voxels.
    support, voxel_size, radius, axes, zscore, b1_squared
        As in :func:`integrate_surface`.
    variance : ndarray of float32, shape (3, n_voxels), optional
        As in :func:`integrate_surface`, at the voxels of the support.
    at : ndarray of bool, shape (X, Y, Z)
        Voxels to integrate around.

    Returns
    -------
    ndarray of float32, shape (n, n_at)
        Flux per volume in rad/m^2 at the voxels that are both in the support and in `at`; NaN where
        an axis has no pair.
    """
    inside = support != 0
    valid = np.zeros_like(support)
    valid[inside] = np.where(np.isfinite(gradients[0]).all(axis=0), support[inside], 0)
    wanted = np.where(at, support, 0)

    def components(some: NDArray[np.float32], axis: int) -> Iterator[NDArray[np.float32]]:
        volume = np.zeros(support.shape, dtype=np.float32)
        for gradient in some:
            volume[inside] = gradient[axis]
            yield volume

    def first_component(some: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        return next(components(some, axis))

    found = [
        _mean_divergence(
            partial(components, some),
            None if variance is None else partial(first_component, variance[None]),
            valid,
            wanted,
            voxel_size,
            radius,
            axes,
            zscore,
            b1_squared,
        )
        for some in np.array_split(gradients, -(-len(gradients) // _TOGETHER))
    ]
    return np.concatenate(found)


def _mean_divergence(
    components: Callable[[int], Iterable[NDArray[np.float32]]],
    variances: Callable[[int], NDArray[np.float32]] | None,
    valid: NDArray[np.int32],
    wanted: NDArray[np.int32],
    voxel_size: Triple,
    radius: Triple,
    axes: Sequence[int],
    zscore: NDArray[np.float32] | None,
    b1_squared: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Return the flux per volume around the wanted voxels, shape (n, n_wanted).

    ``components(axis)`` returns the components of n gradients along an axis. ``variances(axis)``
    returns the variance of these components. The steps are weighted by the inverse variance.
    """
    kernel = ellipsoid(radius, voxel_size)
    total = np.zeros(np.count_nonzero(wanted), np.float32)
    for axis in axes:
        pair = np.ascontiguousarray(np.where(_next(valid, axis) == valid, valid, 0))
        pair_kernel = kernel & _next(kernel, axis)
        fluxes = components(axis)
        if b1_squared is not None:
            fluxes = (b1_squared * component for component in fluxes)
        steps: Iterable[NDArray[np.float32]] = (_steps(flux, pair, axis) for flux in fluxes)
        if zscore is None:
            average = partial(_mean_steps, pair=pair, wanted=wanted, kernel=pair_kernel)
        else:
            extremes = _extremes(zscore, axis)
            average = partial(
                _mean_steps_of_similar,
                pair=pair,
                wanted=wanted,
                extremes=extremes,
                kernel=pair_kernel,
            )
        variance = None if variances is None else variances(axis)
        factor, divisor = _weights(variance, b1_squared, pair, axis)
        if factor is not None:
            steps = map(partial(np.multiply, factor), steps)
        if divisor is None:
            mean_steps = average(steps)
        else:
            *means, mean_divisor = average(chain(steps, [divisor]))
            mean_steps = np.stack(means) / mean_divisor
        total = total + mean_steps / np.float32(voxel_size[axis] * 1e-3)
    return total


def _next(volume: NDArray[_Scalar], axis: int) -> NDArray[_Scalar]:
    """Return a volume that contains, at each voxel j, the value of its successor j + e_a.

    The last plane contains 0 or False.
    """
    shifted = np.zeros_like(volume, order="C")
    here, there = neighbours(axis)
    shifted[here] = volume[there]
    return shifted


def _steps(
    component: NDArray[np.float32], pair: NDArray[np.int32], axis: int
) -> NDArray[np.float32]:
    """Return the gradient step of each pair (j, j + e_a), stored at j.

    The step is 0 where there is no pair.
    """
    steps = np.zeros(component.shape, dtype=np.float32)
    here, there = neighbours(axis)
    np.subtract(component[there], component[here], out=steps[here], where=pair[here] != 0)
    return steps


def _weights(
    variance: NDArray[np.float32] | None,
    b1_squared: NDArray[np.float32] | None,
    pair: NDArray[np.int32],
    axis: int,
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Return a factor for the step of each pair, and a divisor for the mean of these steps.

    The divisor is the mean of the second volume over the pairs. None means 1. See the notes of
    :func:`integrate_surface`.
    """
    weight = None if variance is None else _inverse_variance(variance, pair, axis)
    if b1_squared is None:
        return weight, weight
    swept = _means_of_pairs(b1_squared, pair, axis)
    if weight is None:
        return None, swept
    return np.divide(weight, swept, out=np.zeros_like(weight), where=pair != 0), weight


def _means_of_pairs(
    values: NDArray[np.float32], pair: NDArray[np.int32], axis: int
) -> NDArray[np.float32]:
    """Return the mean over both voxels of each pair, stored at its first voxel.

    The mean is 0 where there is no pair.
    """
    means = np.zeros(values.shape, dtype=np.float32)
    here, there = neighbours(axis)
    np.add(values[here], values[there], out=means[here], where=pair[here] != 0)
    return means / np.float32(2)


def _inverse_variance(
    variance: NDArray[np.float32], pair: NDArray[np.int32], axis: int
) -> NDArray[np.float32]:
    """Return the inverse variance of each pair's step, multiplied by the median variance.

    The result is stored at the first voxel of the pair and is 0 where there is no pair.
    """
    here, there = neighbours(axis)
    total = variance[here] + variance[there]
    some = pair[here] != 0
    weight = np.zeros(pair.shape, dtype=np.float32)
    if some.any():
        np.divide(np.median(total[some]), total, out=weight[here], where=some)
    return weight


def _extremes(zscore: NDArray[np.float32], axis: int) -> tuple[NDArray[np.float32], ...]:
    """Return the magnitude of each voxel, and the lower and the higher magnitude of its pair."""
    after = _next(zscore, axis)
    return zscore, np.minimum(zscore, after), np.maximum(zscore, after)


def _mean_steps(
    steps: Iterable[NDArray[np.float32]],
    pair: NDArray[np.int32],
    wanted: NDArray[np.int32],
    kernel: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Average the steps over the kernel's pairs that have the label of the central voxel.

    If there are no such pairs, the mean is NaN. The sum over a run of the kernel is the difference
    of two cumulative sums, which are computed separately for each label.
    """
    tissues = [_Tissue(label, pair, wanted, kernel) for label in np.unique(wanted[wanted != 0])]
    means = []
    for step in steps:
        mean = np.full(np.count_nonzero(wanted), np.nan, dtype=np.float32)
        for tissue in tissues:
            tissue.average(step, mean)
        means.append(mean)
    return np.stack(means)


class _Tissue:
    """The pairs of one label, and the voxels around which they are averaged."""

    def __init__(
        self,
        label: int,
        pair: NDArray[np.int32],
        wanted: NDArray[np.int32],
        kernel: NDArray[np.bool_],
    ) -> None:
        margin = reach(kernel)
        self._before_run = (margin[0], margin[1], margin[2] + 1)
        self._kernel_runs = runs(kernel)
        (self._box,) = find_objects(((pair == label) | (wanted == label)).view(np.uint8))
        here = wanted[self._box] == label
        self._inside = pair[self._box] == label
        self._blocks = blocks_of(here, _LANES)
        self._here = here
        self._mine = wanted[wanted != 0] == label
        # allocate this array once, because every sum overwrites the same part of it
        self._cumulative = np.zeros(padded(self._inside, self._before_run).shape)
        self._counts = self._sums(self._inside.astype(np.float32))

    def average(self, steps: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the averages around the wanted voxels of this label."""
        sums = self._sums(np.ascontiguousarray(steps[self._box]))
        some = self._counts > 0
        out[self._mine] = np.divide(sums, self._counts, out=np.full_like(sums, np.nan), where=some)

    def _sums(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the sum over the kernel around each wanted voxel of this label."""
        margin, planes = self._before_run, np.arange(len(values))
        in_threads(_accumulate, planes, values, self._inside, margin, self._cumulative)
        sums = np.empty(np.count_nonzero(self._here), dtype=np.float32)
        arguments = (self._cumulative, self._kernel_runs, self._here, margin, sums)
        in_threads(_sum_runs, self._blocks, *arguments)
        return sums


@compiled()
def _accumulate(planes, values, inside, margin, out):  # noqa: ANN001, ANN202
    """Write cumulative sums, along the last axis of a padded volume, of the values inside."""
    for x in planes:
        for y in range(inside.shape[1]):
            line = out[x + margin[0], y + margin[1], margin[2] :]
            # use float64, because after an extreme gradient, a float32 sum would be too imprecise
            # for the following values
            total = 0.0
            for z in range(inside.shape[2]):
                if inside[x, y, z]:
                    total += values[x, y, z]
                line[z] = total
            line[inside.shape[2] :] = total


@compiled(fastmath=VECTORISED)
def _sum_runs(blocks, cumulative, kernel_runs, here, margin, out):  # noqa: ANN001, ANN202
    """Write the sum over the kernel around each voxel of `here`, from cumulative sums."""
    for b in range(len(blocks)):
        x, y, z, lanes, voxel = blocks[b]
        total = np.zeros(_LANES)
        for run in range(len(kernel_runs)):
            kx, ky, k_first, k_last = kernel_runs[run]
            line = cumulative[x + margin[0] + kx, y + margin[1] + ky]
            before, last = line[z + margin[2] + k_first - 1 :], line[z + margin[2] + k_last :]
            for lane in range(lanes):
                total[lane] += last[lane] - before[lane]
        for lane in range(min(lanes, here.shape[2] - z)):
            if here[x, y, z + lane]:
                out[voxel] = total[lane]
                voxel += 1


def _mean_steps_of_similar(
    steps: Iterable[NDArray[np.float32]],
    pair: NDArray[np.int32],
    wanted: NDArray[np.int32],
    extremes: tuple[NDArray[np.float32], ...],
    kernel: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Average like `_mean_steps`, but only over pairs whose magnitude is similar to the voxel."""
    margin = reach(kernel)
    padded_steps = padded_all(list(steps), margin)
    means = np.full((len(padded_steps), np.count_nonzero(wanted)), np.nan, dtype=np.float32)
    in_threads(
        _average_similar,
        blocks_of(wanted, _LANES),
        padded_steps,
        tuple(padded(volume, margin) for volume in (pair, wanted, *extremes)),
        runs(kernel),
        margin,
        means,
    )
    return means


@compiled()
def _average_similar(blocks, steps, volumes, kernel_runs, margin, out):  # noqa: ANN001, ANN202
    """Average over the similar pairs of the kernel.

    Voxels without similar pairs are left unchanged in `out`.
    """
    wanted = volumes[1]
    for g in range((len(blocks) + _GROUP - 1) // _GROUP):
        group = blocks[g * _GROUP : (g + 1) * _GROUP]
        totals, counts = _sum_similar(steps, volumes, kernel_runs, group, margin)
        for b in range(len(group)):
            x, y, z, lanes, voxel = group[b]
            line = wanted[x + margin[0], y + margin[1]]
            for lane in range(lanes):
                if line[z + margin[2] + lane] != 0:
                    if counts[b, lane] > 0:
                        for n in range(len(steps)):
                            out[n, voxel] = totals[b, n, lane] / counts[b, lane]
                    voxel += 1


@compiled(fastmath=VECTORISED)
def _sum_similar(steps, volumes, kernel_runs, group, margin):  # noqa: ANN001, ANN202
    """Sum and count the steps of the pairs in each voxel's region, for a group of blocks.

    The blocks of a group are neighbours and read overlapping data, so they process each run one
    after the other.
    """
    _, wanted, magnitude, _, _ = volumes
    inside = zeros_for_run(kernel_runs, _LANES)
    along = aligned(4 * _LANES, np.float32)
    # use copies, because the compiler knows that copies do not overlap with the volumes
    labels = np.empty(len(group) * _LANES, np.int32)
    lowest = np.empty(len(group) * _LANES, np.float32)
    highest = np.empty(len(group) * _LANES, np.float32)
    counts = aligned(len(group) * _LANES, np.float32)
    totals = aligned(len(group) * len(steps) * _LANES, np.float64)
    for b in range(len(group)):
        x, y, z = group[b, 0] + margin[0], group[b, 1] + margin[1], group[b, 2] + margin[2]
        for lane in range(group[b, 3]):
            here = b * _LANES + lane
            labels[here] = wanted[x, y, z + lane]
            lowest[here] = magnitude[x, y, z + lane] - np.float32(MAGNITUDE_DELTA)
            highest[here] = magnitude[x, y, z + lane] + np.float32(MAGNITUDE_DELTA)
    n_fours = len(steps) // 4
    for r in range(len(kernel_runs)):
        run = kernel_runs[r, 0], kernel_runs[r, 1], kernel_runs[r, 2], kernel_runs[r, 3]
        for b in range(len(group)):
            x, y, z = group[b, 0] + margin[0], group[b, 1] + margin[1], group[b, 2] + margin[2]
            block = b, x, y, z, group[b, 3]
            _mark(inside, counts, volumes, (labels, lowest, highest), run, block)
            for four in range(n_fours):
                _add_four_steps(totals, along, inside, steps, 4 * four, run, block)
            for n in range(4 * n_fours, len(steps)):
                _add_steps(totals, along, inside, steps, n, run, block)
    return totals.reshape(len(group), len(steps), _LANES), counts.reshape(len(group), _LANES)


@compiled(fastmath=VECTORISED, **LEAF)
def _mark(inside, counts, volumes, centres, run, block):  # noqa: ANN001, ANN202
    """Write 1 for each pair of the run that is in the region, and 0 for other pairs.

    The function also counts the pairs in the region, and writes 0 for three additional voxels.
    """
    pair, _, _, low, high = volumes
    b, x, y, z, lanes = block
    label = centres[0][b * _LANES : (b + 1) * _LANES]
    lowest = centres[1][b * _LANES : (b + 1) * _LANES]
    highest = centres[2][b * _LANES : (b + 1) * _LANES]
    count = counts[b * _LANES : (b + 1) * _LANES]
    kx, ky, k_first, k_last = run
    pair_j = pair[x + kx, y + ky, z + k_first :]
    low_j = low[x + kx, y + ky, z + k_first :]
    high_j = high[x + kx, y + ky, z + k_first :]
    for k in range(k_last - k_first + 1):
        for lane in range(lanes):
            here = np.float32(1) if pair_j[k + lane] == label[lane] else np.float32(0)
            here = here if low_j[k + lane] >= lowest[lane] else np.float32(0)
            here = here if high_j[k + lane] <= highest[lane] else np.float32(0)
            inside[k * _LANES + lane] = here
            count[lane] += here
    beyond = k_last - k_first + 1
    inside[beyond * _LANES : (beyond + 3) * _LANES] = 0


@compiled(fastmath=VECTORISED, **LEAF)
def _add_steps(totals, along, inside, steps, n, run, block):  # noqa: ANN001, ANN202
    """Add the steps of a gradient along a run, for the pairs inside the region.

    Each pass processes four pairs, so that the sums are loaded and stored less often.
    """
    b, x, y, z, lanes = block
    kx, ky, k_first, k_last = run
    total = totals[(b * len(steps) + n) * _LANES : (b * len(steps) + n + 1) * _LANES]
    along[:_LANES] = 0
    for four in range((k_last - k_first) // 4 + 1):
        w = inside[4 * four * _LANES : 4 * (four + 1) * _LANES]
        p = steps[n, x + kx, y + ky, z + k_first + 4 * four :]
        for i in range(lanes):
            w0, w1, w2, w3 = w[i], w[i + _LANES], w[i + 2 * _LANES], w[i + 3 * _LANES]
            along[i] += (w0 * p[i] + w1 * p[i + 1]) + (w2 * p[i + 2] + w3 * p[i + 3])
    for i in range(lanes):
        total[i] += along[i]


@compiled(fastmath=VECTORISED, **LEAF)
def _add_four_steps(totals, along, inside, steps, n, run, block):  # noqa: ANN001, ANN202
    """Add the steps of four gradients, like `_add_steps`.

    The four gradients share the loaded values of `inside`.
    """
    b, x, y, z, lanes = block
    kx, ky, k_first, k_last = run
    total = totals[(b * len(steps) + n) * _LANES : (b * len(steps) + n + 4) * _LANES]
    along[:] = 0
    for four in range((k_last - k_first) // 4 + 1):
        w = inside[4 * four * _LANES : 4 * (four + 1) * _LANES]
        start = z + k_first + 4 * four
        p = steps[n, x + kx, y + ky, start:]
        q = steps[n + 1, x + kx, y + ky, start:]
        r = steps[n + 2, x + kx, y + ky, start:]
        s = steps[n + 3, x + kx, y + ky, start:]
        for i in range(lanes):
            w0, w1, w2, w3 = w[i], w[i + _LANES], w[i + 2 * _LANES], w[i + 3 * _LANES]
            along[i] += (w0 * p[i] + w1 * p[i + 1]) + (w2 * p[i + 2] + w3 * p[i + 3])
            along[i + _LANES] += (w0 * q[i] + w1 * q[i + 1]) + (w2 * q[i + 2] + w3 * q[i + 3])
            along[i + 2 * _LANES] += (w0 * r[i] + w1 * r[i + 1]) + (w2 * r[i + 2] + w3 * r[i + 3])
            along[i + 3 * _LANES] += (w0 * s[i] + w1 * s[i + 1]) + (w2 * s[i + 2] + w3 * s[i + 3])
    for row in range(4):
        for i in range(lanes):
            total[row * _LANES + i] += along[row * _LANES + i]
