"""Compute conductivity from phi0 with any method."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import find_objects

from bids_qcm.physics import PhaseType, Sign, conductivity_factor
from bids_qcm.recon.arguments import as_volume
from bids_qcm.recon.automatic import LARGEST_SCALE, choose_for_noise
from bids_qcm.recon.compiling import thread_limit
from bids_qcm.recon.forms import form_of
from bids_qcm.recon.inversion import GoodnessOfFit, model_error
from bids_qcm.recon.kernels import Triple, as_triple
from bids_qcm.recon.linear_phase import LinearPhase
from bids_qcm.recon.methods import METHODS, TARGET_STD, Method
from bids_qcm.recon.radii import Radius, RadiusChoice, choose_kernels, is_automatic
from bids_qcm.recon.replicates import Noise
from bids_qcm.recon.sign import determine_sign
from bids_qcm.recon.volumes import Volumes


@dataclass(frozen=True)
class Reconstruction:
    """A conductivity map and the parameters of its reconstruction.

    Attributes
    ----------
    conductivity : ndarray of float32, shape (X, Y, Z)
        Conductivity in S/m; NaN where invalid, 0 outside the mask.
    conductivity_std : ndarray of float32, shape (X, Y, Z), or None
        Standard deviation of the conductivity in S/m; NaN where invalid, 0 outside the mask. None
        if it was not computed.
    method : Method
        The method.
    fit_radius, integral_radius : tuple of 3 floats, or None
        Semi-axes of the kernels in mm; None if the method has no such kernel.
    axes : tuple of int
        Axes along which the phase was differentiated.
    predicted_std : float or None
        Median standard deviation, in S/m, that was predicted when automatic radii were chosen; None
        without automatic radii.
    phase_type : {"transceive", "transmit"}
        Type of the phase.
    sign : {"+", "-"}
        Sign that was applied to the phase.
    frequency : float
        Larmor frequency in Hz.
    invalid_fraction : float
        Fraction of the mask's voxels that are NaN, from 0 to 1.
    goodness : GoodnessOfFit or None
        For an inversion: measures of whether the phase obeys the equation within its noise, and
        whether the conductivity varies as expected. None for the other methods.
    linear_phase : LinearPhase or None
        For an inversion: the estimated linear phase, whose ``posterior_mean`` was removed from the
        phase. None for the other methods.
    noise_maps : ndarray of float32, shape (n, n_mask), or None
        Noise of the conductivity in independent realisations, in S/m, at the voxels of the mask, in
        C order; NaN where invalid. A linear function of the map, such as the mean over a region,
        has the standard deviation of this function over the n noise maps, because neighbouring
        voxels share their noise. None if the noise maps were not computed.
    """

    conductivity: NDArray[np.float32]
    conductivity_std: NDArray[np.float32] | None
    method: Method
    fit_radius: Triple | None
    integral_radius: Triple | None
    axes: tuple[int, ...]
    predicted_std: float | None
    phase_type: PhaseType
    sign: Sign
    frequency: float
    invalid_fraction: float
    goodness: GoodnessOfFit | None = None
    linear_phase: LinearPhase | None = None
    noise_maps: NDArray[np.float32] | None = None


def reconstruct(
    phase: ArrayLike,
    *,
    method: str,
    voxel_size: Radius,
    frequency: float,
    mask: ArrayLike | None = None,
    magnitude: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    phase_type: PhaseType = "transceive",
    sign: Sign | Literal["auto"] = "+",
    fit_radius: RadiusChoice = None,
    integral_radius: RadiusChoice = None,
    target_std: float = TARGET_STD,
    phase_noise: ArrayLike | None = None,
    magnitude_noise: float = 0.0,
    b1_map: ArrayLike | None = None,
    axes: Sequence[int] = (0, 1, 2),
    uncertainty: bool = True,
    noise_maps: bool = False,
    n_threads: int | None = None,
) -> Reconstruction:
    """Compute conductivity from the phase at echo time zero.

    Parameters
    ----------
    phase : array_like of float, shape (X, Y, Z)
        Unwrapped phi0 in rad. Voxels that are not finite are excluded from every support.
    method : str
        A name in :data:`METHODS`.
    voxel_size : float or sequence of 3 floats
        Voxel size in mm.
    frequency : float
        Larmor frequency in Hz.
    mask : array_like of bool, shape (X, Y, Z), optional
        Voxels that are used and mapped; default: all voxels with finite phase.
    magnitude : array_like of float, shape (X, Y, Z)
        Magnitude image. The ``-mag`` and ``-magseg`` methods require it; the other methods ignore
        it.
    labels : array_like of int, shape (X, Y, Z)
        Tissue labels; label 0 is not a tissue. The ``-seg`` and ``-magseg`` methods require them;
        the other methods ignore them.
    phase_type : {"transceive", "transmit"}
        Type of the phase. The image phase of a scanner is the transceive phase.
    sign : {"+", "-", "auto"}
        Sign that is applied to the phase; ``auto`` makes the median Laplacian positive.
    fit_radius, integral_radius : float or sequence of 3 floats or "auto", optional
        Semi-axes of the kernels in mm; default: the method's published optimum. A radius of 0 along
        one axis has the same effect as `axes` without this axis. For a finite-difference method,
        the fit radius has only this purpose. ``auto`` scales the published optimum so that
        `target_std` is met.
    target_std : float
        Target for automatic radii: the median standard deviation in S/m.
    phase_noise : array_like of float, shape (X, Y, Z), or float, optional
        Standard deviation of the phase noise in rad. The noise must be independent between voxels.
        With phase noise, the standard deviation of the conductivity is computed: by error
        propagation for the ``laplacian`` methods, and from noise replicates for the other methods.
        The ``inversion`` methods require the phase noise, because it determines their weights.
    magnitude_noise : float
        Standard deviation of the magnitude noise in the unit of the magnitude. This noise changes
        the weights of the ``-mag`` and ``-magseg`` methods. :func:`bids_qcm.phase.compute_phi0`
        estimates the phase noise and the magnitude noise.
    b1_map : array_like of float, shape (X, Y, Z), optional
        Magnitude of B1+ in any unit, positive in the mask and free of noise. Smooth a measured map
        with :func:`smooth_b1`, or compute a map with :func:`model_b1`. Without a map, the magnitude
        is assumed to be constant. See Notes.
    axes : sequence of int
        Axes along which the phase is differentiated. For the slices of a 2-D acquisition whose
        phases differ by constants, use the two axes within the slices. The curvature across the
        slices is then missing, so that the conductivity is too low.
    uncertainty : bool
        Whether to compute the standard deviation if `phase_noise` is passed.
    noise_maps : bool
        Whether to compute noise maps in addition to the standard deviation.
    n_threads : int, optional
        Maximum number of threads; default: the number of processors.

    Returns
    -------
    Reconstruction
        The map in S/m, and the parameters of its reconstruction.

    Raises
    ------
    ValueError
        If an argument is missing, has the wrong shape or cannot be used. The message names the
        argument.

    Notes
    -----
    With the magnitude b of B1+, the phase obeys ``div((b^2 / kappa) grad(phi0)) = b^2`` [1]_, where
    kappa is proportional to the conductivity. The ``inversion`` methods solve this equation for
    kappa. The ``integral`` methods compute the flux of ``b^2 grad(phi0)`` through the surface of
    the kernel and divide it by the integral of b^2 over the kernel. The ``laplacian`` methods add
    ``grad(ln b^2) . grad(phi0)`` to the Laplacian. They compute grad(phi0) with the same fit or
    with central differences, and grad(ln b^2) from differences between neighbouring voxels of the
    map. A constant map has no effect.

    A linear phase ``a . x``, for example from an echo that is not in the centre of its acquisition
    window, has zero Laplacian. However, where b is not constant, it adds ``grad(ln b^2) . a`` to
    kappa, and an inversion mistakes it for differences between tissues. The ``inversion`` methods
    estimate the linear phase and remove it; see :func:`estimate_linear_phase`. For the other
    methods, remove the linear phase before you use a `b1_map`.

    References
    ----------
    .. [1] Gurler N, Ider YZ. Gradient-based electrical conductivity imaging using MR phase. Magn
       Reson Med 2017. doi:10.1002/mrm.26338

    Examples
    --------
    A parabola has the same Laplacian everywhere. The Laplacian of this parabola corresponds to 0.5
    S/m at 3 T:

    >>> import numpy as np
    >>> from bids_qcm.physics import conductivity_factor
    >>> x = np.mgrid[-8:9, -8:9, -8:9] * 1e-3
    >>> phase = 0.5 / conductivity_factor(127.74e6) * (x**2).sum(axis=0) / 6
    >>> r = reconstruct(phase, method="laplacian", voxel_size=1, frequency=127.74e6, fit_radius=3)
    >>> print(f"{np.nanmedian(r.conductivity):.4f} S/m, {r.invalid_fraction:.0%} invalid")
    0.5000 S/m, 0% invalid
    """
    chosen = _known_method(method)
    size = as_triple(voxel_size, "voxel size")
    if sign not in ("+", "-", "auto"):
        raise ValueError(f"sign is {sign!r}, but it must be '+', '-' or 'auto'")
    factor = conductivity_factor(frequency, phase_type)
    phi0, inside, support, zscore = _checked_volumes(phase, mask, magnitude, labels, chosen)
    if not target_std > 0:
        raise ValueError(f"target standard deviation is {target_std!r}, but it must be positive")
    choose = partial(
        choose_kernels, chosen, size, phi0.shape, fit_radius, integral_radius, axes=axes
    )
    # check the largest automatic kernels, because the published radii may be too small for the grid
    kernels = choose(scale=LARGEST_SCALE)
    if sign == "auto":
        sign = determine_sign(
            np.asarray(phase), inside, size, axes=kernels.axes, n_threads=n_threads
        ).sign
    if sign == "-":
        phi0 = -phi0
    (box,) = find_objects((support != 0).view(np.uint8))
    noise = None
    if phase_noise is not None:
        sd = _checked_noise(phase_noise, phi0, support)[box]
        noise = Noise(sd, _zscore_noise(magnitude_noise, magnitude, zscore))
    squared = None if b1_map is None else _checked_b1(b1_map, phi0, support)
    volumes = Volumes(
        phase=phi0[box],
        support=np.ascontiguousarray(support[box]),
        voxel_size=size,
        zscore=None if zscore is None else np.ascontiguousarray(zscore[box]),
        noise=noise,
        b1_squared=None if squared is None else squared[box],
        model_error=model_error(frequency, phase_type),
    )
    predicted = None
    with thread_limit(n_threads):
        if is_automatic(chosen, fit_radius, integral_radius):
            if noise is None:
                raise ValueError("automatic radii need the argument phase_noise")
            kernels, predicted = choose_for_noise(volumes, chosen, choose, target_std / factor)
        found = form_of(chosen).compute(
            volumes, chosen, kernels, uncertainty=uncertainty, noise_maps=noise_maps
        )
    conductivity = _in_volume(factor * found.values, box, inside)
    std = None if found.std is None else _in_volume(factor * found.std, box, inside)
    maps = None
    if found.noise is not None:
        maps = np.full((len(found.noise), np.count_nonzero(inside)), np.nan, dtype=np.float32)
        maps[:, support[inside] != 0] = found.noise
        maps *= np.float32(factor)
        maps[:, np.isnan(conductivity[inside])] = np.nan
    return Reconstruction(
        conductivity=conductivity,
        conductivity_std=std,
        method=chosen,
        fit_radius=kernels.fit_radius,
        integral_radius=kernels.integral_radius,
        axes=kernels.axes,
        predicted_std=None if predicted is None else factor * predicted,
        phase_type=phase_type,
        sign=sign,
        frequency=float(frequency),
        invalid_fraction=float(np.isnan(conductivity[inside]).mean()),
        goodness=found.goodness,
        linear_phase=found.linear_phase,
        noise_maps=maps,
    )


def zscored(magnitude: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scale a magnitude to mean 0 and standard deviation 1 over a mask.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Magnitude in any unit, finite in the mask.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels over which the mean and the standard deviation are computed.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        z-scored magnitude; 0 outside the mask.

    Raises
    ------
    ValueError
        If the magnitude is constant over the mask and therefore contains no edges.
    """
    values = magnitude[mask].astype(np.float64)
    spread = values.std()
    if not spread > 0:
        raise ValueError(
            "the magnitude is constant over the mask and shows no edges; "
            "use a method without magnitude weights"
        )
    zscore = np.zeros(magnitude.shape, dtype=np.float32)
    zscore[mask] = (values - values.mean()) / spread
    return zscore


