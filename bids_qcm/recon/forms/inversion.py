"""The inversion form: solve the phase equation for the conductivity."""

from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np

from bids_qcm.recon.arguments import require
from bids_qcm.recon.forms.base import Form, Laplacian
from bids_qcm.recon.forms.integral import integrate
from bids_qcm.recon.inversion import (
    REPLICATE_SIZE,
    SMOOTHNESS,
    InverseProblem,
    invert,
)
from bids_qcm.recon.kernels import Kernels, Triple, as_triple
from bids_qcm.recon.linear_phase import (
    LinearPhase,
    combine,
    estimate_linear_phase,
    make_linear_phase,
    unknown_linear_phase,
)
from bids_qcm.recon.methods import METHODS, Method
from bids_qcm.recon.replicates import NOISE_MAPS
from bids_qcm.recon.volumes import Volumes

# Method of the initial map from which the linear phase is estimated, keyed by (has magnitude, has
# tissues). integral-ivw is not in the table, because its kernels are too small for the large voxels
# of this estimate.
_FIRST_MAP = {
    (False, False): "integral-mag-ivw",
    (True, False): "integral-mag-ivw",
    (False, True): "integral-seg-ivw",
    (True, True): "integral-magseg-ivw",
}

_BYTES = 460

# Processor time, in s per voxel of the mask, for a map and for its standard deviation. Measured for
# phantoms with 1, 2 and 4 mm voxels and for a real head on one core of a server from 2023.
_SECONDS = 16e-6
_SECONDS_OF_STD = 40e-6


class InversionForm(Form):
    """Methods that invert the phase equation in all voxels at once."""

    title = "inversion"
    introduction = (
        "The inversion methods solve the convection-reaction equation [@gurler2017] for the "
        "conductivity of all voxels simultaneously."
    )
    effect_of_labels = "weaker smoothing across tissue boundaries"
    needs_noise = True
    uses_b1_by_default = True
    parameters = MappingProxyType({"smoothness": SMOOTHNESS})

    def compute(
        self,
        volumes: Volumes,
        method: Method,
        kernels: Kernels,
        *,
        uncertainty: bool = True,
        noise_maps: bool = False,
    ) -> Laplacian:
        """Remove the linear phase and invert the remaining phase.

        Raises
        ------
        ValueError
            If the volumes do not include a positive phase noise.
        """
        problem = _inverse_problem(volumes, method, kernels.axes)
        linear = find_linear_phase(problem)
        removed = make_linear_phase(linear.posterior_mean, problem.phase.shape, problem.voxel_size)
        problem = replace(
            problem, phase=problem.phase - removed, linear_phase_error=tuple(linear.standard_error)
        )
        found = invert(problem, uncertainty=uncertainty)
        maps = found.noise if noise_maps else None
        return Laplacian(found.kappa, found.kappa_std, found.goodness, linear, maps)

    def quantity(self, method: Method) -> str:
        """Return the quantity that a method computes."""
        return (
            "the conductivity whose phase best fits phi0 relative to the phase noise (Huber loss), "
            "regularised by {smoothness} times the squared gradient of the logarithm of the "
            "conductivity"
        )

    def propagation(self, method: Method) -> str:
        """Return a description of how the standard deviation is computed from the noise."""
        return f"{NOISE_MAPS} noise replicates, to first order"

    def bytes_per_voxel(self, method: Method, *, noise: bool, noise_maps: bool) -> float:
        """Return the peak memory in bytes per voxel of the volume."""
        return _BYTES

    def seconds_per_voxel(
        self,
        method: Method,
        kernels: Kernels,
        voxel_size: Triple,
        *,
        noise: bool,
        uncertainty: bool,
        noise_maps: bool,
    ) -> float:
        """Return the processor time in s per voxel of the mask."""
        if not uncertainty:
            return _SECONDS
        # the standard deviation is computed on merged voxels if the voxels are small
        share = 1 if min(voxel_size) >= REPLICATE_SIZE else 1 / 8
        return _SECONDS + share * _SECONDS_OF_STD


