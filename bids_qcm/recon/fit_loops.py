"""The compiled loops of the quadratic fit.

numba notices changes of a function's own file only, so those that call each other share this one.
"""

import numba
import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from bids_qcm.recon.blocks import LANES, aligned
from bids_qcm.recon.compiling import VECTORISED, compiled
from bids_qcm.recon.methods import MAGNITUDE_DELTA
from bids_qcm.recon.normal_equations import PHASE_SUMS, WEIGHT_SUMS

# A pivot is the share of a term's variance that the terms before it do not explain.
_SMALLEST_PIVOT = 1e-6

_INVERSE_DELTA2 = np.float32(1 / MAGNITUDE_DELTA**2)

# exp(-x) is computed as exp(-x / 64), by a polynomial, squared six times.
_LARGEST_EXPONENT = np.float32(80)
_EXP_MINUS = tuple(
    Chebyshev.interpolate(lambda t: np.exp(-t), 6, [0, _LARGEST_EXPONENT / 64])
    .convert(kind=Polynomial)
    .coef.astype(np.float32)
)


@compiled(parallel=True)
def fit_blocks(volumes, precision, kernel_runs, folding, system, wanted, blocks, margin, out):  # noqa: ANN001, ANN201
    """Fit around the wanted voxels of every block.

    Parameters
    ----------
    volumes : tuple of ndarrays, shape (X + 2 mx, Y + 2 my, Z + 2 mz + 19)
        Phase and its noise variance (float32), padded; the standard deviation of the z-scored
        magnitude (a float32 number); support (int32) and z-scored magnitude (float32), padded.
        The second and the last may be None.
    precision : ndarray
        Its dtype is that of the sums along runs.
    kernel_runs, folding, system
        Parts of the :class:`~bids_qcm.recon.normal_equations.NormalEquations`.
    wanted : ndarray of int32, shape (X, Y, Z)
        Where not 0, the derivatives are computed.
    blocks : ndarray of int, shape (n, 4)
        That cover the wanted voxels.
    margin : tuple of 3 ints
        Of the padding.
    out : ndarray of float32, shape (5, X, Y, Z)
        Receives gradient, Laplacian and, if there is noise, the Laplacian's variance; left alone
        where the fit is not determined.
    """
    phase, noise, jitter, support, zscore = volumes
    normal, right, derivatives, term_factors, term_powers = system
    n = len(right)
    for b in numba.prange(len(blocks)):
        x, y, z, lanes = blocks[b]
        first = (x + margin[0], y + margin[1], z + margin[2])
        moments = _moments(phase, support, zscore, precision, kernel_runs, folding, first, lanes)
        lower, scale, solution = np.empty((n, n)), np.empty(n), np.empty(n)
        fit, laplacian = np.zeros((n, LANES)), np.zeros((n, LANES))
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if wanted[x, y, z + lane] == 0:
                continue
            if not _scaled_cholesky(moments[:, lane], normal, lower, scale):
                continue
            for p in range(n):
                solution[p] = moments[right[p], lane] * scale[p]
            _substitute(lower, solution)
            for d in range(4):
                out[d, x, y, z + lane] = np.sum(derivatives[d] * solution * scale)
            if noise is not None:
                fit[:, lane] = solution * scale
                _functional(derivatives[3], lower, scale, laplacian[:, lane])
        if noise is not None:
            terms = (laplacian, fit, term_factors, term_powers)
            variance = _variance(
                phase, noise, support, zscore, jitter, kernel_runs, terms, first, lanes
            )
            for lane in range(min(lanes, wanted.shape[2] - z)):
                if wanted[x, y, z + lane] != 0 and not np.isnan(out[3, x, y, z + lane]):
                    out[4, x, y, z + lane] = variance[lane]


