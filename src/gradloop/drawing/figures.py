"""How every picture is made: one style, one palette, no window; files are written whole."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloop.drawing import BLACK, COLORS, ORANGE
from gradloop.drawing.labels import fitted, fonts, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 150  # an inch
CELL = 1.2  # inches that a picture of a grid is wide
PAGE, PAGE_DOTS = (8.0, 4.5), 240  # a slide of 1920 x 1080 dots, its letters readable at half the size

STYLE: Any = {  # matplotlib names its keys in a type of its own
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": f"cycler('color', {list(COLORS)})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.075,
    "figure.constrained_layout.w_pad": 0.075,
    "grid.alpha": 0.3,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called $5
}
# what comes after the default font for letters that it lacks, on Linux, Windows and macOS
SLANTED: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
UPRIGHT: Any = {"rotation": 90}


@contextmanager
def style() -> Iterator[None]:
    """Draw in gradloop's style inside; `@style()` makes a function do so."""
    import matplotlib

    # a font without a bold face is drawn as it is
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(STYLE | {"font.family": fonts()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s)Glyph .* missing from font")
        yield


def new_figure(width: float, height: float, *, layout: Any = "constrained") -> Figure:
    """Return an empty figure of width x height inches. layout: Matplotlib's engine; None for margins set by hand."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def draw_page(draw: Callable[..., None], *arguments: Any, width: float = PAGE[0], height: float = PAGE[1]) -> bytes:
    """Return a PNG: call `draw(figure, *arguments)` on an empty page of so many inches."""
    with style():
        figure = new_figure(width, height)
        draw(figure, *arguments)
        return as_png(figure, PAGE_DOTS)


def as_png(figure: Any, dots: int = DOTS) -> bytes:
    """Return a figure as the content of a file, its titles no wider than itself and its numbers plain."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                _plain_numbers(axis)
    for part in (figure, *figure.subfigs):
        for title in part.texts:
            if (share := title.get_window_extent().width / (0.97 * part.bbox.width)) > 1:
                title.set_fontsize(float(title.get_fontsize()) / share)
    png = io.BytesIO()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        figure.savefig(png, format="png", dpi=dots)
    lacking = {str(one.message).split("(")[0].strip() for one in told if "missing from font" in str(one.message)}
    if lacking:
        _say_once(
            f"pictures show boxes for {len(lacking)} letters that no font here has; for Korean install NanumGothic "
            "or Noto Sans CJK (Debian: fonts-nanum)"
        )
    return png.getvalue()


@cache
def _say_once(line: str) -> None:
    logging.getLogger("gradloop").warning(line)
    print(line, file=sys.stderr)


def _plain_numbers(axis: Any) -> None:
    """Write 0.001 where Matplotlib's logarithmic axes write a power of ten."""
    from matplotlib.ticker import LogFormatter, LogFormatterSciNotation

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: Any = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    if isinstance(axis.get_major_formatter(), LogFormatterSciNotation):
        axis.set_major_formatter(Plain())
    if isinstance(axis.get_minor_formatter(), LogFormatterSciNotation):
        axis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(1, 0.4)))


def show_picture(
    axes: Any, picture: Any, *, low: float = 0.0, high: float = 1.0, title: str = "", color: str = BLACK
) -> None:
    """Draw [C, H, W] with values from low (black) to high, a title above it; of two channels the first."""
    scaled = ((np.asarray(picture, dtype=float) - low) / (high - low or 1.0)).clip(0, 1)
    axes.imshow(scaled[0] if len(scaled) < 3 else scaled[:3].transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=9, color=color)
    bare(axes)


def picture_grid(
    axes: Any, pictures: Any, *, columns: int, labels: Sequence[str] = (), rows: Sequence[str] = (),
    squares: Sequence[Sequence[tuple[int, int, int]]] = (),
) -> None:  # fmt: skip
    """Draw [N, C, H, W] with values from 0 to 1 as one image: many axes would take seconds.

    labels: below each, of two lines at most, cut to `CELL`. rows: the names of the rows. squares: what to
    outline in each picture, as (first row, first column, side); what lies outside of it is cut off.
    """
    from matplotlib.patches import Rectangle

    pictures = np.asarray(pictures, dtype=float).clip(0, 1)
    count, channels, height, width = pictures.shape
    gap = max(1, round(0.45 * height)) if labels else max(1, round(0.12 * height))
    lines = -(-count // columns)
    grid = np.ones((lines * (height + gap), columns * (width + gap), min(channels, 3)))
    for place, picture in enumerate(pictures):
        down, across = place // columns * (height + gap), place % columns * (width + gap)
        grid[down : down + height, across : across + width] = picture[:3].transpose(1, 2, 0)
        for row, column, side in squares[place] if squares else ():
            top, left = max(row, 0), max(column, 0)
            tall, wide = min(row + side, height) - top, min(column + side, width) - left
            corner = (across + left - 0.5, down + top - 0.5)
            axes.add_patch(Rectangle(corner, wide, tall, fill=False, edgecolor=ORANGE, linewidth=2))
        if labels:
            label = "\n".join(fitted(line, CELL, 7) for line in labels[place].split("\n"))
            at = across + width / 2, down + height - 0.5 + 0.06 * height
            axes.text(*at, label, ha="center", va="top", fontsize=7, linespacing=0.95)
    for place, row_name in enumerate(rows):
        axes.text(-1, place * (height + gap) + height / 2, row_name, ha="right", va="center", fontsize=10)
    axes.imshow(grid if grid.shape[2] == 3 else grid[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlim=(-1, columns * (width + gap) - gap), ylim=(lines * (height + gap) - (0 if labels else gap), -1))
    bare(axes)


def bare(axes: Any) -> None:
    """Take ticks, grid and frame away: a picture has no scale."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)


def name_ticks(axes: Any, places: Sequence[float], names: Sequence[str]) -> None:
    """Name places along an x-axis so that no two names meet: flat, slanted, or upright, in small letters at last.

    What is drawn on the axes must be there already: it says how far apart the places are.
    """
    axes.get_xlim()  # matplotlib works them out when they are asked for
    across = axes.transData.transform([(place, 1.0) for place in places])[:, 0] / axes.figure.dpi
    stand = sorted(zip(across, map(text_width, names), strict=True))
    room = min((right - left for (left, _), (right, _) in pairwise(stand)), default=1.0)
    looks: dict[str, Any] = {}
    if any(right - left < (one + other) / 2 + 0.08 for (left, one), (right, other) in pairwise(stand)):
        looks = SLANTED if room >= 0.26 else {**UPRIGHT, "fontsize": min(10.0, max(4.0, 60 * room))}
    axes.set_xticks(places, names, minor=False, **looks)


def row_title(axes: Any, text: str) -> None:
    """Name the row of pictures that starts with these axes, to their left."""
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)


def percent(share: float) -> str:
    """Return 97 % for 0.97; never 100 % for what is less than that."""
    return f"{min(share * 100, 99.9) if share < 1 else 100:.3g} %"


def number(value: Any) -> str:
    """Return three digits of a number: 0.123, 12.3, 1.2e-05."""
    return f"{float(value):.3g}"
