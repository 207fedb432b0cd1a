"""The compiled loops of the quadratic fit."""

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from bids_qcm.recon.blocks import LANES, aligned, zeros_for_run
from bids_qcm.recon.compiling import LEAF, VECTORISED, compiled
from bids_qcm.recon.methods import MAGNITUDE_DELTA
from bids_qcm.recon.normal_equations import PHASE_SUMS, WEIGHT_SUMS

# Minimum pivot; a fit with a smaller pivot is underdetermined. A pivot is the fraction of a term's
# variance that the preceding terms do not explain.
_SMALLEST_PIVOT = 1e-6

# Number of monomials of a quadratic in a plane of the kernel, and number of powers of the
# coordinate along a run of voxels.
_N_MONOMIALS, _N_POWERS = 6, 3

_INVERSE_DELTA2 = np.float32(1 / MAGNITUDE_DELTA**2)

# To compute exp(-x), a polynomial approximates exp(-x / 64), and the result is squared six times.
_LARGEST_EXPONENT = np.float32(80)
_EXP_MINUS = tuple(
    Chebyshev.interpolate(lambda t: np.exp(-t), 6, [0, _LARGEST_EXPONENT / 64])
    .convert(kind=Polynomial)
    .coef.astype(np.float32)
)


@compiled()
def fit_blocks(blocks, volumes, precision, kernel_runs, folding, system, wanted, margin, out):  # noqa: ANN001, ANN201
    """Fit around the wanted voxels of every block.

    Parameters
    ----------
    blocks : ndarray of int, shape (n, 5)
        Some of the blocks that :func:`~bids_qcm.recon.blocks.blocks_of` returns for `wanted`.
    volumes : tuple of ndarrays, shape (X + 2 mx, Y + 2 my, Z + 2 mz + 19)
        Padded phase and noise variance (float32); standard deviation of the z-scored magnitude (a
        float32 number); convection (float32, (3, X, Y, Z)), not padded; padded support (int32) and
        padded z-scored magnitude (float32). Noise, convection and magnitude may be None.
    precision : ndarray
        An array with the dtype of the sums of weights along runs.
    kernel_runs, folding, system
        Parts of the :class:`~bids_qcm.recon.normal_equations.NormalEquations`.
    wanted : ndarray of int32, shape (X, Y, Z)
        Derivatives are computed at the voxels that are not 0.
    margin : tuple of 3 ints
        Width of the padding in voxels.
    out : ndarray of float32, shape (5, X, Y, Z) or (8, X, Y, Z)
        Output: the gradient (3 rows), the Laplacian plus convection . gradient, and the variance of
        this sum if there is noise. If there are 8 rows, the last 3 rows are the variance of the
        gradient for weighted residuals of unit variance. Voxels with an underdetermined fit are
        left unchanged.
    """
    phase, noise, jitter, convection, support, zscore = volumes
    normal, right, derivatives, term_factors, term_monomials = system
    n = len(right)
    for b in range(len(blocks)):
        x, y, z, lanes, _ = blocks[b]
        # with convection, the last row (the Laplacian) differs between voxels
        rows = derivatives if convection is None else derivatives.copy()
        first = (x + margin[0], y + margin[1], z + margin[2])
        moments = _moments(phase, support, zscore, precision, kernel_runs, folding, first, lanes)
        lower, scale = np.empty((n, n)), np.empty(n)
        fit, laplacian = np.zeros((n, LANES)), np.zeros((n, LANES))
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if wanted[x, y, z + lane] == 0:
                continue
            if not _scaled_cholesky(moments, lane, normal, lower, scale):
                continue
            _solve(moments, lane, right, lower, scale, fit)
            _add_convection(rows, derivatives, convection, x, y, z + lane)
            for d in range(4):
                out[d, x, y, z + lane] = _derivative(rows, d, fit, lane)
            for axis in range(len(out) - 5):
                out[5 + axis, x, y, z + lane] = _variance_factor(derivatives, axis, lower, scale)
            if noise is not None:
                _functional(rows, 3, lower, scale, laplacian, lane)
        if noise is not None:
            terms = (laplacian, fit, folding[0], term_factors, term_monomials)
            variance = _variance(
                phase, noise, support, zscore, jitter, kernel_runs, terms, first, lanes
            )
            for lane in range(min(lanes, wanted.shape[2] - z)):
                if wanted[x, y, z + lane] != 0 and not np.isnan(out[3, x, y, z + lane]):
                    out[4, x, y, z + lane] = variance[lane]


