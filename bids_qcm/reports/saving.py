"""How figures are written: small, whole or not at all, and the same bytes for the same figure."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from bids_qcm.bids.images import whole_file

_DOTS_PER_INCH = 150
_COLOURS = 256


def save_png(figure: Figure, path: Path, *, gray: bool = False) -> None:
    """Write a figure as PNG with a palette of 256 colours, a third of the size of a full one.

    Parameters
    ----------
    figure : Figure
    path : Path
    gray : bool
        Most of it is gray, with lines in colours; else it has colour maps.
    """
    figure.set_dpi(_DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    # median cut leaves colour bars with a dozen steps where a map has few colours, and coverage
    # gives grays a tint
    method = Image.Quantize.MEDIANCUT if gray else Image.Quantize.MAXCOVERAGE
    reduced = image.convert("RGB").quantize(_COLOURS, method=method, dither=Image.Dither.NONE)
    with whole_file(path) as temporary:
        reduced.save(temporary, optimize=True)


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG."""
    # else identifiers are random, and the date is in it
    with rc_context({"svg.hashsalt": path.name}), whole_file(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