@compiled(parallel=True)
def fit_replicates(volumes, precision, kernel_runs, folding, system, wanted, blocks, margin, out):  # noqa: ANN001, ANN201
    """Fit several phases that share their normal matrices.

    Parameters
    ----------
    volumes : tuple of ndarrays
        Phases (float32, (n, X + 2 mx, Y + 2 my, Z + 2 mz + 19)), support and z-scored magnitude.
    precision, kernel_runs, folding, system, wanted, blocks, margin
        As in :func:`fit_blocks`.
    out : ndarray of float32, shape (n, 3, X, Y, Z)
        Receives the gradients; left alone where the fit is not determined.
    """
    phases, support, zscore = volumes
    normal, right, derivatives, term_factors, term_powers = system
    n = len(right)
    for b in numba.prange(len(blocks)):
        x, y, z, lanes = blocks[b]
        first = (x + margin[0], y + margin[1], z + margin[2])
        moments = _moments(
            phases[0], support, zscore, precision, kernel_runs, folding, first, lanes
        )
        lower, scale = np.empty((n, n)), np.empty(n)
        gradient = np.full((3, n, LANES), np.nan)
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if wanted[x, y, z + lane] != 0 and _scaled_cholesky(
                moments[:, lane], normal, lower, scale
            ):
                for axis in range(3):
                    _functional(derivatives[axis], lower, scale, gradient[axis, :, lane])
        terms = (gradient, term_factors, term_powers)
        totals = _apply(phases, support, zscore, kernel_runs, terms, first, lanes)
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if not np.isnan(gradient[0, 0, lane]):
                out[:, :, x, y, z + lane] = totals[:, :, lane]


@compiled(fastmath=VECTORISED)
def _moments(phase, support, zscore, precision, kernel_runs, folding, first, lanes):  # noqa: ANN001, ANN202
    """Sum the moments around each voxel of a block, (moment, lane).

    Sums run along the contiguous axis first; the powers of the other two coordinates then multiply
    them once per run and once per plane.
    """
    planes, run_factors, run_sums, plane_factors, plane_sums = folding
    x, y, z = first
    along = aligned(WEIGHT_SUMS + PHASE_SUMS, LANES, precision.dtype)
    plane = aligned(len(run_sums), LANES, np.float64)
    moments = aligned(len(plane_sums), LANES, np.float64)
    moments[:] = 0
    # copies, which the compiler can tell from what it reads around them
    phase_0 = phase[x, y, z : z + LANES].copy()
    if zscore is not None:
        m_0 = zscore[x, y, z : z + LANES].copy()
    label_0 = support[x, y, z : z + LANES].copy()
    for p in range(len(planes) - 1):
        plane[:] = 0
        for run in range(planes[p], planes[p + 1]):
            kx, ky, k_first, k_last = kernel_runs[run]
            along[:] = 0
            phase_j = phase[x + kx, y + ky, z + k_first :]
            if zscore is not None:
                m_j = zscore[x + kx, y + ky, z + k_first :]
            label_j = support[x + kx, y + ky, z + k_first :]
            for k in range(k_last - k_first + 1):
                u = along.dtype.type(k + k_first)
                for lane in range(lanes):
                    w = np.float32(1)
                    if zscore is not None:
                        w = _squared_weight(m_j[k + lane] - m_0[lane])
                    w = w if label_j[k + lane] == label_0[lane] else np.float32(0)
                    # relative to the centre, so that float32 keeps the phase's digits
                    v = w * (phase_j[k + lane] - phase_0[lane])
                    along[0, lane] += w
                    along[1, lane] += w * u
                    along[2, lane] += w * (u * u)
                    along[3, lane] += w * (u * u * u)
                    along[4, lane] += w * (u * u * u * u)
                    along[5, lane] += v
                    along[6, lane] += v * u
                    along[7, lane] += v * (u * u)
            _fold(plane, run_factors[run], run_sums, along, lanes)
        _fold(moments, plane_factors[p], plane_sums, plane, lanes)
    return moments


@compiled(fastmath=VECTORISED)
def _fold(totals, factors, rows, sums, lanes):  # noqa: ANN001, ANN202
    """Add ``factors[t] * sums[rows[t]]`` to each total t."""
    for total in range(len(rows)):
        factor = factors[total]
        row = rows[total]
        for lane in range(lanes):
            totals[total, lane] += factor * sums[row, lane]


