"""What holds for every picture: dots, titles, words and numbers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradloop.drawing.charts import confusion_png, curves_png
from gradloop.drawing.figures import draw_page, number, percent, shorten

HISTORY = [{"epoch": 0, "train/loss": 1.0, "val/loss": 1.5}, {"epoch": 1, "train/loss": 0.001, "val/loss": 0.01}]


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
