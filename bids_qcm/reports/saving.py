"""Write small figure files atomically and reproducibly (equal figures, equal bytes)."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from bids_qcm.bids.images import atomic_write

_DOTS_PER_INCH = 200
_COLOURS = 256


def save_png(figure: Figure, path: Path, *, gray: bool = False) -> None:
    """Write a figure as a PNG with 256 colours, which is a third of the size of a full-colour PNG.

    Parameters
    ----------
    figure : Figure
    path : Path
    gray : bool
        Whether the figure is mostly gray with coloured lines; otherwise it has colour maps.
    """
    figure.set_dpi(_DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    # Each method suits one type of figure: median cut reduces colour bars to about a dozen steps if
    # a map has few colours, and maximum coverage gives gray a tint.
    method = Image.Quantize.MEDIANCUT if gray else Image.Quantize.MAXCOVERAGE
    reduced = image.convert("RGB").quantize(_COLOURS, method=method, dither=Image.Dither.NONE)
    with atomic_write(path) as temporary:
        reduced.save(temporary)


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG."""
    # The fixed salt and the missing date make the file reproducible: by default, matplotlib uses
    # random identifiers and writes the date.
    with rc_context({"svg.hashsalt": path.name}), atomic_write(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
