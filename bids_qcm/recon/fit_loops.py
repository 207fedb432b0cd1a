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
                _functional(derivatives[3], lower, scale, solution)
                laplacian[:, lane] = solution
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
        moments = _moments(None, support, zscore, precision, kernel_runs, folding, first, lanes)
        lower, scale, solution = np.empty((n, n)), np.empty(n), np.empty(n)
        gradient = np.full((3, n, LANES), np.nan)
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if wanted[x, y, z + lane] != 0 and _scaled_cholesky(
                moments[:, lane], normal, lower, scale
            ):
                for axis in range(3):
                    _functional(derivatives[axis], lower, scale, solution)
                    gradient[axis, :, lane] = solution
        terms = (gradient, term_factors, term_powers)
        totals = _apply(phases, support, zscore, kernel_runs, terms, first, lanes)
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if not np.isnan(gradient[0, 0, lane]):
                out[:, :, x, y, z + lane] = totals[: len(phases), :, lane]


@compiled(fastmath=VECTORISED)
def _moments(phase, support, zscore, precision, kernel_runs, folding, first, lanes):  # noqa: ANN001, ANN202
    """Sum the moments around each voxel of a block, (moment, lane); without phase, of weights only.

    Sums run along the contiguous axis first; the powers of the other two coordinates then multiply
    them once per pair of runs, at y and -y, and once per plane.
    """
    planes, run_factors, run_sums, plane_factors, plane_sums = folding
    x, y, z = first
    weights = _room_for_run(kernel_runs)
    n_sums = WEIGHT_SUMS + PHASE_SUMS
    along = aligned(2 * n_sums, LANES, precision.dtype).reshape(2, n_sums, LANES)
    both = aligned(2 * n_sums, LANES, np.float64)
    plane = aligned(len(run_sums), LANES, np.float64)
    moments = aligned(len(plane_sums), LANES, np.float64)
    moments[:] = 0
    m_0, label_0 = _centres(support, zscore, first)
    if phase is not None:
        phase_0 = phase[x, y, z : z + LANES].copy()
    for p in range(len(planes) - 1):
        plane[:] = 0
        run, mirrored = planes[p], planes[p + 1] - 1
        while run <= mirrored:
            along[:] = 0
            for side in range(1 if run == mirrored else 2):
                here = mirrored if side else run
                kx, ky, k_first, k_last = kernel_runs[here]
                _weigh(weights, support, zscore, kernel_runs[here], first, m_0, label_0, lanes)
                sums = along[side].reshape(-1)
                _sum_weights(sums, weights.reshape(-1), k_first, k_last, lanes)
                if phase is not None:
                    phase_j = phase[x + kx, y + ky, z + k_first :]
                    _sum_phases(sums, weights.reshape(-1), phase_j, phase_0, k_first, k_last, lanes)
            for row in range(n_sums):
                for lane in range(lanes):
                    both[row, lane] = along[0, row, lane] + along[1, row, lane]
                    both[n_sums + row, lane] = along[0, row, lane] - along[1, row, lane]
            _fold(plane, run_factors[run], run_sums, both, lanes)
            run, mirrored = run + 1, mirrored - 1
        _fold(moments, plane_factors[p], plane_sums, plane, lanes)
    return moments