@compiled(fastmath=VECTORISED)
def _variance(phase, noise, support, zscore, jitter, kernel_runs, terms, first, lanes):  # noqa: ANN001, ANN202
    """Propagate the noise to a linear function of each voxel's fit.

    The function is the sum over the support of ``c_ij phi_j``, where ``c_ij = w_ij^2 p_i(x_j)``
    and p_i is the polynomial with the given coefficients. The magnitude's noise moves it, to first
    order, through the weights of the residuals: ``t_ij = 2 (m_j - m_i) / delta^2 c_ij r_ij`` is
    what it gains as m_i rises, and loses as m_j does. What the noise in the residuals adds to the
    squares of both is taken off: it is in the variance at these weights already.
    """
    function, fit, term_factors, term_powers = terms
    x, y, z = first
    two = np.float32(2)
    variance = aligned(1, LANES, np.float32)[0]
    moved = aligned(1, LANES, np.float32)[0]
    squares = aligned(1, LANES, np.float32)[0]
    variance[:] = 0
    moved[:] = 0
    squares[:] = 0
    if noise is None:
        return variance
    p, q = aligned(3, LANES, np.float32), aligned(3, LANES, np.float32)
    label_0 = support[x, y, z : z + LANES].copy()
    if zscore is not None:
        m_0 = zscore[x, y, z : z + LANES].copy()
        phase_0 = phase[x, y, z : z + LANES].copy()
    for run in range(len(kernel_runs)):
        kx, ky, k_first, k_last = kernel_runs[run]
        _fold_terms(p, term_factors[run], term_powers, function, lanes)
        noise_j = noise[x + kx, y + ky, z + k_first :]
        label_j = support[x + kx, y + ky, z + k_first :]
        if zscore is not None:
            _fold_terms(q, term_factors[run], term_powers, fit, lanes)
            m_j = zscore[x + kx, y + ky, z + k_first :]
            phase_j = phase[x + kx, y + ky, z + k_first :]
        for k in range(k_last - k_first + 1):
            u = np.float32(k + k_first)
            for lane in range(lanes):
                c = p[0, lane] + u * (p[1, lane] + u * p[2, lane])
                c = c if label_j[k + lane] == label_0[lane] else np.float32(0)
                if zscore is not None:
                    difference = m_j[k + lane] - m_0[lane]
                    c *= _squared_weight(difference)
                    fitted = q[0, lane] + u * (q[1, lane] + u * q[2, lane])
                    residual = phase_j[k + lane] - phase_0[lane] - fitted
                    t = c * difference
                    moved[lane] += t * residual
                    squares[lane] += t * t * (residual * residual - two * noise_j[k + lane])
                variance[lane] += c * c * noise_j[k + lane]
    if zscore is not None:
        slope = two * _INVERSE_DELTA2 * jitter
        for lane in range(lanes):
            moves = max(moved[lane] * moved[lane] + squares[lane], np.float32(0))
            variance[lane] += slope * slope * moves
    return variance


@compiled(fastmath=VECTORISED)
def _fold_terms(polynomial, factors, powers, coefficients, lanes):  # noqa: ANN001, ANN202
    """Sum each term's ``factor * coefficient`` for the power of k that it has along a run."""
    polynomial[:] = 0
    for term in range(len(powers)):
        factor = factors[term]
        power = powers[term]
        for lane in range(lanes):
            polynomial[power, lane] += factor * coefficients[term, lane]


