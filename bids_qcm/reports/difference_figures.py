"""Figures of the differences between repeated scans."""

from collections.abc import Sequence
from pathlib import Path

from bids_qcm.bids.images import read_grid, read_values, to_canonical
from bids_qcm.bids.names import stem
from bids_qcm.bids.outputs import FIGURES
from bids_qcm.bids.session_differences import Difference
from bids_qcm.grids import Volume
from bids_qcm.reports.figures import draw_z
from bids_qcm.reports.pages import link
from bids_qcm.reports.saving import save_png


def draw_differences(output_dir: Path, differences: Sequence[Difference]) -> list[dict[str, str]]:
    """Draw each difference, and return the content of the section on the group page.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    differences : sequence of Difference
        Differences that were written.

    Returns
    -------
    list of dict
        Texts and links for each difference.
    """
    folder = output_dir / FIGURES
    described = []
    for one in differences:
        z = to_canonical(Volume(read_values(one.path), read_grid(one.path)))
        folder.mkdir(exist_ok=True)
        figure = folder / f"{stem(one.path)}.png"
        save_png(draw_z(z.values, z.values != 0, z.grid.affine), figure)
        described.append(
            {
                "first": one.first.name,
                "second": one.second.name,
                "method": one.method,
                "n": str(one.summary.n),
                "exceeding": f"{one.summary.exceeding:.1%}",
                "movement": f"{one.movement:.2f}",
                "file": link(one.path.relative_to(output_dir).as_posix()),
                "figure": link(figure.relative_to(output_dir).as_posix()),
            }
        )
    return described
