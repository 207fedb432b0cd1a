"""Find the conductivity maps in a derivative dataset from this app or from other software."""

from dataclasses import dataclass
from pathlib import Path

from bids_qcm.bids.anatomy.datasets import is_ours
from bids_qcm.bids.errors import NoInputError
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import IMAGE_EXTENSIONS, join_name, parse_name
from bids_qcm.recon import METHODS

TRUTH_DESC = "truth"
"""``desc`` label of a phantom's true conductivity, which no method computed."""


@dataclass(frozen=True)
class ConductivityMap:
    """A conductivity map file.

    Attributes
    ----------
    path : Path
    source : str
        Name of the acquisition that the map was computed from: all entities except ``desc``.
    method : str
        Name of the method whose label is the ``desc`` entity. If no method has this label, `method`
        is the label itself; without a ``desc`` entity, it is ``unnamed``.
    """

    path: Path
    source: str
    method: str

    @property
    def session(self) -> str | None:
        """Label of the session; None without a session."""
        return parse_name(self.path.name)[0].get("ses")


def find_maps(
    derivatives: Path, participant: str, *, from_tables: bool = False
) -> list[ConductivityMap]:
    """Return the conductivity maps of a participant.

    Parameters
    ----------
    derivatives : Path
        Folder of a derivative dataset.
    participant : str
        Label with ``sub-``, such as ``sub-01``.
    from_tables : bool
        Whether a map with a statistics table counts even if its image is missing.

    Returns
    -------
    list of ConductivityMap
        Maps sorted by source, and then in the order of the method table. The true conductivity of a
        phantom, and maps of this app in other spaces, are left out.

    Raises
    ------
    NoInputError
        If the participant has no conductivity map.
    """
    names = {method.desc: name for name, method in METHODS.items()}
    paths = {
        path
        for extension in IMAGE_EXTENSIONS
        for path in visible(derivatives, f"{participant}/**/*_condmap{extension}")
    }
    if from_tables:
        paths |= {
            path.with_name(path.name.replace("_condstats.tsv", "_condmap.nii.gz"))
            for path in visible(derivatives, f"{participant}/**/*_condstats.tsv")
        }
    ours = is_ours(derivatives)
    maps = []
    for path in paths:
        entities, _ = parse_name(path.name)
        if ours and "space" in entities:
            continue
        desc = entities.pop("desc", "unnamed")
        if desc != TRUTH_DESC:
            maps.append(ConductivityMap(path, join_name(entities), names.get(desc, desc)))
    if not maps:
        raise NoInputError(
            derivatives / participant,
            "has no conductivity map (*_condmap.nii.gz)",
            "compute the maps with bids-qcm, or name the derivative dataset that contains them",
        )
    order = list(METHODS)
    return sorted(
        maps,
        key=lambda one: (
            one.source,
            order.index(one.method) if one.method in order else len(order),
            one.path,
        ),
    )
