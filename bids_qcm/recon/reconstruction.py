"""From phi0 to conductivity, by any of the ten methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import find_objects

from bids_qcm.physics import PhaseType, conductivity_factor
from bids_qcm.recon.compiling import thread_limit
from bids_qcm.recon.kernels import Kernels, Triple, as_triple, check_radius
from bids_qcm.recon.laplacian import compute_laplacian
from bids_qcm.recon.methods import METHODS, Method
from bids_qcm.recon.normal_equations import check_enough_voxels
from bids_qcm.recon.replicates import Noise
from bids_qcm.recon.sign import Sign, determine_sign

Radius = float | Sequence[float]

# A second derivative takes three.
_FEWEST_VOXELS = 3


@dataclass(frozen=True)
class Reconstruction:
    """A conductivity map and what it was computed with.

    Attributes
    ----------
    conductivity : ndarray of float32, shape (X, Y, Z)
        In S/m; NaN where invalid, 0 outside the mask.
    conductivity_std : ndarray of float32, shape (X, Y, Z), or None
        Standard deviation of the conductivity in S/m, if the noise of the phase was given; NaN
        and 0 likewise.
    method : Method
        The method.
    fit_radius, integral_radius : tuple of 3 floats, or None
        In mm; None where the method has no such kernel.
    phase_type : {"transceive", "transmit"}
        What the phase was taken to be.
    sign : {"+", "-"}
        The sign applied to the phase.
    frequency : float
        In Hz.
    invalid_fraction : float
        Share of the mask's voxels that are NaN, 0 to 1.
    """

    conductivity: NDArray[np.float32]
    conductivity_std: NDArray[np.float32] | None
    method: Method
    fit_radius: Triple | None
    integral_radius: Triple | None
    phase_type: PhaseType
    sign: Sign
    frequency: float
    invalid_fraction: float


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
    fit_radius: Radius | None = None,
    integral_radius: Radius | None = None,
    phase_noise: ArrayLike | None = None,
    magnitude_noise: float = 0.0,
    n_threads: int | None = None,
) -> Reconstruction:
    """Compute conductivity from the phase at echo time zero.

    Parameters
    ----------
    phase : array_like of float, shape (X, Y, Z)
        phi0 in rad, unwrapped. Voxels that are not finite are left out of every support.
    method : str
        A name in :data:`METHODS`.
    voxel_size : float or sequence of 3 floats
        In mm.
    frequency : float
        Larmor frequency in Hz.
    mask : array_like of bool, shape (X, Y, Z), optional
        Voxels to use and to map. Default: all voxels with finite phase.
    magnitude : array_like of float, shape (X, Y, Z)
        Required by the ``-mag`` and ``-magseg`` methods; ignored by the others.
    labels : array_like of int, shape (X, Y, Z)
        Tissue labels, required by the ``-seg`` and ``-magseg`` methods; ignored by the others.
        Label 0 is no tissue.
    phase_type : {"transceive", "transmit"}
        A scanner's image phase is the transceive phase.
    sign : {"+", "-", "auto"}
        Factor on the phase; ``auto`` makes the median Laplacian positive.
    fit_radius, integral_radius : float or sequence of 3 floats, optional
        Semi-axes of the kernels in mm; default: the method's published optimum. 0 on one axis
        asks for an in-plane kernel; that is all that a finite-difference method takes from its
        fit radius.
    phase_noise : array_like of float, shape (X, Y, Z), or float, optional
        Standard deviation of the phase's noise in rad, independent between voxels. With it the
        conductivity's is computed: for the Laplacian forms by propagation, for the integral forms
        from noise replicates.
    magnitude_noise : float
        Standard deviation of the magnitude's noise, in its unit, which moves the weights of the
        ``-mag`` and ``-magseg`` methods. :func:`bids_qcm.phase.compute_phi0` estimates both.
    n_threads : int, optional
        Limit of threads; default: numba's.

    Returns
    -------
    Reconstruction
        The map in S/m, and what it was computed with.

    Raises
    ------
    ValueError
        If an argument is missing, has the wrong shape or cannot be used; the message says which.

    Examples
    --------
    A parabola has the same Laplacian everywhere, here that of 0.5 S/m at 3 T:

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
    kernels = choose_kernels(chosen, size, phi0.shape, fit_radius, integral_radius)
    if sign == "auto":
        sign = determine_sign(
            np.asarray(phase), inside, size, axes=kernels.axes, n_threads=n_threads
        ).sign
    if sign == "-":
        factor = -factor
    (box,) = find_objects((support != 0).view(np.uint8))
    noise = None
    if phase_noise is not None:
        sd = _checked_noise(phase_noise, phi0, support)[box]
        noise = Noise(sd, _zscore_noise(magnitude_noise, magnitude, zscore))
    with thread_limit(n_threads):
        laplacian, std = compute_laplacian(
            phi0[box],
            np.ascontiguousarray(support[box]),
            chosen,
            size,
            kernels,
            None if zscore is None else np.ascontiguousarray(zscore[box]),
            noise,
        )
    conductivity = _in_volume(factor * laplacian, box, inside)
    return Reconstruction(
        conductivity=conductivity,
        conductivity_std=None if std is None else _in_volume(abs(factor) * std, box, inside),
        method=chosen,
        fit_radius=kernels.fit_radius,
        integral_radius=kernels.integral_radius,
        phase_type=phase_type,
        sign=sign,
        frequency=float(frequency),
        invalid_fraction=float(np.isnan(conductivity[inside]).mean()),
    )


