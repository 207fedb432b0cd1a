"""Model of the magnitude of B1+ in a homogeneous body, for data without a measured map."""

import math
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.sparse.linalg import LinearOperator, gmres
from skimage.measure import block_reduce

from bids_qcm.dispersions import GRAY_MATTER, WHITE_MATTER
from bids_qcm.physics import (
    PROTON_GYROMAGNETIC_RATIO,
    VACUUM_PERMEABILITY,
    VACUUM_PERMITTIVITY,
    complex_permittivity,
)
from bids_qcm.recon.convection_reaction import inner_voxels
from bids_qcm.recon.kernels import Triple, as_triple
from bids_qcm.recon.multigrid import Multigrid
from bids_qcm.recon.neighbours import graph_laplacian

LEAST_FIELD = 1.4
"""Minimum field strength in T at which the model is used, slightly below 1.5 T."""

_GRID_MM = 3.0
_TOLERANCE = 1e-5
_RESTART, _CYCLES = 40, 10


def model_helps(frequency: float, *, is_head: bool) -> bool:
    """Whether the modelled magnitude of B1+ improves the conductivity map.

    Parameters
    ----------
    frequency : float
        Larmor frequency in Hz.
    is_head : bool
        Whether the image shows a head.

    Returns
    -------
    bool
        True for a head at 1.4 T or more. In the full-wave phantom at 1.5 T and 3 T, most of the
        improvement that is possible with the true magnitude of B1+ is achieved with the model. At
        lower fields, the magnitude of B1+ varies by only a few percent. The model assumes the
        average properties of a head, so its effect on maps of other objects is unknown.
    """
    return is_head and frequency >= LEAST_FIELD * PROTON_GYROMAGNETIC_RATIO


class Properties(NamedTuple):
    """Electric properties of a homogeneous body.

    Attributes
    ----------
    conductivity : float
        Conductivity in S/m.
    permittivity : float
        Relative permittivity.
    """

    conductivity: float
    permittivity: float


_HEAD_AT_3_T = Properties(0.5, 60.0)
_FREQUENCY_AT_3_T = 127.74e6


def average_head(frequency: float) -> Properties:
    """Return the average electric properties of a head.

    Parameters
    ----------
    frequency : float
        Larmor frequency in Hz.

    Returns
    -------
    Properties
        0.5 S/m and 60 at 3 T. At other frequencies, both values are scaled in proportion to their
        mean over gray and white matter.

    Examples
    --------
    >>> [round(value, 2) for value in average_head(298.03e6)]
    [0.59, 49.43]
    """
    tissue, tissue_at_3_t = _tissue(frequency), _tissue(_FREQUENCY_AT_3_T)
    return Properties(
        *(
            head * value / value_at_3_t
            for head, value, value_at_3_t in zip(_HEAD_AT_3_T, tissue, tissue_at_3_t, strict=True)
        )
    )


def _tissue(frequency: float) -> Properties:
    """Return the mean properties of gray and white matter."""
    tissues = (GRAY_MATTER, WHITE_MATTER)
    return Properties(
        fmean(tissue.conductivity(frequency) for tissue in tissues),
        fmean(tissue.relative_permittivity(frequency) for tissue in tissues),
    )


