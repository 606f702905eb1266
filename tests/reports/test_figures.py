"""What holds for every picture: dots, titles, words and numbers."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradloop.drawing import BLACK, GREY, RIGHT, WRONG
from gradloop.drawing.charts import confusion_png, curves_png
from gradloop.drawing.figures import _say_once, draw_page, name_ticks, new_figure, number, percent
from gradloop.drawing.labels import fitted, fonts, shorten, shorten_all, text_width

HISTORY = [{"epoch": 1, "train/loss": 1.0, "val/loss": 1.5}, {"epoch": 2, "train/loss": 0.001, "val/loss": 0.01}]


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize("title", ["run", "a name that is far too long for one panel of curves " * 3])
def test_no_title_is_wider_than_its_picture(title: str) -> None:
    for png in (curves_png(HISTORY, title), confusion_png(np.eye(3), ["a", "b", "c"], title)):
        grey = np.asarray(opened(png).convert("L"))
        assert grey[:, :5].min() == grey[:, -5:].min() == 255
        assert grey[:60].min() < 128  # it is there


def test_files_have_150_dots_an_inch_or_more() -> None:
    page = draw_page(lambda figure: figure.subplots())
    for png in (curves_png(HISTORY, "run"), confusion_png(np.eye(2), ["a", "b"], "val"), page):
        assert min(opened(png).info["dpi"]) >= 149.9
    assert opened(page).size == (1920, 1080)


def test_logarithmic_axes_write_plain_numbers() -> None:
    texts: list[str] = []

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.loglog([0.001, 1000], [2, 5])
        axes.figure.canvas.mpl_connect(
            "draw_event", lambda _: texts.extend(label.get_text() for label in axes.get_xticklabels())
        )

    draw_page(draw)
    assert {"0.001", "1", "1000"} <= set(texts)


def test_words_are_cut_by_their_width() -> None:
    assert shorten("short") == "short"
    long = shorten("a_very_long_file_name_of_a_picture.jpg", 16)
    assert long.startswith("a_very")
    assert "…" in long
    assert long.endswith(".jpg")
    assert len(shorten("W" * 60)) < 16 < len(shorten("i" * 60))


def test_numbers() -> None:
    assert percent(1.0) == "100 %"
    assert percent(0.99999) == "99.9 %"
    assert number(0.012345) == "0.0123"
    assert number(np.float32(120)) == "120"


def contrast(color: str) -> float:
    """Return the contrast of a colour with white, 1 to 21 (WCAG 2)."""
    channels = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 1.05 / (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05)


def test_text_stands_out():
    assert min(map(contrast, (BLACK, GREY, RIGHT, WRONG))) >= 4.5


def test_names_are_cut_by_their_real_width_and_stay_apart():
    names = [f"my_very_long_picture_name_{k}_in_a_folder.jpg" for k in range(3)]
    short = shorten_all(names, 15)
    assert len(set(short)) == 3
    widths = [text_width(name) for name in short]
    assert max(widths) <= 15 * text_width("average letters") / 15 * 1.001
    assert fitted("wwwwwwwwww", 0.5) != "wwwwwwwwww"
    assert text_width(fitted("한글 이름이 아주 아주 깁니다", 0.8)) <= 0.8


@pytest.mark.parametrize("count", [3, 12, 24, 60])
def test_names_below_an_axis_never_meet(count: int) -> None:
    figure = new_figure(8, 5, layout=None)
    axes = figure.subplots()
    axes.set_xlim(-0.5, count - 0.5)
    name_ticks(axes, range(count), [f"class number {k}" for k in range(count)])
    figure.draw_without_rendering()
    labels = axes.get_xticklabels()
    tilt = math.radians(labels[0].get_rotation())
    starts = [label.get_window_extent() for label in labels]
    apart = (starts[1].x1 - starts[0].x1) * (math.sin(tilt) if tilt else 1.0)
    size = labels[0].get_fontsize() * figure.dpi / 72
    assert apart >= (size if tilt else starts[0].width)


def test_letters_that_no_font_has_are_told_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr("gradloop.drawing.labels.OTHER_SCRIPTS", ())
    fonts.cache_clear()
    _say_once.cache_clear()
    draw_page(lambda figure: figure.suptitle("한글"))
    fonts.cache_clear()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "fonts-nanum" in err