@compiled()
def fit_replicates(blocks, volumes, precision, kernel_runs, folding, system, wanted, margin, out):  # noqa: ANN001, ANN201
    """Fit several phases that share their normal matrices.

    Parameters
    ----------
    volumes : tuple of ndarrays
        Padded phases (float32, (n, X + 2 mx, Y + 2 my, Z + 2 mz + 19)), padded support, and padded
        z-scored magnitude or None.
    blocks, precision, kernel_runs, folding, system, wanted, margin
        As in :func:`fit_blocks`.
    out : ndarray of float32, shape (n + 1, 3, n_voxels)
        Output: the gradients at the wanted voxels and, in the last row, the variance of the
        gradient as in :func:`fit_blocks`. Voxels with an underdetermined fit are left unchanged.
    """
    phases, support, zscore = volumes
    normal, right, derivatives, term_factors, term_monomials = system
    n = len(right)
    for b in range(len(blocks)):
        x, y, z, lanes, voxel = blocks[b]
        first = (x + margin[0], y + margin[1], z + margin[2])
        moments = _moments(None, support, zscore, precision, kernel_runs, folding, first, lanes)
        lower, scale = np.empty((n, n)), np.empty(n)
        gradient = np.zeros((3, n, LANES))
        factors = np.zeros((3, LANES))
        determined = np.zeros(LANES, np.bool_)
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if wanted[x, y, z + lane] == 0:
                continue
            determined[lane] = _scaled_cholesky(moments, lane, normal, lower, scale)
            if determined[lane]:
                for axis in range(3):
                    _functional(derivatives, axis, lower, scale, gradient[axis], lane)
                    factors[axis, lane] = _variance_factor(derivatives, axis, lower, scale)
        terms = (gradient, folding[0], term_factors, term_monomials)
        totals = _apply(phases, support, zscore, kernel_runs, terms, first, lanes)
        for lane in range(min(lanes, wanted.shape[2] - z)):
            if wanted[x, y, z + lane] != 0:
                if determined[lane]:
                    for axis in range(3):
                        for phase in range(len(phases)):
                            out[phase, axis, voxel] = totals[phase, axis, lane]
                        out[len(phases), axis, voxel] = factors[axis, lane]
                voxel += 1


@compiled(fastmath=VECTORISED)
def _moments(phase, support, zscore, precision, kernel_runs, folding, first, lanes):  # noqa: ANN001, ANN202
    """Return the moments around each voxel of a block, shape (moments, lanes).

    If the phase is None, only moments of the weights are computed. The contiguous axis is summed
    first. The sums are then multiplied by powers of the other two coordinates: by powers of ky once
    for each pair of runs (at y and -y), and by powers of kx once for each plane.
    """
    planes, run_factors, run_sums, plane_factors, plane_sums = folding
    n_sums = WEIGHT_SUMS + PHASE_SUMS
    weights = zeros_for_run(kernel_runs, LANES)
    along, mirrored = _zeros_for_sums(precision), _zeros_for_sums(precision)
    both = aligned(2 * n_sums * LANES, np.float64)
    plane = aligned(len(run_sums) * LANES, np.float64)
    moments = aligned(len(plane_sums) * LANES, np.float64)
    centres = _centres(phase, support, zscore, first)
    for p in range(len(planes) - 1):
        plane[:] = 0
        run, mirror = planes[p], planes[p + 1] - 1
        while run <= mirror:
            here, there = _row(kernel_runs, run), _row(kernel_runs, mirror)
            _sum_run(along, weights, phase, support, zscore, centres, here, first, lanes)
            if run < mirror:
                _sum_run(mirrored, weights, phase, support, zscore, centres, there, first, lanes)
            else:
                mirrored[0][:], mirrored[1][:] = 0, 0
            _join(both, 0, along[0], mirrored[0])
            _join(both, WEIGHT_SUMS, along[1], mirrored[1])
            _fold(plane, run_factors, run, run_sums, both, lanes)
            run, mirror = run + 1, mirror - 1
        _fold(moments, plane_factors, p, plane_sums, plane, lanes)
    return moments.reshape(len(plane_sums), LANES)