@compiled(fastmath=VECTORISED)
def _apply(phases, support, zscore, kernel_runs, terms, first, lanes):  # noqa: ANN001, ANN202
    """Apply three linear functions of each voxel's fit to several phases, (phase, function, lane).

    The functions are as in `_variance`.
    """
    coefficients, term_factors, term_powers = terms
    x, y, z = first
    longest = np.max(kernel_runs[:, 3] - kernel_runs[:, 2]) + 1
    weights = aligned(longest, LANES, np.float32)
    sums = aligned(3, LANES, np.float32)
    polynomials = aligned(9, LANES, np.float32).reshape(3, 3, LANES)
    totals = aligned(3 * len(phases), LANES, np.float32).reshape(len(phases), 3, LANES)
    totals[:] = 0
    for run in range(len(kernel_runs)):
        kx, ky, k_first, k_last = kernel_runs[run]
        n_voxels = k_last - k_first + 1
        _weigh(weights, support, zscore, (kx, ky, k_first), n_voxels, first, lanes)
        for function in range(3):
            _fold_terms(
                polynomials[function],
                term_factors[run],
                term_powers,
                coefficients[function],
                lanes,
            )
        for n in range(len(phases)):
            phase_j = phases[n, x + kx, y + ky, z + k_first :]
            sums[:] = 0
            for k in range(n_voxels):
                u = np.float32(k + k_first)
                for lane in range(lanes):
                    v = weights[k, lane] * phase_j[k + lane]
                    sums[0, lane] += v
                    sums[1, lane] += v * u
                    sums[2, lane] += v * (u * u)
            for function in range(3):
                for lane in range(lanes):
                    totals[n, function, lane] += (
                        polynomials[function, 0, lane] * sums[0, lane]
                        + polynomials[function, 1, lane] * sums[1, lane]
                        + polynomials[function, 2, lane] * sums[2, lane]
                    )
    return totals


@compiled(fastmath=VECTORISED)
def _weigh(weights, support, zscore, start, n_voxels, first, lanes):  # noqa: ANN001, ANN202
    """Write the squared weights of a run's voxels to (voxel, lane)."""
    x, y, z = first
    kx, ky, k_first = start
    if zscore is not None:
        m_0 = zscore[x, y, z : z + LANES].copy()
        m_j = zscore[x + kx, y + ky, z + k_first :]
    label_0 = support[x, y, z : z + LANES].copy()
    label_j = support[x + kx, y + ky, z + k_first :]
    for k in range(n_voxels):
        for lane in range(lanes):
            w = np.float32(1)
            if zscore is not None:
                w = _squared_weight(m_j[k + lane] - m_0[lane])
            weights[k, lane] = w if label_j[k + lane] == label_0[lane] else np.float32(0)


@compiled(fastmath=VECTORISED)
def _squared_weight(difference):  # noqa: ANN001, ANN202
    """Compute ``exp(-difference^2 / delta^2)`` in float32 without a call, so that loops vectorise.

    Beyond an exponent of 80 it is 0; below, the relative error is at most 1e-5.
    """
    x = difference * difference * _INVERSE_DELTA2
    t = min(x, _LARGEST_EXPONENT) * np.float32(1 / 64)
    c0, c1, c2, c3, c4, c5, c6 = _EXP_MINUS
    y = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * (c5 + t * c6)))))
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    return y if x < _LARGEST_EXPONENT else np.float32(0)


@compiled()
def _scaled_cholesky(moments, normal, lower, scale):  # noqa: ANN001, ANN202
    """Factorise the normal matrix, scaled to a unit diagonal; False if it is ill-conditioned."""
    n = len(scale)
    for p in range(n):
        if not moments[normal[p, p]] > 0.0:
            return False
        scale[p] = 1 / np.sqrt(moments[normal[p, p]])
    for p in range(n):
        for q in range(p + 1):
            value = moments[normal[p, q]] * scale[p] * scale[q]
            for k in range(q):
                value -= lower[p, k] * lower[q, k]
            if q < p:
                lower[p, q] = value / lower[q, q]
            elif value > _SMALLEST_PIVOT:
                lower[p, p] = np.sqrt(value)
            else:
                return False
    return True


@compiled()
def _functional(derivative, lower, scale, coefficients):  # noqa: ANN001, ANN202
    """Write a derivative as ``sum_j w_ij^2 p(x_j) phi_j``: the coefficients of p."""
    coefficients[:] = derivative * scale
    _substitute(lower, coefficients)
    coefficients *= scale


@compiled()
def _substitute(lower, solution):  # noqa: ANN001, ANN202
    """Solve ``lower @ lower.T @ x = solution`` in place."""
    n = len(solution)
    for p in range(n):
        for k in range(p):
            solution[p] -= lower[p, k] * solution[k]
        solution[p] /= lower[p, p]
    for p in range(n - 1, -1, -1):
        for k in range(p + 1, n):
            solution[p] -= lower[k, p] * solution[k]
        solution[p] /= lower[p, p]