def _in_volume(
    values: NDArray[np.float32], box: tuple[slice, ...], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Insert the values of a box into the full volume.

    The result is NaN in the rest of the mask and 0 outside the mask.
    """
    volume = np.where(inside, np.float32(np.nan), np.float32(0))
    np.copyto(volume[box], values, where=inside[box], casting="same_kind")
    return volume


def _checked_noise(
    noise: ArrayLike, phase: NDArray[Any], support: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the phase noise as a volume; 0 outside the support."""
    sd = as_volume(
        np.broadcast_to(noise, phase.shape) if np.ndim(noise) == 0 else noise, phase, "phase noise"
    )
    used = support != 0
    if not (np.isfinite(sd[used]).all() and (sd[used] >= 0).all()):
        raise ValueError("phase noise must be finite and not negative in the mask, in rad")
    return np.where(used, sd, 0).astype(np.float32)


def _checked_b1(
    b1_map: ArrayLike, phase: NDArray[Any], support: NDArray[np.int32]
) -> NDArray[np.float64] | None:
    """Return the squared magnitude of B1+, scaled to a median of 1 over the support.

    The result is 1 outside the support. For a constant map, the result is None, because the
    equation is the same as without a map.
    """
    b1 = as_volume(b1_map, phase, "b1_map").astype(np.float64)
    used = b1[support != 0]
    if not (np.isfinite(used).all() and (used > 0).all()):
        raise ValueError("b1_map must be finite and positive in the mask")
    if used.min() == used.max():
        return None
    return np.where(support != 0, b1 / np.median(used), 1) ** 2


def _zscore_noise(
    noise: float, magnitude: ArrayLike | None, zscore: NDArray[np.float32] | None
) -> float:
    """Scale the magnitude noise like the magnitude. Return 0 if the magnitude is not used."""
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"magnitude noise is {noise!r}, but it must be finite and not negative")
    if zscore is None:
        return 0.0
    # zscore is 0 outside the mask over which the magnitude was standardised
    return float(noise / np.asarray(magnitude)[zscore != 0].astype(np.float64).std())


