"""Invert the convection-reaction equation for the conductivity of all voxels at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import distance_transform_edt, label
from scipy.special import huber
from threadpoolctl import threadpool_limits

from bids_qcm.physics import PhaseType
from bids_qcm.recon.convection_reaction import ConvectionReaction, inner_voxels
from bids_qcm.recon.kernels import Triple, as_triple
from bids_qcm.recon.linear_phase import make_linear_phase
from bids_qcm.recon.methods import MAGNITUDE_DELTA
from bids_qcm.recon.multipliers import FixedMapSystem, GaussNewtonSystem
from bids_qcm.recon.neighbours import Links, graph_laplacian, neighbours, sum_of_cells
from bids_qcm.recon.replicates import NOISE_MAPS, mean_of_similar
from bids_qcm.recon.tissue_prior import TissuePrior
from bids_qcm.recon.volumes import Volumes

_Number = TypeVar("_Number", bound=np.generic)

SMOOTHNESS = 0.8
"""Weight of the squared gradient of log(conductivity), per mm."""

TO_MEAN = 0.03
"""Weight of the squared deviation of log(conductivity) from the mean of its tissue, per mm^3."""

_TO_MEAN_OF_ALL = SMOOTHNESS / 150**2
"""The corresponding weight for a mask with one tissue.

With this weight, deviations are correlated over 150 mm, which is the size of a head.
"""

ACROSS_EDGE = 0.02
"""Minimum factor of SMOOTHNESS between two voxels of different tissues or magnitudes."""

OUTLIER = 3.0
"""Threshold of Huber's function in standard deviations; the cost of larger residuals is linear."""

MODEL_VOXEL = 8.0
"""Voxel volume, in mm^3, to which a model error refers."""

_MODEL_ERROR = 0.02
_MODEL_FREQUENCY = 127.74e6
_MODEL_EXPONENT = 1.5

REPLICATE_SIZE = 2.0
"""Minimum voxel size for noise replicates, in mm; smaller voxels are hardly more accurate."""

COARSEST_SIZE = 6.0
"""Maximum voxel size of the coarser grids, in mm; larger voxels would contain too many tissues."""

# Maximum number of Gauss-Newton steps on the coarsest grid and on each finer grid.
_FIRST_STEPS = 8
_FINER_STEPS = 2

# The linear solver stops when the energy of its error per voxel is below this value. For
# comparison, noise alone contributes 1/2 per voxel to the cost.
_ENERGY = 1e-4

# The corresponding value for noise replicates, keyed by whether the mask has several tissues. The
# means of tissues converge last: with 1e-3, the standard error of the mean of a whole tissue was up
# to twelve times too large at 2 mm, although the standard deviation of a voxel was right.
_REPLICATE_ENERGY = {False: 1e-4, True: 1e-5}

# Limits for changes of log(kappa): changes above the first limit are clipped, and a change below
# the second limit ends the iteration.
_LARGEST_CHANGE = 1.0
_SMALL_CHANGE = 0.01


