"""Figures of a group's maps in template spaces."""

from collections.abc import Sequence
from pathlib import Path

from bids_qcm.bids.group_maps import GroupMap
from bids_qcm.bids.images import read_grid, read_values, to_canonical
from bids_qcm.bids.names import stem
from bids_qcm.bids.outputs import FIGURES
from bids_qcm.grids import Volume
from bids_qcm.reports.figures import draw_map
from bids_qcm.reports.pages import link
from bids_qcm.reports.saving import save_png


def draw_group_maps(output_dir: Path, maps: Sequence[GroupMap]) -> list[dict[str, str]]:
    """Draw the mean and the standard deviation of each group of maps.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    maps : sequence of GroupMap
        Maps that were written.

    Returns
    -------
    list of dict
        ``title``, ``caption``, and the links ``figure``, ``mean``, ``sd``, ``n`` and ``cv`` of each
        group of maps.
    """
    drawn = []
    for one in maps:
        folder = one.files["Mean"].parents[1] / FIGURES
        folder.mkdir(exist_ok=True)
        path = folder / f"{stem(one.files['Mean']).removesuffix('_condmap')}_figure.png"
        grid = read_grid(one.files["Mean"])
        mean, sd = (
            to_canonical(Volume(read_values(one.files[name]), grid)) for name in ("Mean", "Sd")
        )
        titles = ("mean", "standard deviation between participants")
        figure = draw_map(mean.values, sd.values, mean.values != 0, mean.grid.affine, titles=titles)
        save_png(figure, path)
        links = {name.lower(): file for name, file in one.files.items()} | {"figure": path}
        drawn.append(
            {
                "title": ", ".join(filter(None, [one.template, one.method, one.kind])),
                "caption": f"{one.n_maps} maps of {one.n_participants} participants",
                **{
                    name: link(file.relative_to(output_dir).as_posix())
                    for name, file in links.items()
                },
            }
        )
    return drawn