def model_b1(
    outline: ArrayLike,
    voxel_size: float | Triple,
    frequency: float,
    *,
    conductivity: float | None = None,
    permittivity: float | None = None,
) -> NDArray[np.float32]:
    """Compute the magnitude of B1+ in a homogeneous body with a given outline.

    Parameters
    ----------
    outline : array_like of bool, shape (X, Y, Z)
        Mask of the whole body. For a head, the mask must include the skull and the scalp.
    voxel_size : float or sequence of 3 floats
        Voxel size in mm.
    frequency : float
        Larmor frequency in Hz.
    conductivity : float, optional
        Conductivity of the body in S/m; default: the conductivity from ``average_head(frequency)``.
    permittivity : float, optional
        Relative permittivity of the body; default: the permittivity from
        ``average_head(frequency)``.

    Returns
    -------
    ndarray of float32, shape (X, Y, Z)
        Magnitude relative to the magnitude on the surface of the body; 1 outside the body.

    Raises
    ------
    ValueError
        If the body is nowhere at least three voxels thick, with voxels of about 3 mm. RuntimeError
        If the solver does not converge.

    Notes
    -----
    The function solves the scalar Helmholtz equation ``laplacian(B) + k^2 B = 0`` with ``k^2 =
    omega^2 mu0 eps - i omega mu0 sigma`` inside the body and B = 1 on its surface, on a grid of
    about 3 mm. In a homogeneous body, each component of the magnetic field obeys this equation
    [1]_. The true boundary values depend on the coil. The model is approximate because it assumes
    constant boundary values.

    References
    ----------
    .. [1] Katscher U, van den Berg CAT. Electric properties tomography: biochemical, physical and
       technical background, evaluation and clinical applications. NMR Biomed 2017.
       doi:10.1002/nbm.3729
    """
    inside = np.asarray(outline, dtype=bool)
    size = as_triple(voxel_size, "voxel size")
    cell = tuple(max(1, round(_GRID_MM / s)) for s in size)
    head = average_head(frequency)
    coarse = block_reduce(inside, cell, np.mean) >= 0.5
    field = _solve(
        coarse,
        as_triple([s * n for s, n in zip(size, cell, strict=True)], "voxel size"),
        _squared_wave_number(
            frequency,
            head.conductivity if conductivity is None else conductivity,
            head.permittivity if permittivity is None else permittivity,
        ),
    )
    # positions of the voxel centres in voxel coordinates of the coarse grid
    where = [(np.arange(n) + 0.5) / c - 0.5 for n, c in zip(inside.shape, cell, strict=True)]
    fine = ndimage.map_coordinates(
        np.abs(field), np.meshgrid(*where, indexing="ij"), order=1, mode="nearest"
    )
    return np.where(inside, fine, 1).astype(np.float32)


def _squared_wave_number(frequency: float, conductivity: float, permittivity: float) -> complex:
    """Return k^2 in rad^2/m^2 for fields with the time dependence exp(+i omega t)."""
    relative = complex_permittivity(permittivity, conductivity, frequency)
    omega = 2 * math.pi * frequency
    return omega**2 * VACUUM_PERMEABILITY * (VACUUM_PERMITTIVITY * relative)


def _solve(
    body: NDArray[np.bool_], voxel_size: Triple, squared_wave_number: complex
) -> NDArray[np.complex128]:
    """Solve the Helmholtz equation; B is 1 outside the body and in its outermost voxels."""
    inner = inner_voxels(body)
    if not inner.any():
        raise ValueError(
            f"the outline must be at least three voxels thick, with voxels of {max(voxel_size):g} "
            "mm"
        )
    squares = [np.full(body.shape, (size * 1e-3) ** -2) for size in voxel_size]
    multigrid = Multigrid(squares, inner)

    def volume(vector: NDArray[np.complex128]) -> NDArray[np.complex128]:
        values = np.zeros(body.shape, dtype=np.complex128)
        values[inner] = vector
        return values

    def helmholtz(vector: NDArray[np.complex128]) -> NDArray[np.complex128]:
        values = volume(vector)
        negative = graph_laplacian(squares, values.real) + 1j * graph_laplacian(
            squares, values.imag
        )
        return negative[inner] - squared_wave_number * vector

    def precondition(vector: NDArray[np.complex128]) -> NDArray[np.complex128]:
        values = volume(vector)
        return (multigrid.cycle(values.real) + 1j * multigrid.cycle(values.imag))[inner]

    shape = (np.count_nonzero(inner),) * 2
    # typed as Any, because the stubs of gmres require a real preconditioner even if A is complex
    preconditioner: LinearOperator[Any] = LinearOperator(shape, precondition, dtype=np.complex128)
    change, failure = gmres(
        LinearOperator(shape, helmholtz, dtype=np.complex128),
        np.full(shape[0], squared_wave_number, dtype=np.complex128),
        rtol=_TOLERANCE,
        restart=_RESTART,
        maxiter=_CYCLES,
        M=preconditioner,
    )
    if failure:
        raise RuntimeError("the solver for the field of the homogeneous body did not converge")
    return 1 + volume(change)
