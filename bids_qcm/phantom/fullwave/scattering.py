"""Field of a body in an incident field, computed with a volume integral equation on a lattice."""

import logging
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import linalg
from threadpoolctl import threadpool_limits

from bids_qcm.phantom.fullwave.charges import Charges
from bids_qcm.phantom.fullwave.lattice import FreeSpace, cells_to_edges, curl_of_edges
from bids_qcm.physics import VACUUM_PERMEABILITY, VACUUM_PERMITTIVITY, vacuum_wavenumber

_LOGGER = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Maximum residual of the integral equation, relative to the incident field in the body."""

_MAX_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Field:
    """Total field of one excitation, as phasors with the time dependence `exp(+i omega t)`.

    Parameters
    ----------
    electric
        Electric field on edges in V/m, (3, X, Y, Z) complex128; 0 outside the body.
    magnetic
        Magnetic flux density on faces in T, (3, X, Y, Z) complex128; not valid in the last layer
        along any axis.
    current
        Polarisation and conduction current on edges in A/m^2, (3, X, Y, Z) complex128.
    iterations
        Number of iterations of the solver.
    """

    electric: NDArray[np.complex128]
    magnetic: NDArray[np.complex128]
    current: NDArray[np.complex128]
    iterations: int


class Body:
    """Body of cubic cells in free space at one frequency.

    Parameters
    ----------
    permittivity
        Complex relative permittivity of the cells, `eps_r - i sigma / (omega eps_0)`, (X, Y, Z);
        1 in the first and in the last layer along each axis.
    spacing
        Edge length of a cell in m.
    frequency
        Larmor frequency in Hz.
    workers
        Number of threads.

    Notes
    -----
    The polarisation and conduction current is `J = i omega eps_0 (eps_r - 1) E`, and the integral
    equation is `eps_r E - N (eps_r - 1) E = E_inc`, where N is the double curl of the vector
    potential, divided by mu0 [1]_. At low frequencies, N is the projector on divergence-free
    fields, and the eigenvalues of the operator range from 1 to the largest contrast. A right
    preconditioner reduces this range: the unknown is a field F, and `E = F - grad(V)`, where the
    potential V is chosen such that `div(eps_r E) = div(F)`. At low frequencies, `F = E_inc` then
    solves the equation. The equation for V is solved with multigrid.

    Fields, differences and the Green's function are defined on Yee's lattice [2]_. Therefore, the
    solution satisfies the discrete Maxwell equations with an exact open boundary, and no integral
    is singular. Inside a tissue, the magnetic field satisfies the discrete Helmholtz equation up to
    the residual of the solver.

    References
    ----------
    .. [1] Polimeridis AG, Villena JF, Daniel L, White JK. Stable FFT-JVIE solvers for fast analysis
       of highly inhomogeneous dielectric objects. J Comput Phys 2014.
       doi:10.1016/j.jcp.2014.03.026
    .. [2] Yee KS. Numerical solution of initial boundary value problems involving Maxwell's
       equations in isotropic media. IEEE Trans Antennas Propag 1966. doi:10.1109/TAP.1966.1138693
    """

    def __init__(
        self,
        permittivity: NDArray[np.complex128],
        spacing: float,
        frequency: float,
        workers: int = 1,
    ) -> None:
        self.spacing = spacing
        self.omega = 2 * math.pi * frequency
        self._free_space = FreeSpace(
            permittivity.shape, spacing, vacuum_wavenumber(frequency), workers
        )
        contrast = cells_to_edges(permittivity.astype(np.complex128) - 1)
        # Averaging leaves rounding errors on edges in free space, so set small values to zero.
        contrast[np.abs(contrast) < 1e-9] = 0
        self._contrast = contrast
        self._inside = contrast != 0
        self._charges = Charges(contrast)

    def scatter(self, potential: NDArray[np.complexfloating]) -> Field:
        """Solve for the total field.

        Parameters
        ----------
        potential
            Vector potential of the incident field on edges in T m, (3, X, Y, Z) complex. Its
            divergence must be 0, as for closed currents, so that the incident electric field is
            `-i omega` times the potential.

        Returns
        -------
        Field
            Sum of the incident and the scattered field.

        Raises
        ------
        RuntimeError
            If the solver does not converge.
        """
        incident = -1j * self.omega * potential
        # Use one BLAS thread, because synchronisation takes longer than vector products.
        with threadpool_limits(1, "blas"):
            electric, iterations = self._solve(incident[self._inside])
        admittivity = 1j * self.omega * VACUUM_PERMITTIVITY
        current = admittivity * self._contrast * electric
        total = potential + VACUUM_PERMEABILITY * self._free_space.vector_potential(current)
        return Field(electric, curl_of_edges(total, self.spacing), current, iterations)

    def _solve(self, incident: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], int]:
        """Return the electric field in the body and the number of iterations."""
        residuals: list[float] = []

        def log(residual: float) -> None:
            residuals.append(residual)
            _LOGGER.debug("iteration %d: residual %.2e", len(residuals), residual)

        solution, failure = linalg.gmres(
            linalg.LinearOperator((incident.size,) * 2, self._operator, dtype=np.complex128),
            incident,
            rtol=TOLERANCE,
            restart=_MAX_ITERATIONS,
            maxiter=1,
            callback=log,
            callback_type="pr_norm",
        )
        if failure:
            raise RuntimeError(
                f"the full-wave solver did not converge in {_MAX_ITERATIONS} iterations"
            )
        return np.where(self._inside, self._electric_field(solution), 0), len(residuals)

    def _electric_field(self, unknown: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return the electric field E for a vector of unknowns (the field F in the body)."""
        field = np.zeros(self._contrast.shape, np.complex128)
        field[self._inside] = unknown
        return self._charges.correct(field)

    def _operator(self, unknown: NDArray[np.complex128]) -> NDArray[np.complex128]:
        electric = self._electric_field(unknown)
        polarisation = self._contrast * electric
        electric += polarisation
        electric -= self._free_space.double_curl(polarisation)
        return electric[self._inside]
