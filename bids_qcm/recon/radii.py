"""Choose the kernel radii of a method: published, user-defined or scaled."""

from collections.abc import Sequence
from typing import Literal

from bids_qcm.recon.kernels import Kernels, Triple, as_triple, check_radius
from bids_qcm.recon.methods import Method
from bids_qcm.recon.normal_equations import check_determined

Radius = float | Sequence[float]
RadiusChoice = Radius | Literal["auto"] | None

# A second derivative needs three voxels along an axis.
_FEWEST_VOXELS = 3

# An in-plane kernel differentiates along two axes.
_FEWEST_AXES = 2


def choose_kernels(
    method: Method,
    voxel_size: Triple,
    shape: tuple[int, int, int],
    fit_radius: RadiusChoice = None,
    integral_radius: RadiusChoice = None,
    scale: float = 1.0,
    axes: Sequence[int] = (0, 1, 2),
) -> Kernels:
    """Check that a method's kernels fit the voxel grid, and return them.

    Parameters
    ----------
    method : Method
        A row of the method table. The published optimum of the method is the default.
    voxel_size : tuple of 3 floats
        Voxel size in mm.
    shape : tuple of 3 ints
        Shape of the volume in voxels.
    fit_radius, integral_radius : float or sequence of 3 floats or "auto", optional
        Semi-axes in mm. If either radius is 0 along an axis, both kernels are in-plane.
    scale : float
        Ratio of automatic radii to the published optimum.
    axes : sequence of int
        Axes along which the phase is differentiated, two or three. The radii along another axis are
        set to 0.

    Returns
    -------
    Kernels

    Raises
    ------
    ValueError
        If a radius or the voxel size is not a valid number of mm, if a radius reaches less than one
        voxel along an axis, if a fit radius contains too few voxels for a unique quadratic fit, if
        the volume has too few voxels along an axis for a second derivative, or if fewer than two
        axes remain.
    """
    if min(voxel_size) <= 0:
        raise ValueError(f"voxel size is {voxel_size} mm, but it must be positive on every axis")
    published = {"fit radius": method.fit_radius, "integral radius": method.integral_radius}
    given = {"fit radius": fit_radius, "integral radius": integral_radius}
    triples = {}
    for name, value in given.items():
        own = published[name]
        if isinstance(value, str):
            if value != "auto":
                raise ValueError(f"{name} is {value!r}, but it must be in mm, or 'auto'")
            chosen: float | Sequence[float] | None = None if own is None else round(scale * own, 2)
        else:
            chosen = own if value is None else value
        if chosen is not None:
            triples[name] = as_triple(chosen, name)
    axes = tuple(axis for axis in curved_axes(*triples.values()) if axis in axes)
    if len(axes) < _FEWEST_AXES:
        raise ValueError(
            f"{method.name}: the phase is differentiated along fewer than {_FEWEST_AXES} axes; set "
            "a radius to 0 only along the axis across the slices"
        )
    for axis in axes:
        if shape[axis] < _FEWEST_VOXELS:
            raise ValueError(
                f"{method.name}: the volume has {shape[axis]} voxel(s) along {'xyz'[axis]}, but a "
                f"kernel needs {_FEWEST_VOXELS}; set the fit radius along this axis to 0"
            )
    for name, triple in triples.items():
        triples[name] = as_triple([triple[a] if a in axes else 0.0 for a in range(3)], name)
        if published[name] is not None:
            check_radius(triples[name], voxel_size, f"{method.name}: {name}")
    if method.fit_radius is not None:
        check_determined(triples["fit radius"], voxel_size, f"{method.name}: fit radius")
    return Kernels(
        fit_radius=triples["fit radius"] if method.fit_radius is not None else None,
        integral_radius=triples["integral radius"] if method.integral_radius is not None else None,
        axes=axes,
    )


def curved_axes(*radii: Triple | Literal["auto"] | None) -> tuple[int, ...]:
    """Return the axes along which the phase is differentiated: the axes where no radius is 0.

    Examples
    --------
    >>> curved_axes((9, 9, 0), None)
    (0, 1)
    """
    given = [r for r in radii if r is not None and not isinstance(r, str)]
    return tuple(a for a in range(3) if all(r[a] > 0 for r in given))


def is_automatic(
    method: Method, fit_radius: RadiusChoice = None, integral_radius: RadiusChoice = None
) -> bool:
    """Whether a kernel of the method has the radius ``auto``.

    Examples
    --------
    >>> from bids_qcm.recon.methods import METHODS
    >>> [is_automatic(METHODS[m], integral_radius="auto") for m in ("laplacian", "integral")]
    [False, True]
    """
    pairs = ((method.fit_radius, fit_radius), (method.integral_radius, integral_radius))
    return any(own is not None and isinstance(chosen, str) for own, chosen in pairs)