@dataclass(frozen=True, eq=False, kw_only=True)
class InverseProblem(Volumes):
    """Volumes and assumptions of an inversion on one grid.

    Attributes
    ----------
    precision : ndarray of float64, shape (X, Y, Z)
        Inverse noise variance of phi0 in rad^-2; positive in the mask, 0 outside it. It is used
        instead of `noise`, because the precision of a merged voxel is the sum of the precisions of
        its voxels.
    linear_phase_error : tuple of 3 floats
        Standard deviation in rad/m, along each axis, of a linear phase that may remain in phi0.
    axes : tuple of int
        Axes along which the phase is differentiated. With two axes, the phase of each slice obeys a
        two-dimensional equation.
    """

    precision: NDArray[np.float64]
    linear_phase_error: Triple = (0.0, 0.0, 0.0)
    axes: tuple[int, ...] = (0, 1, 2)

    @property
    def merged_axes(self) -> tuple[int, ...]:
        """Axes along which the next coarser grid merges voxels.

        Along another axis, such as across thick slices, the voxels are already large.
        """
        return tuple(axis for axis in self.axes if 2 * self.voxel_size[axis] <= COARSEST_SIZE)

    @property
    def has_tissues(self) -> bool:
        """Whether the mask is divided into tissues."""
        return bool(np.ptp(self.support[self.inside]) > 0)

    @property
    def to_mean(self) -> float:
        """Weight of the squared deviation from the mean of the tissue, in mm^-3."""
        return TO_MEAN if self.has_tissues else _TO_MEAN_OF_ALL

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the phase in rad^2 from noise and model error; 0 outside the mask."""
        neglected = self.model_error**2 * MODEL_VOXEL / np.prod(self.voxel_size)
        return np.where(self.inside, _inverse(self.precision) + neglected, 0)

    def coarser(self, axes: Sequence[int] = (0, 1, 2)) -> "InverseProblem":
        """Return the problem on a grid that merges two voxels along each of the given axes.

        A cell is in the coarser mask if at least half of its voxels are in the mask.
        """
        count = sum_of_cells(self.inside.astype(np.float64), axes)
        kept = count >= 2 ** len(axes) / 2
        precision = sum_of_cells(self.precision, axes)
        phase = sum_of_cells(self.precision * self.phase, axes)
        size = [d * (2 if axis in axes else 1) for axis, d in enumerate(self.voxel_size)]

        def mean(values: NDArray[np.floating] | None) -> NDArray[np.float64] | None:
            if values is None:
                return None
            total = sum_of_cells(np.where(self.inside, values, 0), axes)
            return total / np.maximum(count, 1)

        return replace(
            self,
            phase=np.divide(phase, precision, out=np.zeros(kept.shape), where=kept),
            support=np.where(kept, _most_frequent(self.support, axes), 0),
            voxel_size=as_triple(size, "voxel size"),
            zscore=mean(self.zscore),
            b1_squared=mean(self.b1_squared),
            precision=np.where(kept, precision, 0),
        )


class GoodnessOfFit(NamedTuple):
    """Agreement of an inversion with its assumptions.

    Attributes
    ----------
    reduced_chi_square : float
        Squared residual of the phase divided by its variance, per degree of freedom. It is about 1
        or less if the noise estimate is correct and the phase obeys the equation. NaN if less than
        one degree of freedom remains.
    prior_chi_square : float
        Squared deviation of log(kappa) from the prior divided by its variance, per parameter that
        is determined by the phase. It is about 1 if the conductivity varies as the prior assumes.
        NaN if less than one parameter is determined by the phase.
    linear_phase_effect : float
        Median relative standard deviation of kappa due to a linear phase that may remain in phi0;
        NaN if the standard error of the linear phase is unknown.
    """

    reduced_chi_square: float
    prior_chi_square: float
    linear_phase_effect: float


class Inversion(NamedTuple):
    """Result of an inversion.

    Attributes
    ----------
    kappa : ndarray of float32, shape (X, Y, Z)
        ``2 omega mu0 sigma`` in rad/m^2 (for the transceive phase), positive. NaN outside the mask
        and in connected parts of the mask that have no voxel with six neighbours.
    kappa_std : ndarray of float32, shape (X, Y, Z), or None
        Noise-induced standard deviation of kappa in rad/m^2.
    goodness : GoodnessOfFit
    noise : ndarray of float32, shape (NOISE_MAPS, n_mask), or None
        Noise of kappa in independent realisations, to first order, in rad/m^2, at the voxels of the
        mask, in C order.
    """

    kappa: NDArray[np.float32]
    kappa_std: NDArray[np.float32] | None
    goodness: GoodnessOfFit
    noise: NDArray[np.float32] | None


def invert(problem: InverseProblem, *, uncertainty: bool = False) -> Inversion:
    """Find the conductivity map that best explains the phase and is smooth within tissues.

    Parameters
    ----------
    problem : InverseProblem
    uncertainty : bool
        Whether to estimate the standard deviation.

    Returns
    -------
    Inversion

    Raises
    ------
    ValueError
        If no voxel has all its neighbours in the mask: six, or four within the slice for an
        inversion with two axes.

    Notes
    -----
    The map minimises ``sum_i rho((phi_i - phi_i(kappa)) / s_i) + SMOOTHNESS / 2 integral w |grad
    log(kappa)|^2 + mu / 2 integral (log(kappa) - mean of log(kappa) over the tissue)^2`` over kappa
    in the mask and the phase on its rim. phi(kappa) obeys :class:`ConvectionReaction`, rho is
    Huber's function, and s^2 is the sum of the noise variance and the variance of the model error.
    The weight w is 1 within a tissue and ACROSS_EDGE between two tissues. With a magnitude m, w is
    multiplied by ``exp(-(m_j - m_i)^2 / (2 delta^2))`` but is never below ACROSS_EDGE. mu is
    TO_MEAN if the mask has several tissues; otherwise, it is nearly 0.

    For normal noise without outliers, this map has the maximum posterior probability. According to
    the prior, deviations of log(kappa) from the mean of its tissue are correlated over
    sqrt(SMOOTHNESS / TO_MEAN) = 5 mm. Averages of the deviations over balls of 6 mm diameter have a
    standard deviation of 16 % (11 % for balls of 10 mm).

    The minimum is found with Gauss-Newton steps (see
    :class:`~bids_qcm.recon.multipliers.GaussNewtonSystem`) on successively finer grids, from voxels
    of at most 6 mm to the original voxels. The standard deviation is estimated from noise
    replicates, which are propagated through the Gauss-Newton equations at the minimum. The
    replicates use the finest grid whose voxels are 2 mm or larger, or the coarsest grid if all
    voxels are smaller.

    The reduced chi-square is ``2 sum_i rho(r_i / s_i) / (N - p)`` over the N voxels of the mask,
    with the residuals r at the minimum. p, the effective number of parameters, is the trace of the
    matrix that maps the phase to the fitted phase [1]_. The trace is estimated with a random probe
    of the noise [2]_. The trace for a fixed map is estimated with the same probe. The difference of
    the two traces is the number of map parameters that are determined by the phase. If the
    conductivity varies as the prior assumes, this number is also the expected value of ``u . Q u``,
    which is twice the prior's term at the minimum. The reason is that noise and prior are normal
    and the equation is nearly linear there.

    References
    ----------
    .. [1] Ye J. On measuring and correcting the effects of data mining and model selection. J Am
       Stat Assoc 1998. doi:10.1080/01621459.1998.10474094
    .. [2] Hutchinson MF. A stochastic estimator of the trace of the influence matrix for Laplacian
       smoothing splines. Commun Stat Simul Comput 1990. doi:10.1080/03610919008812866
    """
    # use one BLAS thread, because vector products are too short for several threads
    with threadpool_limits(limits=1, user_api="blas"):
        return _invert(problem, uncertainty)


def _invert(problem: InverseProblem, uncertainty: bool) -> Inversion:
    levels = _levels(problem)
    replicated = [
        one for one in levels if min(one.voxel_size[axis] for axis in one.axes) >= REPLICATE_SIZE
    ]
    for_std = (replicated or levels[-1:])[0] if uncertainty else None
    fit = _Fit(levels[-1], np.full(levels[-1].support.shape, np.log(_initial_kappa(levels[-1]))))
    fit.improve(_FIRST_STEPS)
    effect = fit.linear_phase_effect()
    noise = _NoiseOfLog.replicate(fit) if fit.problem is for_std else None
    for level in levels[-2::-1]:
        coarse, shape = fit.problem.inside, level.support.shape
        fit = _Fit(level, _refined(fit.log_kappa, coarse, shape, level.merged_axes))
        fit.improve(_FINER_STEPS)
        if level is for_std:
            noise = _NoiseOfLog.replicate(fit)
        elif noise is not None:
            noise = noise.refined(coarse, shape, level.merged_axes)
    constrained = _parts_with_inner_voxels(problem.inside, problem.axes)
    kappa = np.where(constrained, np.exp(fit.log_kappa), np.nan)
    kappa = kappa.astype(np.float32)
    std = maps = None
    if noise is not None:
        std = (kappa * noise.std()).astype(np.float32)
        maps = kappa[problem.inside] * noise.maps(problem.inside)
    return Inversion(kappa, std, GoodnessOfFit(*fit.chi_squares(), effect), maps)


def _levels(problem: InverseProblem) -> list[InverseProblem]:
    """Return the problem on all grids, starting with the finest grid.

    A coarser grid is added if voxels can be merged, and if its mask has an inner voxel.
    """
    levels = [problem]
    while levels[-1].merged_axes:
        coarser = levels[-1].coarser(levels[-1].merged_axes)
        if not inner_voxels(coarser.inside, coarser.axes).any():
            break
        levels.append(coarser)
    return levels


def model_error(frequency: float, phase_type: PhaseType) -> float:
    """Return the standard deviation, in rad, of the phase error due to neglected effects.

    Parameters
    ----------
    frequency : float
        Larmor frequency in Hz.
    phase_type : {"transceive", "transmit"}

    Returns
    -------
    float
        Standard deviation for voxels of MODEL_VOXEL mm^3.

    Notes
    -----
    The equation neglects the difference between the transmit and the receive field, and the
    gradient of the permittivity. The resulting error was measured on full-wave phantoms without
    noise. It is the root mean square difference between the phase and the nearest phase that obeys
    the equation with the true conductivity and the measured magnitude of B1+. It is 0.008, 0.02 and
    0.10 rad at 1.5, 3 and 7 T, approximately proportional to the frequency to the power of 1.5.
    """
    share = 1.0 if phase_type == "transceive" else 0.5
    return share * _MODEL_ERROR * (frequency / _MODEL_FREQUENCY) ** _MODEL_EXPONENT


class _State(NamedTuple):
    """A map of log(kappa) and the corresponding phase.

    Among all phases that obey the equation with this map, it is nearest to the measured phase.
    """

    log_kappa: NDArray[np.float64]
    equation: ConvectionReaction
    phase: NDArray[np.float64]
    multipliers: NDArray[np.float32]
    cost: float


class _Fit:
    """State of the minimisation: the best log(kappa) found so far, and its phase."""

    def __init__(self, problem: InverseProblem, log_kappa: NDArray[np.float64]) -> None:
        self.problem = problem
        self._prior = TissuePrior(
            _smoothness_links(problem), problem.support, problem.voxel_size, problem.to_mean
        )
        self._expected = problem.variance
        # inverse of the expected standard deviation; 0 outside the mask
        self._scale = _inverse(np.sqrt(self._expected))
        self._variance = self._expected
        self._multipliers: NDArray[np.float32] | None = None
        self._state = self._state_of(np.where(problem.inside, log_kappa, 0), None)
        self._downweight_outliers()

    @property
    def log_kappa(self) -> NDArray[np.float64]:
        """The current map, (X, Y, Z); 0 outside the mask."""
        return self._state.log_kappa

    @property
    def cost(self) -> float:
        """Value of the function that the map minimises."""
        return self._state.cost

    def improve(self, steps: int) -> None:
        """Take at most `steps` Gauss-Newton steps; stop when a step is small."""
        for _ in range(steps):
            change = self._gauss_newton_step()
            while not self._accept(change):
                change /= 2
                if np.abs(change).max() < _SMALL_CHANGE:
                    return
            if np.abs(change[self.problem.inside]).mean() < _SMALL_CHANGE:
                return

    def response(
        self, noise: NDArray[np.float64], system: GaussNewtonSystem
    ) -> NDArray[np.float32]:
        """Return the first-order change of log(kappa) that phase noise causes."""
        energy = _REPLICATE_ENERGY[self.problem.has_tissues]
        return system.change(self._minus_divergence(noise), energy=energy).log_kappa

    def linear_phase_effect(self) -> float:
        """Return the median relative standard deviation of kappa due to a remaining linear phase.

        The median is taken over the voxels.
        """
        problem = self.problem
        error = np.array(problem.linear_phase_error)
        if not np.isfinite(error).all():
            return float("nan")
        total, system = np.zeros(problem.phase.shape), self.system()
        for one in np.diag(error)[error > 0]:
            ramp = make_linear_phase(one, problem.phase.shape, problem.voxel_size)
            total += self.response(ramp, system).astype(np.float64) ** 2
        return float(np.median(np.sqrt(total[problem.inside])))

    def chi_squares(self) -> tuple[float, float]:
        """Return the reduced and the prior's chi-square; see :class:`GoodnessOfFit`."""
        right = self._minus_divergence(_noise(self._variance, np.random.default_rng(0)))
        fixed = self._fixed_map_system(self._state.equation)
        left_by_phase = float(np.vdot(right, fixed.solve(right, energy=_ENERGY)))
        freedom = float(np.vdot(right, self.system().change(right, energy=_ENERGY).multipliers))
        return (
            _ratio(2 * self._misfit(self._state.phase), freedom),
            _ratio(2 * self._prior_cost(self._state.log_kappa), left_by_phase - freedom),
        )

    def _minus_divergence(self, phase: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``-div(b^2 grad(phi) / kappa)`` of a phase for the current map.

        The result is 0 outside the inner voxels.
        """
        return self._state.equation.excess(phase) - self._state.equation.source

    def system(self) -> GaussNewtonSystem:
        """Return the normal equations at the current map."""
        state = self._state
        return GaussNewtonSystem(state.equation, self._variance, self._prior, state.phase)

    def _gauss_newton_step(self) -> NDArray[np.float64]:
        """Return the Gauss-Newton step of log(kappa)."""
        state, inside = self._state, self.problem.inside
        # subtract the mean, because the system is solved in single precision
        centre = state.log_kappa[inside].mean()
        deviation = np.where(inside, state.log_kappa - centre, 0)
        system = self.system()
        right = state.equation.excess(self.problem.phase) - system.by_log_kappa(deviation)
        found, self._multipliers = system.change(right, energy=_ENERGY, start=self._multipliers)
        step = np.where(inside, found.astype(np.float64) - deviation, 0)
        return np.clip(step, -_LARGEST_CHANGE, _LARGEST_CHANGE)

    def _accept(self, change: NDArray[np.float64]) -> bool:
        """Apply a step if it lowers the cost; return whether it was applied."""
        new = self._state_of(self._state.log_kappa + change, self._state.multipliers)
        if not new.cost < self._state.cost:
            return False
        self._state = new
        self._downweight_outliers()
        return True

    def _state_of(
        self, log_kappa: NDArray[np.float64], start: NDArray[np.float32] | None
    ) -> _State:
        """Return the state of a map.

        Its phase obeys the equation with this map. Among all such phases, it is nearest to the
        measured phase.
        """
        problem = self.problem
        equation = ConvectionReaction(
            problem.inside, problem.voxel_size, log_kappa, problem.b1_squared, problem.axes
        )
        system = self._fixed_map_system(equation)
        multipliers = system.solve(equation.excess(problem.phase), energy=_ENERGY, start=start)
        phase = problem.phase - system.spread(multipliers)
        cost = self._misfit(phase) + self._prior_cost(log_kappa)
        return _State(log_kappa, equation, phase, multipliers, cost)

    def _fixed_map_system(self, equation: ConvectionReaction) -> FixedMapSystem:
        """Return the normal equations for the phase of a fixed map."""
        return FixedMapSystem(equation, self._variance)

    def _prior_cost(self, log_kappa: NDArray[np.float64]) -> float:
        """Return the prior's term of the cost."""
        inside = self.problem.inside
        # subtract the mean over the mask, which does not affect the prior, so that single precision
        # is sufficient
        centred = np.where(inside, log_kappa - log_kappa[inside].mean(), 0)
        return float(np.vdot(centred, self._prior.precision(centred))) / 2

    def _downweight_outliers(self) -> None:
        """Increase the variance of outliers.

        With the increased variance, the squared residuals of outliers equal Huber's function.
        """
        excess = np.abs(self.problem.phase - self._state.phase) * self._scale / OUTLIER
        self._variance = self._expected * np.maximum(excess, 1)

    def _misfit(self, phase: NDArray[np.float64]) -> float:
        """Return the sum of Huber's function over the residuals.

        Each residual is divided by its expected standard deviation.
        """
        return float(huber(OUTLIER, (self.problem.phase - phase) * self._scale).sum())


def _smoothness_links(problem: InverseProblem) -> Links:
    """Return the weights of the squared differences of log(kappa) between neighbours."""
    links = []
    inside, zscore = problem.inside, problem.zscore
    for axis, size in enumerate(problem.voxel_size):
        here, there = neighbours(axis)
        share = (problem.support[here] == problem.support[there]).astype(np.float64)
        if zscore is not None:
            share *= np.exp(-((zscore[there] - zscore[here]) ** 2) / (2 * MAGNITUDE_DELTA**2))
        share = np.where(inside[here] & inside[there], np.maximum(share, ACROSS_EDGE), 0)
        link = np.zeros(inside.shape)
        link[here] = SMOOTHNESS * np.prod(problem.voxel_size) / size**2 * share
        links.append(link)
    return links


def _initial_kappa(problem: InverseProblem) -> float:
    """Return the initial value of kappa: the median absolute Laplacian of the phase in rad/m^2."""
    squares = [
        np.full(problem.phase.shape, (size * 1e-3) ** -2 if axis in problem.axes else 0.0)
        for axis, size in enumerate(problem.voxel_size)
    ]
    inner = inner_voxels(problem.inside, problem.axes)
    if not inner.any():
        raise ValueError("an inversion needs a mask that is at least three voxels thick")
    return float(np.median(np.abs(graph_laplacian(squares, problem.phase)[inner])))


def _parts_with_inner_voxels(inside: NDArray[np.bool_], axes: Sequence[int]) -> NDArray[np.bool_]:
    """Return the mask without connected parts that have no inner voxel.

    The equation does not constrain the conductivity in these parts.
    """
    parts, _ = label(inside)
    return inside & np.isin(parts, np.unique(parts[inner_voxels(inside, axes)]))


def _most_frequent(support: NDArray[np.int32], axes: Sequence[int]) -> NDArray[np.int32]:
    """Return the most frequent non-zero number in each cell of two voxels along each axis."""
    cells = [-(-n // 2) if axis in axes else n for axis, n in enumerate(support.shape)]
    found, most = np.zeros(cells, np.int32), np.zeros(cells)
    for number in np.unique(support[support != 0]):
        count = sum_of_cells((support == number).astype(np.float64), axes)
        found = np.where(count > most, number, found)
        most = np.maximum(count, most)
    return found


def _refined(
    values: NDArray[_Number],
    known: NDArray[np.bool_],
    shape: tuple[int, ...],
    axes: Sequence[int],
) -> NDArray[_Number]:
    """Resample values to a grid with half the voxel size along each of the given axes.

    Unknown voxels are assigned the value of the nearest known voxel.
    """
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    values = values[tuple(nearest)]
    for axis in axes:
        values = values.repeat(2, axis=axis)
    return values[tuple(slice(n) for n in shape)]


@dataclass(frozen=True, eq=False)
class _NoiseOfLog:
    """Noise of log(kappa) on a grid, and the voxel of this grid for each voxel of a finer grid."""

    _responses: NDArray[np.float32]
    _std: NDArray[np.float64]
    _voxel: NDArray[np.intp]

    @classmethod
    def replicate(cls, fit: _Fit) -> Self:
        """Estimate the noise from replicates on the grid of a fit."""
        problem = fit.problem
        rng = np.random.default_rng(0)
        noise_variance = _inverse(problem.precision)
        noises = [_noise(noise_variance, rng) for _ in range(NOISE_MAPS)]
        with ThreadPoolExecutor(fft.get_workers()) as pool:
            found = pool.map(partial(fit.response, system=fit.system()), noises)
            responses = np.empty((NOISE_MAPS, *problem.phase.shape), dtype=np.float32)
            for response, one in zip(responses, found, strict=True):
                response[:] = one
        variance: NDArray[np.float64] = np.mean(np.square(responses), axis=0, dtype=np.float64)
        std = np.sqrt(mean_of_similar(variance, problem.support, problem.zscore))
        voxel = np.arange(problem.phase.size).reshape(problem.phase.shape)
        return cls(responses.reshape(NOISE_MAPS, -1), std.ravel(), voxel)

    def refined(
        self, known: NDArray[np.bool_], shape: tuple[int, ...], axes: Sequence[int]
    ) -> Self:
        """Return the noise on a grid with half the voxel size, as :func:`_refined` does."""
        return replace(self, _voxel=_refined(self._voxel, known, shape, axes))

    def std(self) -> NDArray[np.float64]:
        """Return the standard deviation of log(kappa), (X, Y, Z)."""
        return self._std[self._voxel]

    def maps(self, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the noise of log(kappa) at the voxels of a mask, (NOISE_MAPS, n_mask)."""
        return self._responses[:, self._voxel[inside]]


def _noise(variance: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return normal phase noise in rad, (X, Y, Z)."""
    return np.sqrt(variance) * rng.standard_normal(variance.shape)


def _ratio(total: float, number: float) -> float:
    """Return a total divided by the number of terms; NaN for less than one term."""
    return total / number if number >= 1 else float("nan")


def _inverse(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of positive values; 0 for other values."""
    return np.divide(1, values, out=np.zeros(values.shape), where=values > 0)