@compiled(fastmath=VECTORISED, **LEAF)
def _sum_run(sums, weights, phase, support, zscore, centres, run, first, lanes):  # noqa: ANN001, ANN202
    """Sum weights and weighted phases along a run, multiplied by powers of the coordinate."""
    phase_0, label_0, m_0 = centres
    weight_sums, phase_sums = sums
    weight_sums[:] = 0
    _weigh(weights, support, zscore, label_0, m_0, run, first, lanes)
    _sum_weights(weight_sums, weights, run, lanes)
    if phase is not None:
        phase_sums[:] = 0
        _sum_phases(phase_sums, weights, phase, phase_0, run, first, lanes)


@compiled(fastmath=VECTORISED, **LEAF)
def _join(both, row, along, mirrored):  # noqa: ANN001, ANN202
    """Write the sums over two runs, starting at `row`, and their differences after all sums."""
    total = both[row * LANES :]
    difference = both[(row + WEIGHT_SUMS + PHASE_SUMS) * LANES :]
    for i in range(len(along)):
        total[i] = along[i] + mirrored[i]
        difference[i] = along[i] - mirrored[i]


@compiled(fastmath=VECTORISED, **LEAF)
def _sum_weights(sums, weights, run, lanes):  # noqa: ANN001, ANN202
    """Add a run's weights, multiplied by the powers 0 to 4 of the coordinate, to the sums.

    Each pass processes four voxels, so that the sums are loaded and stored less often. All sums are
    in one array and share one index, to which the compiler adds constants, so that few registers
    are needed.
    """
    _, _, k_first, k_last = run
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


