"""Conductivity from the whole phase at once: the convection-reaction equation inverted."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import distance_transform_edt, label
from scipy.special import huber
from threadpoolctl import threadpool_limits

from bids_qcm.physics import PhaseType
from bids_qcm.recon.convection_reaction import ConvectionReaction, inner_voxels
from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.linear_phase import make_linear_phase
from bids_qcm.recon.methods import MAGNITUDE_DELTA
from bids_qcm.recon.multipliers import MultiplierSystem
from bids_qcm.recon.neighbours import Links, neighbours, sum_of_cells, through
from bids_qcm.recon.replicates import mean_of_alike
from bids_qcm.recon.tissue_prior import TissuePrior

SMOOTHNESS = 0.8
"""Weight of the squared gradient of log(conductivity), per mm."""

TO_MEAN = 0.03
"""Weight of the squared distance of log(conductivity) from its mean over the tissue, per mm^3."""

_TO_MEAN_OF_ALL = SMOOTHNESS / 150**2
"""The same where the mask is not divided: deviations are correlated over 150 mm, the whole head."""

ACROSS_EDGE = 0.02
"""Least share of that weight, between voxels of other tissue or magnitude."""

OUTLIER = 3.0
"""Residuals count with their absolute value from so many standard deviations on."""

MODEL_VOXEL = 8.0
"""Volume in mm^3 of the voxels for which a model error is given."""

_MODEL_ERROR = 0.02
_MODEL_FREQUENCY = 127.74e6
_MODEL_EXPONENT = 1.5

INVERSION_REPLICATES = 16
"""Replicates of the noise from which a standard deviation is estimated."""

REPLICATE_SIZE = 2.0
"""Least size of voxels in mm on which replicates are made; smaller ones are hardly better."""

COARSEST_SIZE = 6.0
"""In mm; larger voxels hold too many tissues."""

# Gauss-Newton steps on the first and on finer grids.
_FIRST_STEPS = 8
_FINER_STEPS = 2

# Of errors of the linear equations, for each voxel; the cost of noise alone is 1/2.
_ENERGY = 1e-4
_REPLICATE_ENERGY = 1e-3

_LARGEST_CHANGE = 1.0
_SMALL_CHANGE = 0.01


@dataclass(frozen=True, eq=False)
class Scene:
    """What is inverted, on one grid.

    Attributes
    ----------
    phase : ndarray of float64, shape (X, Y, Z)
        phi0 in rad, whose Laplacian is positive on the whole.
    precision : ndarray of float64, shape (X, Y, Z)
        Inverse of its variance, in rad^-2, positive in the mask and 0 outside it.
    support : ndarray of int32, shape (X, Y, Z)
        Tissue numbers; 0 is outside the mask.
    voxel_size : tuple of 3 floats
        In mm.
    zscore : ndarray of float, shape (X, Y, Z), or None
        z-scored magnitude, whose edges are edges of the conductivity.
    b1_squared : ndarray of float64, shape (X, Y, Z), or None
        Square of |B1+| in any unit, positive in the mask; None for a constant |B1+|.
    model_error : float
        Standard deviation in rad of what the equation neglects, in a voxel of MODEL_VOXEL mm^3; in
        other voxels its variance is inversely proportional to their volume.
    linear_phase_error : tuple of 3 floats
        Standard deviation in rad/m of a linear phase along each axis that may be left.
    """

    phase: NDArray[np.float64]
    precision: NDArray[np.float64]
    support: NDArray[np.int32]
    voxel_size: Triple
    zscore: NDArray[np.floating] | None = None
    b1_squared: NDArray[np.float64] | None = None
    model_error: float = 0.0
    linear_phase_error: Triple = (0.0, 0.0, 0.0)

    @property
    def has_tissues(self) -> bool:
        """Whether the mask is divided into tissues."""
        return np.ptp(self.support[self.inside]) > 0

    @property
    def to_mean(self) -> float:
        """Weight of the squared distance from the mean, in mm^-3."""
        return TO_MEAN if self.has_tissues else _TO_MEAN_OF_ALL

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the phase in rad^2, by noise and by what the equation neglects."""
        neglected = self.model_error**2 * MODEL_VOXEL / np.prod(self.voxel_size)
        return np.where(self.inside, _inverse(self.precision) + neglected, 0)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The mask."""
        return self.support != 0

    def coarser(self) -> "Scene":
        """Merge 2 x 2 x 2 voxels into one, if half of them are in the mask."""
        count = sum_of_cells(self.inside.astype(np.float64))
        kept = count >= 4
        precision = sum_of_cells(self.precision)
        phase = sum_of_cells(self.precision * self.phase)

        def mean(values: NDArray[np.floating] | None) -> NDArray[np.floating] | None:
            if values is None:
                return None
            return sum_of_cells(np.where(self.inside, values, 0)) / np.maximum(count, 1)

        return Scene(
            np.divide(phase, precision, out=np.zeros(kept.shape), where=kept),
            np.where(kept, precision, 0),
            np.where(kept, _most_frequent(self.support), 0),
            tuple(2 * size for size in self.voxel_size),
            mean(self.zscore),
            mean(self.b1_squared),
            self.model_error,
            self.linear_phase_error,
        )


class GoodnessOfFit(NamedTuple):
    """How well an inversion agrees with what it assumes.

    Attributes
    ----------
    reduced_chi_square : float
        Squared residual of the phase over its variance, per degree of freedom. It is about 1 or
        less if the noise is right and the phase obeys the equation. NaN if the fit leaves no degree
        of freedom.
    prior_chi_square : float
        Squared deviation of log(kappa) from the prior over its variance, per parameter that the
        phase determines. It is about 1 if the conductivity varies as the prior assumes. NaN if the
        phase determines none.
    linear_phase_effect : float
        Relative standard deviation of kappa in the median voxel because of the linear phase that
        may be left; NaN if its standard error is unknown.
    """

    reduced_chi_square: float
    prior_chi_square: float
    linear_phase_effect: float


class Inversion(NamedTuple):
    """Result of an inversion.

    Attributes
    ----------
    kappa : ndarray of float32, shape (X, Y, Z)
        ``2 omega mu0 sigma`` in rad/m^2, positive; NaN outside the mask and in those of its parts
        that have no voxel with six neighbours.
    kappa_std : ndarray of float32, shape (X, Y, Z), or None
        Noise standard deviation of kappa.
    goodness : GoodnessOfFit
    """

    kappa: NDArray[np.float32]
    kappa_std: NDArray[np.float32] | None
    goodness: GoodnessOfFit


# its products of vectors are too short for threads, which would wait on each other
@threadpool_limits.wrap(limits=1, user_api="blas")
def invert(scene: Scene, *, uncertainty: bool = False) -> Inversion:
    """Find the conductivity whose phase is the measured one, and which is smooth within tissues.

    Parameters
    ----------
    scene : Scene
    uncertainty : bool
        Whether to estimate the standard deviation.

    Returns
    -------
    Inversion

    Notes
    -----
    The map minimises ``sum_i rho((phi_i - phi_i(kappa)) / s_i) + SMOOTHNESS / 2 integral w
    |grad log(kappa)|^2 + mu / 2 integral (log(kappa) - mean of log(kappa) over the tissue)^2`` over
    kappa in the mask and the phase on its rim. phi(kappa) obeys :class:`ConvectionReaction`, rho is
    Huber's function, and s^2 is the variance of noise and model error. w is 1 within a tissue and
    ACROSS_EDGE between two; with a magnitude m it is multiplied by
    ``exp(-(m_j - m_i)^2 / (2 delta^2))``, but is not below ACROSS_EDGE. mu is TO_MEAN where the
    mask has several tissues, else nearly 0. It is the most probable map for normal noise and that
    prior: within a tissue, deviations of log(kappa) from its mean are correlated over
    sqrt(SMOOTHNESS / TO_MEAN) = 5 mm, and their averages over balls of 6 mm diameter have a
    standard deviation of 16 % (of 11 % for balls of 10 mm). Gauss-Newton steps, see
    :class:`~bids_qcm.recon.multipliers.MultiplierSystem`, on grids from 6 mm to the given one. The
    noise is propagated through the last step: replicates of it on the finest grid whose voxels are
    2 mm or larger.

    The reduced chi-square is ``2 sum_i rho(r_i / s_i) / (N - p)`` over the N voxels of the mask,
    with the residuals r at the minimum. p, the effective number of parameters, is the trace of the
    matrix that maps the phase to the fitted phase [1]_. A random probe of the noise estimates the
    trace [2]_. The same probe gives the trace for a fixed map; the difference is the number of
    parameters of the map that the phase determines. If the conductivity varies as the prior
    assumes, this number is also the expected value of ``u . Q u``, the prior's term at the
    minimum, because noise, prior and equation are normal and linear there.

    References
    ----------
    .. [1] Ye J. On measuring and correcting the effects of data mining and model selection. J Am
       Stat Assoc 1998. doi:10.1080/01621459.1998.10474094
    .. [2] Hutchinson MF. A stochastic estimator of the trace of the influence matrix for Laplacian
       smoothing splines. Commun Stat Simul Comput 1990. doi:10.1080/03610919008812866
    """
    levels = _levels(scene)
    replicated = [one for one in levels if min(one.voxel_size) >= REPLICATE_SIZE]
    for_std = (replicated or levels[-1:])[0] if uncertainty else None
    fit = _Fit(levels[-1], np.full(levels[-1].support.shape, np.log(_typical(levels[-1]))))
    fit.improve(_FIRST_STEPS)
    effect = fit.linear_phase_effect()
    std = _replicated_std(fit) if fit.scene is for_std else None
    for level in levels[-2::-1]:
        coarse, shape = fit.scene.inside, level.support.shape
        fit = _Fit(level, _refined(fit.log_kappa, coarse, shape))
        fit.improve(_FINER_STEPS)
        if level is for_std:
            std = _replicated_std(fit)
        elif std is not None:
            std = _refined(std, coarse, shape)
    kappa = np.where(_determined(scene.inside), np.exp(fit.log_kappa), np.nan)
    return Inversion(
        kappa.astype(np.float32),
        None if std is None else (kappa * std).astype(np.float32),
        fit.goodness(effect),
    )


def _levels(scene: Scene) -> list[Scene]:
    """Give the grids, the finest first: coarser ones as long as they say something of the mask."""
    levels = [scene]
    while 2 * max(levels[-1].voxel_size) <= COARSEST_SIZE:
        coarser = levels[-1].coarser()
        if not inner_voxels(coarser.inside).any():
            break
        levels.append(coarser)
    return levels


def model_error(frequency: float, phase_type: PhaseType) -> float:
    """Return the error in rad that a phase has from what the equation neglects.

    Parameters
    ----------
    frequency : float
        Larmor frequency in Hz.
    phase_type : {"transceive", "transmit"}

    Returns
    -------
    float
        For voxels of MODEL_VOXEL mm^3.

    Notes
    -----
    Measured on full-wave phantoms without noise: the root mean square of the phase less the
    nearest one that obeys the equation with the true conductivity and the measured magnitude of
    B1+ is 0.008, 0.02 and 0.10 rad at 1.5, 3 and 7 T, a power of about 1.5 of the frequency. The
    difference of transmit and receive fields is neglected, and the permittivity's gradient.
    """
    share = 1.0 if phase_type == "transceive" else 0.5
    return share * _MODEL_ERROR * (frequency / _MODEL_FREQUENCY) ** _MODEL_EXPONENT


class _State(NamedTuple):
    """A map, and the phase that obeys the equation with it and is nearest to the measured one."""

    log_kappa: NDArray[np.float64]
    equation: ConvectionReaction
    phase: NDArray[np.float64]
    multipliers: NDArray[np.float32]
    cost: float


class _Fit:
    """The best log(kappa) so far, and its phase."""

    def __init__(self, scene: Scene, log_kappa: NDArray[np.float64]) -> None:
        self.scene = scene
        self._prior = TissuePrior(_links(scene), scene.support, scene.voxel_size, scene.to_mean)
        self._expected = scene.variance
        # inverse of the expected standard deviation; 0 outside the mask
        self._scale = _inverse(np.sqrt(self._expected))
        self._variance = self._expected
        self._multipliers: NDArray[np.float32] | None = None
        self._state = self._nearest(np.where(scene.inside, log_kappa, 0), None)
        self._weigh_outliers()

    @property
    def log_kappa(self) -> NDArray[np.float64]:
        """The map, (X, Y, Z); 0 outside the mask."""
        return self._state.log_kappa

    @property
    def cost(self) -> float:
        """What the map minimises."""
        return self._state.cost

    def improve(self, steps: int) -> None:
        """Take Gauss-Newton steps until they are small."""
        for _ in range(steps):
            change = self._change()
            while not self._taken(change):
                change /= 2
                if np.abs(change).max() < _SMALL_CHANGE:
                    return
            if np.abs(change[self.scene.inside]).mean() < _SMALL_CHANGE:
                return

    def response(self, noise: NDArray[np.float64], system: MultiplierSystem) -> NDArray[np.float32]:
        """Return the change of log(kappa) that noise of the phase causes, to first order."""
        return system.change(self._moved(noise), energy=_REPLICATE_ENERGY).log_kappa

    def linear_phase_effect(self) -> float:
        """Return the effect of the linear phase that may be left on the median voxel."""
        scene = self.scene
        error = np.array(scene.linear_phase_error)
        if not np.isfinite(error).all():
            return float("nan")
        total, system = np.zeros(scene.phase.shape), self.system()
        for one in np.diag(error)[error > 0]:
            ramp = make_linear_phase(one, scene.phase.shape, scene.voxel_size)
            total += self.response(ramp, system).astype(np.float64) ** 2
        return float(np.median(np.sqrt(total[scene.inside])))

    def goodness(self, linear_phase_effect: float) -> GoodnessOfFit:
        """Compare the residual and the map with their expected sizes."""
        right = self._moved(_noise(self._variance, np.random.default_rng(0)))
        fixed = self._fixed_map_system(self._state.equation)
        left_by_phase = float(np.vdot(right, fixed.solve(right, energy=_ENERGY)))
        freedom = float(np.vdot(right, self.system().change(right, energy=_ENERGY).multipliers))
        return GoodnessOfFit(
            _ratio(2 * self._misfit(self._state.phase), freedom),
            _ratio(2 * self._prior_cost(self._state.log_kappa), left_by_phase - freedom),
            linear_phase_effect,
        )

    def _moved(self, phase: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the change of the equation's excess with the phase."""
        return self._state.equation.excess(phase) - self._state.equation.source

    def system(self) -> MultiplierSystem:
        """Set up the normal equations at the present map."""
        state = self._state
        return MultiplierSystem(state.equation, self._variance, self._prior, state.phase)

    def _change(self) -> NDArray[np.float64]:
        """Return the Gauss-Newton step of log(kappa)."""
        state, inside = self._state, self.scene.inside
        # about its mean, for single precision
        centre = state.log_kappa[inside].mean()
        deviation = np.where(inside, state.log_kappa - centre, 0)
        system = self.system()
        right = state.equation.excess(self.scene.phase) - system.by_log_kappa(deviation)
        found, self._multipliers = system.change(right, energy=_ENERGY, start=self._multipliers)
        step = np.where(inside, found.astype(np.float64) - deviation, 0)
        return np.clip(step, -_LARGEST_CHANGE, _LARGEST_CHANGE)

    def _taken(self, change: NDArray[np.float64]) -> bool:
        """Take a step if it makes the fit better."""
        new = self._nearest(self._state.log_kappa + change, self._state.multipliers)
        if not new.cost < self._state.cost:
            return False
        self._state = new
        self._weigh_outliers()
        return True

    def _nearest(self, log_kappa: NDArray[np.float64], start: NDArray[np.float32] | None) -> _State:
        """Find the phase of a map: of those that obey the equation, the nearest to the measured."""
        scene = self.scene
        equation = ConvectionReaction(scene.inside, scene.voxel_size, log_kappa, scene.b1_squared)
        system = self._fixed_map_system(equation)
        multipliers = system.solve(equation.excess(scene.phase), energy=_ENERGY, start=start)
        phase = scene.phase - system.spread(multipliers)
        cost = self._misfit(phase) + self._prior_cost(log_kappa)
        return _State(log_kappa, equation, phase, multipliers, cost)

    def _fixed_map_system(self, equation: ConvectionReaction) -> MultiplierSystem:
        """Set up the normal equations of the phase alone."""
        return MultiplierSystem(equation, self._variance)

    def _prior_cost(self, log_kappa: NDArray[np.float64]) -> float:
        """Return the term of the cost for deviations from the prior."""
        inside = self.scene.inside
        # the prior leaves the mean free; without it, single precision is enough
        centred = np.where(inside, log_kappa - log_kappa[inside].mean(), 0)
        return float(np.vdot(centred, self._prior.precision(centred))) / 2

    def _weigh_outliers(self) -> None:
        """Raise the variance of outliers, so that their squares count as Huber's function does."""
        excess = np.abs(self.scene.phase - self._state.phase) * self._scale / OUTLIER
        self._variance = self._expected * np.maximum(excess, 1)

    def _misfit(self, phase: NDArray[np.float64]) -> float:
        """Return the sum of Huber's function over the residuals in expected deviations."""
        return float(huber(OUTLIER, (self.scene.phase - phase) * self._scale).sum())


