"""Conductivity from the whole phase at once: the convection-reaction equation inverted."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import distance_transform_edt, label
from scipy.sparse.linalg import cg
from scipy.special import huber
from threadpoolctl import threadpool_limits

from bids_qcm.recon.convection_reaction import ConvectionReaction, inner_voxels
from bids_qcm.recon.kernels import Triple
from bids_qcm.recon.methods import MAGNITUDE_DELTA
from bids_qcm.recon.multigrid import Multigrid, volume_operator
from bids_qcm.recon.neighbours import Links, neighbours, sum_of_cells, through
from bids_qcm.recon.replicates import mean_of_alike

SMOOTHNESS = 0.8
"""Weight of the squared gradient of log(conductivity), per mm."""

TO_MEAN = 0.03
"""Weight of the squared distance of log(conductivity) from its mean over the tissue, per mm^3."""

ACROSS_EDGE = 0.02
"""Least share of that weight, between voxels of other tissue or magnitude."""

OUTLIER = 3.0
"""Residuals count with their absolute value from so many standard deviations on."""

INVERSION_REPLICATES = 16
"""Replicates of the noise from which a standard deviation is estimated."""

REPLICATE_SIZE = 2.0
"""Least size of voxels in mm on which replicates are made; smaller ones are hardly better."""

# Larger voxels hold too many tissues.
_COARSEST_SIZE = 6.0

# Gauss-Newton steps, and iterations of conjugate gradients in each: first and on finer grids. For
# replicates, iterations and tolerance.
_FIRST = 8, 100
_FINER = 5, 60
_TOLERANCE = 0.02
_REPLICATE = 60, 0.05
_GRADIENT_TOLERANCE = 1e-4
_LARGEST_CHANGE = 1.0
_SHORTEST_STEP = 1 / 16
_SMALL_CHANGE = 0.01

# Of the preconditioner, which must not be singular; the prior per mm^2.
_RIDGE = 0.05


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
    """

    phase: NDArray[np.float64]
    precision: NDArray[np.float64]
    support: NDArray[np.int32]
    voxel_size: Triple
    zscore: NDArray[np.floating] | None = None
    b1_squared: NDArray[np.float64] | None = None

    @property
    def has_tissues(self) -> bool:
        """Whether the mask is divided into tissues."""
        return np.ptp(self.support[self.inside]) > 0

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
        )


class Inversion(NamedTuple):
    """Result of an inversion.

    Attributes
    ----------
    kappa : ndarray of float32, shape (X, Y, Z)
        ``2 omega mu0 sigma`` in rad/m^2, positive; NaN outside the mask and in those of its parts
        that have no voxel with six neighbours.
    kappa_std : ndarray of float32, shape (X, Y, Z), or None
        Noise standard deviation of kappa.
    reduced_chi_square : float
        Misfit of the phase over its noise, per degree of freedom; NaN if the fit leaves none.
        About 1 if the noise is right and the phase obeys the equation.
    """

    kappa: NDArray[np.float32]
    kappa_std: NDArray[np.float32] | None
    reduced_chi_square: float


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
    |grad log(kappa)|^2`` over kappa in the mask and the phase on its rim, with phi(kappa) from
    :class:`ConvectionReaction`, rho Huber's function and w 1 within a tissue and ACROSS_EDGE
    between two; with a magnitude m also ``exp(-(m_j - m_i)^2 / (2 delta^2))``, not below
    ACROSS_EDGE. Where the mask has several tissues, ``TO_MEAN / 2 integral (log(kappa) - mean of
    log(kappa) over the tissue)^2`` is added. It is the most probable map for normal noise and that
    prior: within a tissue, deviations of log(kappa) from its mean are correlated over
    sqrt(SMOOTHNESS / TO_MEAN) = 5 mm, and their averages over balls of 6 mm diameter have a
    standard deviation of 16 % (of 11 % for balls of 10 mm). Gauss-Newton steps,
    each by conjugate gradients, on grids from 6 mm to the given one. The noise is propagated
    through the last step: replicates of it on the finest grid whose voxels are 2 mm or larger.

    The reduced chi-square is ``2 sum_i rho(r_i / s_i) / (N - p)`` over the N voxels of the mask,
    with the residuals r at the minimum. p, the effective number of parameters, is the trace of the
    matrix that maps the phase to the fitted phase [1]_. One random probe of the noise estimates the
    trace [2]_.

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
    fit.improve(*_FIRST)
    std = _replicated_std(fit) if fit.scene is for_std else None
    for level in levels[-2::-1]:
        coarse, shape = fit.scene.inside, level.support.shape
        fit = _Fit(level, _refined(fit.log_kappa, coarse, shape))
        fit.improve(*_FINER)
        if level is for_std:
            std = _replicated_std(fit)
        elif std is not None:
            std = _refined(std, coarse, shape)
    kappa = np.where(_determined(scene.inside), np.exp(fit.log_kappa), np.nan)
    return Inversion(
        kappa.astype(np.float32),
        None if std is None else (kappa * std).astype(np.float32),
        fit.reduced_chi_square(),
    )


