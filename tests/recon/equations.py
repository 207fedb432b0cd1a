"""Simple references for the inversions: explicit matrices and direct solutions."""

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import spsolve

from bids_qcm.recon.neighbours import neighbours


def pair_matrix(links):
    """Return the sparse matrix of ``sum_j c_ij (u_i - u_j)`` over all voxels."""
    shape = links[0].shape
    number = np.arange(np.prod(shape)).reshape(shape)
    rows, columns, values = [], [], []
    for axis, link in enumerate(links):
        here, there = neighbours(axis)
        i, j, c = number[here].ravel(), number[there].ravel(), link[here].ravel()
        rows += [i, j, i, j]
        columns += [i, j, j, i]
        values += [c, c, -c, -c]
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return csr_matrix(coo_matrix(entries, shape=(number.size,) * 2))


def solve_phase(equation, rim_phase):
    """Return the phase that obeys the equation and has the given values on the rim."""
    inner = equation.inner.ravel()
    matrix = pair_matrix(equation.links)
    phase = np.where(inner, 0, rim_phase.ravel()).astype(float)
    right = -equation.source.ravel() - matrix @ phase
    phase[inner] = spsolve(matrix[inner][:, inner].tocsc(), right[inner])
    return phase.reshape(rim_phase.shape)