@compiled(fastmath=VECTORISED)
def _sum_weights(sums, weights, k_first, k_last, lanes):  # noqa: ANN001, ANN202
    """Add a run's weights, times the powers 0 to 4 of the coordinate, to the first five sums.

    Four voxels in one pass load and store the sums less often, and one index for all of an array,
    to which the compiler adds constants, needs few registers.
    """
    number = sums.dtype.type
    for four in range((k_last - k_first) // 4 + 1):
        w = weights[four * 4 * LANES : (four + 1) * 4 * LANES]
        u = number(4 * four + k_first)
        one = number(1)
        u0, u1, u2, u3 = u, u + one, u + one + one, u + one + one + one
        s0, s1, s2, s3 = u0 * u0, u1 * u1, u2 * u2, u3 * u3
        c0, c1, c2, c3 = s0 * u0, s1 * u1, s2 * u2, s3 * u3
        f0, f1, f2, f3 = s0 * s0, s1 * s1, s2 * s2, s3 * s3
        for i in range(lanes):
            w0, w1 = number(w[i]), number(w[i + LANES])
            w2, w3 = number(w[i + 2 * LANES]), number(w[i + 3 * LANES])
            sums[i] += (w0 + w1) + (w2 + w3)
            sums[i + LANES] += (w0 * u0 + w1 * u1) + (w2 * u2 + w3 * u3)
            sums[i + 2 * LANES] += (w0 * s0 + w1 * s1) + (w2 * s2 + w3 * s3)
            sums[i + 3 * LANES] += (w0 * c0 + w1 * c1) + (w2 * c2 + w3 * c3)
            sums[i + 4 * LANES] += (w0 * f0 + w1 * f1) + (w2 * f2 + w3 * f3)


@compiled(fastmath=VECTORISED)
def _sum_phases(sums, weights, phase, phase_0, k_first, k_last, lanes):  # noqa: ANN001, ANN202
    """Add a run's weighted phases, times the powers 0 to 2 of the coordinate, to the last sums."""
    number = sums.dtype.type
    for four in range((k_last - k_first) // 4 + 1):
        w = weights[four * 4 * LANES : (four + 1) * 4 * LANES]
        phase_j = phase[4 * four :]
        u = number(4 * four + k_first)
        one = number(1)
        u0, u1, u2, u3 = u, u + one, u + one + one, u + one + one + one
        s0, s1, s2, s3 = u0 * u0, u1 * u1, u2 * u2, u3 * u3
        for i in range(lanes):
            # relative to the centre, so that float32 keeps the phase's digits
            v0 = number(w[i] * (phase_j[i] - phase_0[i]))
            v1 = number(w[i + LANES] * (phase_j[i + 1] - phase_0[i]))
            v2 = number(w[i + 2 * LANES] * (phase_j[i + 2] - phase_0[i]))
            v3 = number(w[i + 3 * LANES] * (phase_j[i + 3] - phase_0[i]))
            sums[i + 5 * LANES] += (v0 + v1) + (v2 + v3)
            sums[i + 6 * LANES] += (v0 * u0 + v1 * u1) + (v2 * u2 + v3 * u3)
            sums[i + 7 * LANES] += (v0 * s0 + v1 * s1) + (v2 * s2 + v3 * s3)


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
    weights = _room_for_run(kernel_runs)
    # one row of three functions for each voxel of a run
    products = aligned(3 * len(weights), LANES, np.float32)
    polynomials = aligned(9, LANES, np.float32).reshape(3, 3, LANES)
    n_pairs = (len(phases) + 1) // 2
    totals = aligned(6 * n_pairs, LANES, np.float32).reshape(n_pairs, 6 * LANES)
    totals[:] = 0
    m_0, label_0 = _centres(support, zscore, first)
    for run in range(len(kernel_runs)):
        kx, ky, k_first, k_last = kernel_runs[run]
        _weigh(weights, support, zscore, kernel_runs[run], first, m_0, label_0, lanes)
        for function in range(3):
            _fold_terms(
                polynomials[function], term_factors[run], term_powers, coefficients[function], lanes
            )
        _multiply(products.reshape(-1), weights, polynomials.reshape(-1), k_first, k_last, lanes)
        for pair in range(n_pairs):
            # the last of an odd number is its own partner
            other = min(2 * pair + 1, len(phases) - 1)
            _add_products(
                totals[pair],
                products.reshape(-1),
                phases[2 * pair, x + kx, y + ky, z + k_first :],
                phases[other, x + kx, y + ky, z + k_first :],
                (k_last - k_first) // 4 + 1,
                lanes,
            )
    return totals.reshape(2 * n_pairs, 3, LANES)


@compiled(fastmath=VECTORISED)
def _multiply(products, weights, p, k_first, k_last, lanes):  # noqa: ANN001, ANN202
    """Write a run's weights times three polynomials of the coordinate; 0 for three voxels more."""
    for k in range(k_last - k_first + 4):
        c = products[3 * k * LANES : 3 * (k + 1) * LANES]
        w = weights[k]
        u = np.float32(k + k_first)
        for i in range(lanes):
            c[i] = w[i] * (p[i] + u * (p[i + LANES] + u * p[i + 2 * LANES]))
            c[i + LANES] = w[i] * (p[i + 3 * LANES] + u * (p[i + 4 * LANES] + u * p[i + 5 * LANES]))
            c[i + 2 * LANES] = w[i] * (
                p[i + 6 * LANES] + u * (p[i + 7 * LANES] + u * p[i + 8 * LANES])
            )


@compiled(fastmath=VECTORISED)
def _add_products(totals, products, phase, other, n_fours, lanes):  # noqa: ANN001, ANN202
    """Add a run's products with two phases to the totals of three functions of each.

    As in `_sum_weights`; two phases share what is loaded of the products.
    """
    for four in range(n_fours):
        c = products[four * 12 * LANES : (four + 1) * 12 * LANES]
        p, q = phase[4 * four :], other[4 * four :]
        for i in range(lanes):
            p0, p1, p2, p3 = p[i], p[i + 1], p[i + 2], p[i + 3]
            q0, q1, q2, q3 = q[i], q[i + 1], q[i + 2], q[i + 3]
            c0, c1, c2, c3 = c[i], c[i + 3 * LANES], c[i + 6 * LANES], c[i + 9 * LANES]
            totals[i] += (c0 * p0 + c1 * p1) + (c2 * p2 + c3 * p3)
            totals[i + 3 * LANES] += (c0 * q0 + c1 * q1) + (c2 * q2 + c3 * q3)
            c0, c1, c2, c3 = (c[i + LANES], c[i + 4 * LANES], c[i + 7 * LANES], c[i + 10 * LANES])
            totals[i + LANES] += (c0 * p0 + c1 * p1) + (c2 * p2 + c3 * p3)
            totals[i + 4 * LANES] += (c0 * q0 + c1 * q1) + (c2 * q2 + c3 * q3)
            c0, c1, c2, c3 = (
                c[i + 2 * LANES],
                c[i + 5 * LANES],
                c[i + 8 * LANES],
                c[i + 11 * LANES],
            )
            totals[i + 2 * LANES] += (c0 * p0 + c1 * p1) + (c2 * p2 + c3 * p3)
            totals[i + 5 * LANES] += (c0 * q0 + c1 * q1) + (c2 * q2 + c3 * q3)


@compiled()
def _room_for_run(kernel_runs):  # noqa: ANN001, ANN202
    """Make room for a number for each voxel of any run, and of three voxels more."""
    return aligned(np.max(kernel_runs[:, 3] - kernel_runs[:, 2]) + 4, LANES, np.float32)


@compiled()
def _centres(support, zscore, first):  # noqa: ANN001, ANN202
    """Copy the magnitudes and labels of a block, so that the compiler can tell them apart."""
    x, y, z = first
    m_0 = None if zscore is None else zscore[x, y, z : z + LANES].copy()
    return m_0, support[x, y, z : z + LANES].copy()


@compiled(fastmath=VECTORISED)
def _weigh(weights, support, zscore, run, first, m_0, label_0, lanes):  # noqa: ANN001, ANN202
    """Write the squared weights of a run's voxels to (voxel, lane), and 0 for three voxels more."""
    x, y, z = first
    kx, ky, k_first, k_last = run
    n_voxels = k_last - k_first + 1
    if zscore is not None:
        m_j = zscore[x + kx, y + ky, z + k_first :]
    label_j = support[x + kx, y + ky, z + k_first :]
    for k in range(n_voxels):
        for lane in range(lanes):
            w = np.float32(1)
            if zscore is not None:
                w = _squared_weight(m_j[k + lane] - m_0[lane])
            weights[k, lane] = w if label_j[k + lane] == label_0[lane] else np.float32(0)
    weights[n_voxels : n_voxels + 3] = 0


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
    for p in range(len(scale)):
        coefficients[p] = derivative[p] * scale[p]
    _substitute(lower, coefficients)
    for p in range(len(scale)):
        coefficients[p] *= scale[p]


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