def choose_kernels(
    method: Method,
    voxel_size: Triple,
    shape: tuple[int, int, int],
    fit_radius: Radius | None = None,
    integral_radius: Radius | None = None,
) -> Kernels:
    """Settle a method's kernels, and refuse those that the voxel grid cannot hold.

    Parameters
    ----------
    method : Method
        A row of the method table, whose published optimum is the default.
    voxel_size : tuple of 3 floats
        In mm.
    shape : tuple of 3 ints
        Of the volume, in voxels.
    fit_radius, integral_radius : float or sequence of 3 floats, optional
        Semi-axes in mm. 0 on an axis of either makes both kernels in-plane.

    Returns
    -------
    Kernels

    Raises
    ------
    ValueError
        If a radius or voxel size is not a positive number of mm, a radius reaches less than one
        voxel along an axis or holds fewer voxels than a quadratic has terms, or the volume has too
        few voxels along an axis to find a curvature.
    """
    if min(voxel_size) <= 0:
        raise ValueError(f"voxel size is {voxel_size} mm, but it must be positive on every axis")
    given = {"fit radius": fit_radius, "integral radius": integral_radius}
    published = {"fit radius": method.fit_radius, "integral radius": method.integral_radius}
    triples = {
        name: as_triple(published[name] if value is None else value, name)
        for name, value in given.items()
        if value is not None or published[name] is not None
    }
    axes = curved_axes(*triples.values())
    for axis in axes:
        if shape[axis] < _FEWEST_VOXELS:
            raise ValueError(
                f"{method.name}: the volume has {shape[axis]} voxel(s) along {'xyz'[axis]}, and a "
                f"kernel needs {_FEWEST_VOXELS}; give a fit radius of 0 on that axis"
            )
    for name, triple in triples.items():
        triples[name] = tuple(triple[a] if a in axes else 0.0 for a in range(3))
        if published[name] is not None:
            check_radius(triples[name], voxel_size, f"{method.name}: {name}")
    if method.fit_radius is not None:
        check_enough_voxels(triples["fit radius"], voxel_size, f"{method.name}: fit radius")
    return Kernels(
        fit_radius=triples["fit radius"] if method.fit_radius is not None else None,
        integral_radius=triples["integral radius"] if method.integral_radius is not None else None,
        axes=axes,
    )


