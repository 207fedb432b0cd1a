"""The conductivity maps of a derivative dataset, of this app or of another."""

from dataclasses import dataclass
from pathlib import Path

from bids_qcm.bids.errors import NoInputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import IMAGE_EXTENSIONS, join_name, parse_name
from bids_qcm.recon import METHODS

TRUTH_DESC = "truth"
"""Label of the ``desc`` entity of a phantom's true conductivity, which is no method's map."""

_METHODS = {method.desc: name for name, method in METHODS.items()}


@dataclass(frozen=True)
class ConductivityMap:
    """A file with a conductivity map.

    Attributes
    ----------
    path : Path
    source : str
        Name of what it was made from: all entities but ``desc``.
    method : str
        How it was made: the name of the method that the ``desc`` entity stands for, or else its
        label; ``unnamed`` without one.
    """

    path: Path
    source: str
    method: str


def find_maps(derivatives: Path, participant: str) -> list[ConductivityMap]:
    """Find the conductivity maps of a participant.

    Parameters
    ----------
    derivatives : Path
        A derivative dataset.
    participant : str
        Such as ``sub-01``.

    Returns
    -------
    list of ConductivityMap
        By source and, within one, in the order of the methods; the truth is not one of them.

    Raises
    ------
    NoInputError
        If there are none.
    """
    maps = []
    for extension in IMAGE_EXTENSIONS:
        for path in visible(derivatives, f"{participant}/**/*_condmap{extension}"):
            entities, _ = parse_name(path.name)
            desc = entities.pop("desc", "unnamed")
            if desc != TRUTH_DESC:
                maps.append(ConductivityMap(path, join_name(entities), _METHODS.get(desc, desc)))
    if not maps:
        raise NoInputError(
            derivatives / participant,
            "has no conductivity map (*_condmap.nii.gz)",
            "map its conductivity with bids-qcm, or give the derivative dataset that has the maps",
        )
    order = list(_METHODS.values())
    return sorted(
        maps,
        key=lambda one: (
            one.source,
            order.index(one.method) if one.method in order else len(order),
            one.path,
        ),
    )