@compiled(fastmath=VECTORISED, **LEAF)
def _sum_phases(sums, weights, phase, phase_0, run, first, lanes):  # noqa: ANN001, ANN202
    """Add a run's weighted phases, times the powers 0 to 2 of the coordinate, to the sums."""
    x, y, z = first
    kx, ky, k_first, k_last = run
    number = sums.dtype.type
    for four in range((k_last - k_first) // 4 + 1):
        w = weights[four * 4 * LANES : (four + 1) * 4 * LANES]
        phase_j = phase[x + kx, y + ky, z + k_first + 4 * four :]
        u = number(4 * four + k_first)
        one = number(1)
        u0, u1, u2, u3 = u, u + one, u + one + one, u + one + one + one
        s0, s1, s2, s3 = u0 * u0, u1 * u1, u2 * u2, u3 * u3
        for i in range(lanes):
            # subtract the central phase first, because the precision of float32 is limited
            v0 = number(w[i] * (phase_j[i] - phase_0[i]))
            v1 = number(w[i + LANES] * (phase_j[i + 1] - phase_0[i]))
            v2 = number(w[i + 2 * LANES] * (phase_j[i + 2] - phase_0[i]))
            v3 = number(w[i + 3 * LANES] * (phase_j[i + 3] - phase_0[i]))
            sums[i] += (v0 + v1) + (v2 + v3)
            sums[i + LANES] += (v0 * u0 + v1 * u1) + (v2 * u2 + v3 * u3)
            sums[i + 2 * LANES] += (v0 * s0 + v1 * s1) + (v2 * s2 + v3 * s3)


@compiled(fastmath=VECTORISED, **LEAF)
def _fold(totals, factors, at, rows, sums, lanes):  # noqa: ANN001, ANN202
    """Add ``factors[at, t] * sums[rows[t]]`` to each total t."""
    for t in range(len(rows)):
        factor = factors[at, t]
        total = totals[t * LANES : (t + 1) * LANES]
        row = sums[rows[t] * LANES : (rows[t] + 1) * LANES]
        for lane in range(lanes):
            total[lane] += factor * row[lane]


@compiled(fastmath=VECTORISED)
def _variance(phase, noise, support, zscore, jitter, kernel_runs, terms, first, lanes):  # noqa: ANN001, ANN202
    """Return the noise-induced variance of a linear function of each voxel's fit.

    The function is the sum over the support of ``c_ij phi_j``, where ``c_ij = w_ij^2 p_i(x_j)`` and
    p_i is the polynomial with the given coefficients. To first order, the magnitude noise changes
    the function through the weights of the residuals r. With ``t_ij = 2 (m_j - m_i) / delta^2 c_ij
    r_ij``, the function changes by ``sum_j t_ij`` per unit of m_i and by ``-t_ij`` per unit of m_j.
    The phase noise in the residuals increases the squares of these changes. This contribution is
    subtracted, because it is already included in the variance at fixed weights.
    """
    function, fit, planes, term_factors, term_monomials = terms
    variance, moved, squares = (
        aligned(LANES, np.float32),
        aligned(LANES, np.float32),
        aligned(LANES, np.float32),
    )
    if noise is None:
        return variance
    centres = _centres(phase, support, zscore, first)
    sums = (variance, moved, squares)
    function_in_plane = aligned(_N_MONOMIALS * LANES, np.float64)
    fit_in_plane = aligned(_N_MONOMIALS * LANES, np.float64)
    polynomials = aligned(2 * _N_POWERS * LANES, np.float32)
    for plane in range(len(planes) - 1):
        _fold_terms(function_in_plane, term_factors, plane, term_monomials, function, lanes)
        _fold_terms(fit_in_plane, term_factors, plane, term_monomials, fit, lanes)
        for r in range(planes[plane], planes[plane + 1]):
            run = _row(kernel_runs, r)
            _along_run(polynomials, 0, function_in_plane, run, lanes)
            _along_run(polynomials, 1, fit_in_plane, run, lanes)
            _vary(sums, polynomials, noise, phase, support, zscore, centres, run, first, lanes)
    if zscore is not None:
        slope = np.float32(2) * _INVERSE_DELTA2 * jitter
        for lane in range(lanes):
            moves = max(moved[lane] * moved[lane] + squares[lane], np.float32(0))
            variance[lane] += slope * slope * moves
    return variance


@compiled(fastmath=VECTORISED, **LEAF)
def _vary(sums, polynomials, noise, phase, support, zscore, centres, run, first, lanes):  # noqa: ANN001, ANN202
    """Add a run to the sums of `_variance`.

    `polynomials` contains the polynomials of the function and of the fit.
    """
    variance, moved, squares = sums
    phase_0, label_0, m_0 = centres
    x, y, z = first
    kx, ky, k_first, k_last = run
    two = np.float32(2)
    p = polynomials[: _N_POWERS * LANES]
    q = polynomials[_N_POWERS * LANES :]
    for k in range(k_first, k_last + 1):
        noise_j = noise[x + kx, y + ky, z + k :]
        label_j = support[x + kx, y + ky, z + k :]
        if zscore is not None:
            m_j = zscore[x + kx, y + ky, z + k :]
            phase_j = phase[x + kx, y + ky, z + k :]
        u = np.float32(k)
        for i in range(lanes):
            c = p[i] + u * (p[i + LANES] + u * p[i + 2 * LANES])
            c = c if label_j[i] == label_0[i] else np.float32(0)
            if zscore is not None:
                difference = m_j[i] - m_0[i]
                c *= _squared_weight(difference)
                fitted = q[i] + u * (q[i + LANES] + u * q[i + 2 * LANES])
                residual = phase_j[i] - phase_0[i] - fitted
                t = c * difference
                moved[i] += t * residual
                squares[i] += t * t * (residual * residual - two * noise_j[i])
            variance[i] += c * c * noise_j[i]


@compiled(fastmath=VECTORISED, **LEAF)
def _fold_terms(in_plane, factors, plane, monomials, coefficients, lanes):  # noqa: ANN001, ANN202
    """Sum ``factor * coefficient`` over the terms of each monomial in a plane."""
    in_plane[:] = 0
    for term in range(len(monomials)):
        factor = factors[plane, term]
        total = in_plane[monomials[term] * LANES : (monomials[term] + 1) * LANES]
        for lane in range(lanes):
            total[lane] += factor * coefficients[term, lane]


@compiled(fastmath=VECTORISED, **LEAF)
def _along_run(polynomials, function, in_plane, run, lanes):  # noqa: ANN001, ANN202
    """Write a function's polynomial along a run, as the coefficients of the powers 0 to 2."""
    polynomial = polynomials[function * _N_POWERS * LANES : (function + 1) * _N_POWERS * LANES]
    ky = np.float64(run[1])
    for i in range(lanes):
        constant = in_plane[i] + ky * (in_plane[i + LANES] + ky * in_plane[i + 2 * LANES])
        polynomial[i] = constant
        polynomial[i + LANES] = in_plane[i + 3 * LANES] + ky * in_plane[i + 4 * LANES]
        polynomial[i + 2 * LANES] = in_plane[i + 5 * LANES]


@compiled(fastmath=VECTORISED)
def _apply(phases, support, zscore, kernel_runs, terms, first, lanes):  # noqa: ANN001, ANN202
    """Apply three linear functions of each voxel's fit to several phases.

    The result has the shape (phases, functions, lanes). The docstring of `_variance` defines the
    functions.
    """
    functions, planes, term_factors, term_monomials = terms
    weights = zeros_for_run(kernel_runs, LANES)
    # each voxel of a run has three rows of lanes, one row for each function
    products = aligned(3 * len(weights), np.float32)
    in_plane = (
        aligned(_N_MONOMIALS * LANES, np.float64),
        aligned(_N_MONOMIALS * LANES, np.float64),
        aligned(_N_MONOMIALS * LANES, np.float64),
    )
    polynomials = aligned(3 * _N_POWERS * LANES, np.float32)
    n_fours = (len(phases) + 3) // 4
    totals = aligned(4 * n_fours * 3 * LANES, np.float32)
    _, label_0, m_0 = _centres(None, support, zscore, first)
    for plane in range(len(planes) - 1):
        for function in range(3):
            _fold_terms(
                in_plane[function], term_factors, plane, term_monomials, functions[function], lanes
            )
        for r in range(planes[plane], planes[plane + 1]):
            run = _row(kernel_runs, r)
            _weigh(weights, support, zscore, label_0, m_0, run, first, lanes)
            for function in range(3):
                _along_run(polynomials, function, in_plane[function], run, lanes)
            _multiply(products, weights, polynomials, run, lanes)
            for four in range(n_fours):
                _add_products(totals, four, products, phases, run, first, lanes)
    return totals.reshape(4 * n_fours, 3, LANES)


@compiled(fastmath=VECTORISED, **LEAF)
def _multiply(products, weights, p, run, lanes):  # noqa: ANN001, ANN202
    """Write the products of a run's weights and three polynomials of the coordinate.

    The products of three additional voxels are 0.
    """
    _, _, k_first, k_last = run
    for k in range(k_last - k_first + 4):
        c = products[3 * k * LANES : 3 * (k + 1) * LANES]
        w = weights[k * LANES : (k + 1) * LANES]
        u = np.float32(k + k_first)
        for i in range(lanes):
            c[i] = w[i] * (p[i] + u * (p[i + LANES] + u * p[i + 2 * LANES]))
            c[i + LANES] = w[i] * (p[i + 3 * LANES] + u * (p[i + 4 * LANES] + u * p[i + 5 * LANES]))
            c[i + 2 * LANES] = w[i] * (
                p[i + 6 * LANES] + u * (p[i + 7 * LANES] + u * p[i + 8 * LANES])
            )


@compiled(fastmath=VECTORISED, **LEAF)
def _add_products(all_totals, group, products, phases, run, first, lanes):  # noqa: ANN001, ANN202
    """Add a run's products with four phases to the totals of three functions of each phase.

    Each pass processes four voxels as in `_sum_weights`. The four phases share the loaded products.
    """
    x, y, z = first
    kx, ky, k_first, k_last = run
    totals = all_totals[group * 12 * LANES : (group + 1) * 12 * LANES]
    # if the number of phases is not a multiple of four, repeat the last phase to complete the group
    n_p, last = 4 * group, len(phases) - 1
    n_q, n_r, n_s = min(n_p + 1, last), min(n_p + 2, last), min(n_p + 3, last)
    for four in range((k_last - k_first) // 4 + 1):
        c = products[four * 12 * LANES : (four + 1) * 12 * LANES]
        start = z + k_first + 4 * four
        p = phases[n_p, x + kx, y + ky, start:]
        q = phases[n_q, x + kx, y + ky, start:]
        r = phases[n_r, x + kx, y + ky, start:]
        s = phases[n_s, x + kx, y + ky, start:]
        for i in range(lanes):
            p0, p1, p2, p3 = p[i], p[i + 1], p[i + 2], p[i + 3]
            q0, q1, q2, q3 = q[i], q[i + 1], q[i + 2], q[i + 3]
            r0, r1, r2, r3 = r[i], r[i + 1], r[i + 2], r[i + 3]
            s0, s1, s2, s3 = s[i], s[i + 1], s[i + 2], s[i + 3]
            c0, c1, c2, c3 = c[i], c[i + 3 * LANES], c[i + 6 * LANES], c[i + 9 * LANES]
            totals[i] += (c0 * p0 + c1 * p1) + (c2 * p2 + c3 * p3)
            totals[i + 3 * LANES] += (c0 * q0 + c1 * q1) + (c2 * q2 + c3 * q3)
            totals[i + 6 * LANES] += (c0 * r0 + c1 * r1) + (c2 * r2 + c3 * r3)
            totals[i + 9 * LANES] += (c0 * s0 + c1 * s1) + (c2 * s2 + c3 * s3)
            c0, c1, c2, c3 = c[i + LANES], c[i + 4 * LANES], c[i + 7 * LANES], c[i + 10 * LANES]
            totals[i + LANES] += (c0 * p0 + c1 * p1) + (c2 * p2 + c3 * p3)
            totals[i + 4 * LANES] += (c0 * q0 + c1 * q1) + (c2 * q2 + c3 * q3)
            totals[i + 7 * LANES] += (c0 * r0 + c1 * r1) + (c2 * r2 + c3 * r3)
            totals[i + 10 * LANES] += (c0 * s0 + c1 * s1) + (c2 * s2 + c3 * s3)
            c0, c1, c2, c3 = c[i + 2 * LANES], c[i + 5 * LANES], c[i + 8 * LANES], c[i + 11 * LANES]
            totals[i + 2 * LANES] += (c0 * p0 + c1 * p1) + (c2 * p2 + c3 * p3)
            totals[i + 5 * LANES] += (c0 * q0 + c1 * q1) + (c2 * q2 + c3 * q3)
            totals[i + 8 * LANES] += (c0 * r0 + c1 * r1) + (c2 * r2 + c3 * r3)
            totals[i + 11 * LANES] += (c0 * s0 + c1 * s1) + (c2 * s2 + c3 * s3)


@compiled()
def _zeros_for_sums(precision):  # noqa: ANN001, ANN202
    """Return an array of zeros for the sums of weights and weighted phases along a run."""
    weight_sums = aligned(WEIGHT_SUMS * LANES, precision.dtype)
    return weight_sums, aligned(PHASE_SUMS * LANES, np.float64)


@compiled(**LEAF)
def _row(kernel_runs, run):  # noqa: ANN001, ANN202
    """Return a run as a tuple of numbers."""
    return kernel_runs[run, 0], kernel_runs[run, 1], kernel_runs[run, 2], kernel_runs[run, 3]


@compiled()
def _centres(phase, support, zscore, first):  # noqa: ANN001, ANN202
    """Copy the values of a block's voxels.

    Copies are used because the compiler knows that they do not overlap with the volumes that the
    loops read.
    """
    x, y, z = first
    phase_0 = None if phase is None else phase[x, y, z : z + LANES].copy()
    m_0 = None if zscore is None else zscore[x, y, z : z + LANES].copy()
    return phase_0, support[x, y, z : z + LANES].copy(), m_0


@compiled(fastmath=VECTORISED, **LEAF)
def _weigh(weights, support, zscore, label_0, m_0, run, first, lanes):  # noqa: ANN001, ANN202
    """Write the squared weights of a run's voxels, shape (voxels, lanes).

    The weights of three additional voxels are 0.
    """
    x, y, z = first
    kx, ky, k_first, k_last = run
    n_voxels = k_last - k_first + 1
    for k in range(n_voxels):
        weight = weights[k * LANES : (k + 1) * LANES]
        label_j = support[x + kx, y + ky, z + k_first + k :]
        if zscore is not None:
            m_j = zscore[x + kx, y + ky, z + k_first + k :]
        for lane in range(lanes):
            w = np.float32(1)
            if zscore is not None:
                w = _squared_weight(m_j[lane] - m_0[lane])
            weight[lane] = w if label_j[lane] == label_0[lane] else np.float32(0)
    weights[n_voxels * LANES : (n_voxels + 3) * LANES] = 0


@compiled(fastmath=VECTORISED, forceinline=True)
def _squared_weight(difference):  # noqa: ANN001, ANN202
    """Return ``exp(-difference^2 / delta^2)`` in float32, inline so that loops can be vectorised.

    If the exponent exceeds 80, the result is 0. Otherwise, its relative error is at most 1e-5.
    """
    x = difference * difference * _INVERSE_DELTA2
    t = (x if x < _LARGEST_EXPONENT else _LARGEST_EXPONENT) * np.float32(1 / 64)
    c0, c1, c2, c3, c4, c5, c6 = _EXP_MINUS
    y = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * (c5 + t * c6)))))
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    return y if x < _LARGEST_EXPONENT else np.float32(0)