def curved_axes(*radii: Triple | None) -> tuple[int, ...]:
    """List the axes along which the phase is differentiated: those where no radius is 0.

    Examples
    --------
    >>> curved_axes((9, 9, 0), None)
    (0, 1)
    """
    return tuple(a for a in range(3) if all(r is None or r[a] > 0 for r in radii))


def zscored(magnitude: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scale a magnitude to mean 0 and standard deviation 1 over a mask.

    Parameters
    ----------
    magnitude : ndarray of float, shape (X, Y, Z)
        Any unit.
    mask : ndarray of bool, shape (X, Y, Z)
        Finite magnitude only.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        0 outside the mask.

    Raises
    ------
    ValueError
        If the magnitude is constant over the mask, so that it shows no edge.
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
    """Put a box of values back into the volume; NaN in the rest of the mask, 0 outside it."""
    volume = np.where(inside, np.float32(np.nan), np.float32(0))
    np.copyto(volume[box], values, where=inside[box], casting="same_kind")
    return volume


def _checked_noise(
    noise: ArrayLike, phase: NDArray, support: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Give the noise as a volume, 0 where it is not used."""
    sd = _like(
        np.broadcast_to(noise, phase.shape) if np.ndim(noise) == 0 else noise, phase, "phase noise"
    )
    used = support != 0
    if not (np.isfinite(sd[used]).all() and (sd[used] >= 0).all()):
        raise ValueError("phase noise must be finite and not negative, in rad, in the mask")
    return np.where(used, sd, 0).astype(np.float32)


def _zscore_noise(
    noise: float, magnitude: ArrayLike | None, zscore: NDArray[np.float32] | None
) -> float:
    """Scale the magnitude's noise as the magnitude is scaled; 0 where it is not used."""
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"magnitude noise is {noise!r}, but it must be finite and not negative")
    if zscore is None:
        return 0.0
    # 0 where it was not scaled
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
) -> tuple[NDArray[np.floating], NDArray[np.bool_], NDArray[np.int32], NDArray[np.float32] | None]:
    """Check the volumes and derive phi0 (finite), mask, support and z-scored magnitude."""
    phi0 = np.asarray(phase)
    if phi0.ndim != 3 or not np.issubdtype(phi0.dtype, np.floating):
        raise ValueError(
            f"phase is {phi0.dtype} of shape {phi0.shape}, but it must be 3-D float, in rad"
        )
    finite = np.isfinite(phi0)
    inside = finite if mask is None else _boolean(_like(mask, phi0, "mask"))
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
    # in float64: what follows is float32, whose digits a large offset would take up
    centred = phi0.astype(np.float64) - np.median(phi0[usable])
    return np.where(usable, centred, 0), inside, support, zscore


def _boolean(mask: NDArray) -> NDArray[np.bool_]:
    if np.isnan(mask).any():
        raise ValueError("mask has values that are NaN")
    return mask.astype(bool)


def _require_some(usable: NDArray[np.bool_]) -> None:
    if not usable.any():
        raise ValueError("no voxel of the mask has finite phase (and magnitude, where used)")


def _like(volume: ArrayLike, phase: NDArray, name: str) -> NDArray:
    array = np.asarray(volume)
    if array.shape != phase.shape:
        raise ValueError(f"{name} has shape {array.shape}, but the phase has {phase.shape}")
    return array


def _required(volume: ArrayLike | None, phase: NDArray, name: str, method: Method) -> NDArray:
    if volume is None:
        raise ValueError(f"method {method.name} needs {name}")
    return _like(volume, phase, name)


def _integers(labels: NDArray) -> NDArray[np.int32]:
    limits = np.iinfo(np.int32)
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int32)
    in_range = np.all((labels >= limits.min) & (labels <= limits.max))
    if not in_range or not np.array_equal(whole, labels):
        raise ValueError("labels must be whole numbers that fit in 32 bits")
    return whole