def _links(scene: Scene) -> Links:
    """Return the weights of the squared differences of log(kappa)."""
    links = []
    inside, zscore = scene.inside, scene.zscore
    for axis, size in enumerate(scene.voxel_size):
        here, there = neighbours(axis)
        share = (scene.support[here] == scene.support[there]).astype(np.float64)
        if zscore is not None:
            share *= np.exp(-((zscore[there] - zscore[here]) ** 2) / (2 * MAGNITUDE_DELTA**2))
        share = np.where(inside[here] & inside[there], np.maximum(share, ACROSS_EDGE), 0)
        link = np.zeros(inside.shape)
        link[here] = SMOOTHNESS * np.prod(scene.voxel_size) / size**2 * share
        links.append(link)
    return links


def _typical(scene: Scene) -> float:
    """Give the size of the phase's Laplacian in rad/m^2, from which to start."""
    squares = [np.full(scene.phase.shape, (size * 1e-3) ** -2) for size in scene.voxel_size]
    inner = inner_voxels(scene.inside)
    if not inner.any():
        raise ValueError("the mask is nowhere three voxels thick, which an inversion needs")
    return float(np.median(np.abs(through(squares, scene.phase)[inner])))


def _determined(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave out the parts of a mask that the equation says nothing of."""
    parts, _ = label(inside)
    return inside & np.isin(parts, np.unique(parts[inner_voxels(inside)]))


def _most_frequent(support: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give the most frequent number but 0 in each cell of 2 x 2 x 2 voxels."""
    found, most = np.int32(0), np.float64(0)
    for number in np.unique(support[support != 0]):
        count = sum_of_cells((support == number).astype(np.float64))
        found = np.where(count > most, number, found)
        most = np.maximum(count, most)
    return found


def _refined(
    values: NDArray[np.float64], known: NDArray[np.bool_], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Give each voxel of a grid twice as fine the nearest value that is known."""
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    values = values[tuple(nearest)]
    for axis in range(3):
        values = values.repeat(2, axis=axis)
    return values[tuple(slice(n) for n in shape)]


def _replicated_std(fit: _Fit) -> NDArray[np.float64]:
    """Estimate the standard deviation of log(kappa)."""
    scene = fit.scene
    rng = np.random.default_rng(0)
    noise_variance = _inverse(scene.precision)
    noises = [_noise(noise_variance, rng) for _ in range(INVERSION_REPLICATES)]
    total = np.zeros(scene.phase.shape)
    with ThreadPoolExecutor(fft.get_workers()) as pool:
        for response in pool.map(partial(fit.response, system=fit.system()), noises):
            total += response**2
    return np.sqrt(mean_of_alike(total / INVERSION_REPLICATES, scene.support, scene.zscore))


def _noise(variance: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw normal noise of the phase in rad, (X, Y, Z)."""
    return np.sqrt(variance) * rng.standard_normal(variance.shape)


def _ratio(total: float, number: float) -> float:
    """Return the mean of a total over a number of terms; NaN for less than one term."""
    return total / number if number >= 1 else float("nan")


def _inverse(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of positive values; 0 elsewhere."""
    return np.divide(1, values, out=np.zeros(values.shape), where=values > 0)
