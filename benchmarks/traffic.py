"""Bytes that the compiled loops of the inversions read from and write to memory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bids_qcm.recon import multigrid, pairs, tissue_prior

_MODULES = (multigrid, pairs, tissue_prior)
"""Modules that call :func:`bids_qcm.recon.pairs.in_planes`."""


@dataclass
class Traffic:
    """Number of loops and bytes.

    Attributes
    ----------
    loops : int
        Number of passes over a grid.
    volume : int
        Total bytes of the volumes that the passes read or write. Each pass counts a volume once.
        Small grids stay in the cache, so this number is an upper limit of the memory traffic.
    """

    loops: int = 0
    volume: int = 0


@contextmanager
def count_traffic() -> Iterator[Traffic]:
    """Count the loops and bytes of all inversions within a ``with`` block."""
    traffic, in_planes = Traffic(), pairs.in_planes

    def counted(loop: Callable, volume: NDArray, *arguments: Any) -> None:  # noqa: ANN401
        arrays = {id(array): array for array in _arrays((volume, *arguments))}
        traffic.loops += 1
        traffic.volume += sum(array.nbytes for array in arrays.values())
        in_planes(loop, volume, *arguments)

    with ExitStack() as stack:
        for module in _MODULES:
            stack.enter_context(mock.patch.object(module, "in_planes", counted))
        yield traffic


def _arrays(arguments: tuple[Any, ...]) -> Iterator[NDArray]:
    """Yield all arrays in the arguments, including arrays in tuples."""
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from _arrays(argument)
        elif isinstance(argument, np.ndarray):
            yield argument