@compiled(**LEAF)
def _scaled_cholesky(moments, lane, normal, lower, scale):  # noqa: ANN001, ANN202
    """Factorise the normal matrix, scaled to a unit diagonal.

    Returns False if the matrix is ill-conditioned.
    """
    n = len(scale)
    for p in range(n):
        if not moments[normal[p, p], lane] > 0.0:
            return False
        scale[p] = 1 / np.sqrt(moments[normal[p, p], lane])
    for p in range(n):
        for q in range(p + 1):
            value = moments[normal[p, q], lane] * scale[p] * scale[q]
            for k in range(q):
                value -= lower[p, k] * lower[q, k]
            if q < p:
                lower[p, q] = value / lower[q, q]
            elif value > _SMALLEST_PIVOT:
                lower[p, p] = np.sqrt(value)
            else:
                return False
    return True


@compiled(**LEAF)
def _solve(moments, lane, right, lower, scale, fit):  # noqa: ANN001, ANN202
    """Write the coefficients of a lane's fit to its column."""
    solution = fit[:, lane]
    for p in range(len(right)):
        solution[p] = moments[right[p], lane] * scale[p]
    _substitute(lower, solution)
    for p in range(len(right)):
        solution[p] *= scale[p]


@compiled(**LEAF)
def _add_convection(rows, derivatives, convection, x, y, z):  # noqa: ANN001, ANN202
    """Write ``laplacian + convection . gradient`` of a voxel as a function of the coefficients.

    The test for None is in this function, because numba removes a branch only if the branch tests a
    function argument for None.
    """
    if convection is not None:
        for p in range(rows.shape[1]):
            value = derivatives[3, p]
            for axis in range(3):
                value += convection[axis, x, y, z] * derivatives[axis, p]
            rows[3, p] = value


