"""What every page shares: a slide's format, letters that are readable at half size, one palette."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#999999"
WIDTH, HEIGHT = 12.8, 7.2  # inches: 16:9, 1920 x 1080 dots
DOTS = 150  # an inch

STYLE: Any = {  # matplotlib names its keys in a type of its own
    "font.size": 16,
    "axes.titlesize": 18,
    "axes.labelsize": 17,
    "figure.titlesize": 21,
    "legend.fontsize": 15,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.12,
    "text.parse_math": False,  # a class may be called $5
}
# what comes after the default font for letters that it lacks, on Linux, Windows and macOS
OTHER_SCRIPTS = ("Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "AppleGothic", "Arial Unicode MS")


def draw_page(draw: Callable[..., None], *arguments: Any, width: float = WIDTH, height: float = HEIGHT) -> bytes:
    """Return a PNG: call `draw(figure, *arguments)` on an empty page of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with slide_style():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, *arguments)
        room = 0.97 * figure.bbox.width
        for title in figure.texts:
            if (wide := title.get_window_extent().width) > room:
                title.set_fontsize(float(title.get_fontsize()) * room / wide)
        return as_png(figure)


@contextmanager
def slide_style() -> Iterator[None]:
    """Draw with large letters inside."""
    import matplotlib

    with matplotlib.rc_context(STYLE | {"font.family": _fonts()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def as_png(figure: Any) -> bytes:
    """Return a figure as the content of a file."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DOTS)
    return png.getvalue()


@cache
def _fonts() -> list[str]:
    from matplotlib.font_manager import get_font_names

    there = set(get_font_names())
    return ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in there)]


def shorten(text: str, length: int = 16) -> str:
    """Return the text, cut in its middle to at most `length` letters."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def percent(share: float) -> str:
    """Return 97 % for 0.97; never 100 % for what is less than that."""
    return f"{min(share * 100, 99.9) if share < 1 else 100:.3g} %"