FORM = InversionForm()


def _inverse_problem(volumes: Volumes, method: Method, axes: tuple[int, ...]) -> InverseProblem:
    inside = volumes.inside
    if volumes.noise is None or not (volumes.noise.phase[inside] > 0).all():
        raise ValueError(f"{method.name} needs a phase noise that is positive in the mask")
    precision = np.zeros(inside.shape)
    precision[inside] = volumes.noise.phase[inside].astype(np.float64) ** -2
    return InverseProblem(**vars(replace(volumes, noise=None)), precision=precision, axes=axes)


def find_linear_phase(problem: InverseProblem) -> LinearPhase:
    """Estimate the linear phase for an inversion from an initial map of a method with kernels.

    Parameters
    ----------
    problem : InverseProblem

    Returns
    -------
    LinearPhase
        The estimate without tissues. If there are tissues, it is combined with the estimate with
        tissues. The linear phase is unknown if the mask is too small, or if the median of the
        initial map is not positive. It is 0 along an axis along which the phase is not
        differentiated.

    Notes
    -----
    The estimate uses voxels of 3 to 6 mm, which are smaller than the kernels. For larger voxels,
    the kernels are enlarged. After the first estimate is removed, the estimate is repeated, because
    merged voxels at the edge of the mask are incomplete: their centre of gravity differs from the
    centre of the cell, which changes a linear phase. Without repetition, this effect caused errors
    of up to 6 %.
    """
    found = _estimate_once(problem)
    gradient = found.on_axes(problem.axes).estimate
    ramp = make_linear_phase(gradient, problem.phase.shape, problem.voxel_size)
    rest = _estimate_once(replace(problem, phase=problem.phase - ramp))
    total = replace(rest.shifted(found.estimate), explained_fraction=found.explained_fraction)
    return total.on_axes(problem.axes)


def _estimate_once(problem: InverseProblem) -> LinearPhase:
    """Return a single estimate, from the initial map alone and from its tissue medians.

    The estimate has one component for each of the axes of the problem.
    """
    # The mean over a merged voxel is not weighted by the noise. With weights, its centre of gravity
    # would be shifted towards the brighter tissue, which would change a linear phase at borders.
    problem = replace(problem, precision=problem.inside.astype(np.float64))
    while problem.merged_axes:
        problem = problem.coarser(problem.merged_axes)
    inside = problem.inside
    method = METHODS[_FIRST_MAP[problem.zscore is not None, problem.has_tissues]]
    first = integrate(
        replace(
            problem,
            phase=np.where(inside, problem.phase, 0),
            zscore=None if problem.zscore is None else problem.zscore.astype(np.float32),
            b1_squared=None,
        ),
        method,
        _kernels_of(method, problem.voxel_size, problem.axes),
    )
    known = first[inside & np.isfinite(first)]
    if not (known.size and np.median(known) > 0):
        return unknown_linear_phase(len(problem.axes))
    estimate = partial(
        estimate_linear_phase,
        problem.phase,
        inside,
        first,
        voxel_size=problem.voxel_size,
        b1_squared=problem.b1_squared,
        axes=problem.axes,
    )
    if not problem.has_tissues:
        return estimate()
    return combine(estimate(), estimate(labels=problem.support))


def _kernels_of(method: Method, voxel_size: Triple, axes: tuple[int, ...]) -> Kernels:
    """Return the method's published kernels, enlarged to radii of at least two voxels."""

    def enlarged(radius: float | None) -> Triple:
        least = require(radius, "kernels")
        radii = [
            max(least, 2 * size) if axis in axes else 0.0 for axis, size in enumerate(voxel_size)
        ]
        return as_triple(radii, "radius")

    return Kernels(enlarged(method.fit_radius), enlarged(method.integral_radius), axes)