@compiled(**LEAF)
def _derivative(derivatives, number, fit, lane):  # noqa: ANN001, ANN202
    """Return a derivative of a lane's fit at the centre."""
    value = 0.0
    for p in range(len(fit)):
        value += derivatives[number, p] * fit[p, lane]
    return value


@compiled(**LEAF)
def _functional(derivatives, number, lower, scale, coefficients, lane):  # noqa: ANN001, ANN202
    """Write a derivative in the form ``sum_j w_ij^2 p(x_j) phi_j``.

    The coefficients of the polynomial p are written to the column of the lane.
    """
    column = coefficients[:, lane]
    for p in range(len(scale)):
        column[p] = derivatives[number, p] * scale[p]
    _substitute(lower, column)
    for p in range(len(scale)):
        column[p] *= scale[p]


@compiled()
def _variance_factor(derivatives, number, lower, scale):  # noqa: ANN001, ANN202
    """Return ``d^T N^-1 d``, where d is a row of `derivatives` and N is the normal matrix."""
    n = len(scale)
    squares = 0.0
    solution = np.empty(n)
    for p in range(n):
        value = derivatives[number, p] * scale[p]
        for k in range(p):
            value -= lower[p, k] * solution[k]
        solution[p] = value / lower[p, p]
        squares += solution[p] * solution[p]
    return squares


@compiled(**LEAF)
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