def _known_method(name: str) -> Method:
    if name not in METHODS:
        raise ValueError(f"method is {name!r}, but it must be one of {', '.join(METHODS)}")
    return METHODS[name]


def _checked_volumes(
    phase: ArrayLike,
    mask: ArrayLike | None,
    magnitude: ArrayLike | None,
    labels: ArrayLike | None,
    method: Method,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int32], NDArray[np.float32] | None]:
    """Return phi0 (finite everywhere), the mask, the support and the z-scored magnitude."""
    phi0 = np.asarray(phase)
    if phi0.ndim != 3 or not np.issubdtype(phi0.dtype, np.floating):
        raise ValueError(
            f"phase is {phi0.dtype} of shape {phi0.shape}, but it must be 3-D float, in rad"
        )
    finite = np.isfinite(phi0)
    inside = finite if mask is None else _boolean(as_volume(mask, phi0, "mask"))
    usable = inside & finite
    zscore = None
    if method.uses_magnitude:
        edges = _required(magnitude, phi0, "magnitude", method).astype(np.float64)
        usable &= np.isfinite(edges)
        _require_some(usable)
        zscore = zscored(edges, usable)
    _require_some(usable)
    support = usable.astype(np.int32)
    if method.uses_labels:
        support *= _integers(_required(labels, phi0, "labels", method))
        if not support.any():
            raise ValueError("labels are 0 in the whole mask")
    # subtract the median in float64, because a large offset would reduce the precision of float32
    centred = phi0.astype(np.float64) - float(np.median(phi0[usable]))
    return np.where(usable, centred, 0), inside, support, zscore


def _boolean(mask: NDArray[Any]) -> NDArray[np.bool_]:
    if np.isnan(mask).any():
        raise ValueError("the mask contains NaN")
    return mask.astype(bool)


def _require_some(usable: NDArray[np.bool_]) -> None:
    if not usable.any():
        raise ValueError("no voxel of the mask has finite phase (and magnitude, where used)")


def _required(
    volume: ArrayLike | None, phase: NDArray[Any], name: str, method: Method
) -> NDArray[Any]:
    if volume is None:
        raise ValueError(f"method {method.name} needs {name}")
    return as_volume(volume, phase, name)


def _integers(labels: NDArray[Any]) -> NDArray[np.int32]:
    limits = np.iinfo(np.int32)
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int32)
    in_range = np.all((labels >= limits.min) & (labels <= limits.max))
    if not in_range or not np.array_equal(whole, labels):
        raise ValueError("labels must be whole numbers that fit in 32 bits")
    return whole