def _levels(scene: Scene) -> list[Scene]:
    """Give the grids, the finest first: coarser ones as long as they say something of the mask."""
    levels = [scene]
    while 2 * max(levels[-1].voxel_size) <= _COARSEST_SIZE:
        coarser = levels[-1].coarser()
        if not inner_voxels(coarser.inside).any():
            break
        levels.append(coarser)
    return levels


class _Fit:
    """The best log(kappa) so far, and the phase on the rim."""

    def __init__(self, scene: Scene, log_kappa: NDArray[np.float64]) -> None:
        self.scene = scene
        self.log_kappa = np.where(scene.inside, log_kappa, 0)
        self._prior = _prior(scene)
        volume = np.prod(scene.voxel_size)
        self._to_mean = TO_MEAN * volume if scene.has_tissues else 0.0
        self._tissue_sizes = np.maximum(np.bincount(scene.support.ravel()), 1)
        ridge = self._to_mean or _RIDGE * SMOOTHNESS * volume ** (1 / 3)
        self._smoother = Multigrid(self._prior, scene.inside, ridge)
        rim = scene.inside & ~inner_voxels(scene.inside)
        self._rim_variance = np.divide(
            1, scene.precision, out=np.zeros(rim.shape), where=rim & (scene.precision > 0)
        )
        self._equation = self._solved(self.log_kappa, scene.phase)
        self.cost = self._cost(self._equation, self.log_kappa)

    def improve(self, steps: int, iterations: int) -> None:
        """Take Gauss-Newton steps until they are small."""
        for _ in range(steps):
            residual, weight = self._weighted()
            down, rim = self._equation.adjoint(weight * residual, _GRADIENT_TOLERANCE)
            down -= self._prior_gradient(self.log_kappa)
            change, rim_change = self._step(down, rim, weight, iterations, _TOLERANCE)
            length = 1.0
            while not self._taken(length, change, rim_change):
                length /= 2
                if length < _SHORTEST_STEP:
                    return
            if length * np.abs(change[self.scene.inside]).mean() < _SMALL_CHANGE:
                return

    def _prior_gradient(self, log_kappa: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient of the prior, a linear function of log(kappa)."""
        smooth = through(self._prior, log_kappa)
        if not self._to_mean:
            return smooth
        return smooth + self._to_mean * self._less_mean(log_kappa)

    def _less_mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values less their mean over the tissue; 0 outside the mask."""
        support = self.scene.support
        sums = np.bincount(support.ravel(), values.ravel())
        means = sums / self._tissue_sizes
        return np.where(support != 0, values - means[support], 0)

    def response(self, noise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the change of log(kappa) that noise of the phase causes, to first order."""
        return self._full_response(noise)[0]

    def reduced_chi_square(self) -> float:
        """Return the misfit per degree of freedom; NaN if the fit leaves no degree of freedom."""
        inside, scene = self.scene.inside, self.scene
        probe = _noise(scene, np.random.default_rng(0))
        fitted = self._equation.change(*self._full_response(probe))
        parameters = float((scene.precision * probe * fitted).sum())
        freedom = inside.sum() - parameters
        return 2 * self._misfit(self._equation) / freedom if freedom > 0 else float("nan")

    def _full_response(self, noise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the first-order changes of log(kappa) and of the rim, (2, X, Y, Z)."""
        weight = self._weighted()[1]
        down, rim = self._equation.adjoint(weight * noise)
        return self._step(down, rim, weight, *_REPLICATE)

    def _weighted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the residuals and their weights: the precision, less for outliers."""
        residual = self.scene.phase - self._equation.phase
        excess = np.abs(residual) * np.sqrt(self.scene.precision) / OUTLIER
        return residual, self.scene.precision / np.maximum(excess, 1)

    def _taken(
        self, length: float, change: NDArray[np.float64], rim_change: NDArray[np.float64]
    ) -> bool:
        """Take a step if it makes the fit better."""
        limited = np.clip(length * change, -_LARGEST_CHANGE, _LARGEST_CHANGE)
        log_kappa = self.log_kappa + limited
        equation = self._solved(log_kappa, self._equation.phase + length * rim_change)
        cost = self._cost(equation, log_kappa)
        if not cost < self.cost:
            return False
        self.log_kappa, self._equation, self.cost = log_kappa, equation, cost
        return True

    def _solved(
        self, log_kappa: NDArray[np.float64], phase: NDArray[np.float64]
    ) -> ConvectionReaction:
        scene = self.scene
        return ConvectionReaction(
            scene.inside, scene.voxel_size, log_kappa, phase, scene.b1_squared
        )

    def _cost(self, equation: ConvectionReaction, log_kappa: NDArray[np.float64]) -> float:
        rough = log_kappa * self._prior_gradient(log_kappa)
        return self._misfit(equation) + float(rough.sum()) / 2

    def _misfit(self, equation: ConvectionReaction) -> float:
        """Return the sum of Huber's function over the residuals in units of the noise."""
        misfit = (self.scene.phase - equation.phase) * np.sqrt(self.scene.precision)
        return float(huber(OUTLIER, misfit).sum())

    def _step(
        self,
        down: NDArray[np.float64],
        rim: NDArray[np.float64],
        weight: NDArray[np.float64],
        iterations: int,
        tolerance: float,
    ) -> NDArray[np.float64]:
        """Solve the normal equations: changes of log(kappa) and of the rim, (2, X, Y, Z)."""

        def normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
            log_kappa, rim = self._equation.adjoint(weight * self._equation.change(*values))
            return np.stack([log_kappa + self._prior_gradient(values[0]), rim])

        def precondition(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack([self._smoother.cycle(values[0]), self._rim_variance * values[1]])

        right = np.stack([down, rim])
        found, _ = cg(
            volume_operator(normal, right.shape),
            right.ravel(),
            rtol=tolerance,
            maxiter=iterations,
            M=volume_operator(precondition, right.shape),
        )
        return found.reshape(right.shape)


def _prior(scene: Scene) -> Links:
    """Give the weights of the squared differences of log(kappa)."""
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
    noises = [_noise(scene, rng) for _ in range(INVERSION_REPLICATES)]
    total = np.zeros(scene.phase.shape)
    with ThreadPoolExecutor(fft.get_workers()) as pool:
        for response in pool.map(fit.response, noises):
            total += response**2
    return np.sqrt(mean_of_alike(total / INVERSION_REPLICATES, scene.support, scene.zscore))


def _noise(scene: Scene, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the noise of the phase in rad, (X, Y, Z); 0 outside the mask."""
    sd = np.divide(1, np.sqrt(scene.precision), out=np.zeros(scene.phase.shape), where=scene.inside)
    return sd * rng.standard_normal(sd.shape)
