"""Names in pictures: cut to the room that there is, and told apart."""

import os
import warnings
from collections.abc import Sequence
from functools import cache

OTHER_SCRIPTS = ("Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "AppleGothic", "Arial Unicode MS")


@cache
def fonts() -> list[str]:
    """Return the fonts that letters are looked for in, in this order."""
    from matplotlib.font_manager import get_font_names

    there = set(get_font_names())
    return ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in there)]


def shorten(text: str, length: int = 16) -> str:
    """Return the text in one line, cut in its middle until it is no wider than `length` average letters."""
    return fitted(" ".join(text.split()), length * text_width("average letters") / len("average letters"))


def shorten_all(texts: Sequence[str], length: int = 16) -> list[str]:
    """Return texts cut as `shorten` does, and told apart: of those that look alike, what all share goes first."""
    short = {text: shorten(text, length) for text in texts}
    for alike in _alike(short):
        short |= zip(alike, _told_apart(alike, length), strict=True)
    for alike in _alike(short):
        for number, text in enumerate(alike, start=1):
            short[text] = f"{shorten(text, max(1, length - 4))} #{number}"
    return [short[text] for text in texts]


def _alike(short: dict[str, str]) -> list[list[str]]:
    """Return the texts of each group that is cut to the same."""
    groups: dict[str, list[str]] = {}
    for text, cut in short.items():
        groups.setdefault(cut, []).append(text)
    return [texts for texts in groups.values() if len(texts) > 1]


def _told_apart(texts: list[str], length: int) -> list[str]:
    """Return texts around where they differ, with as many words before and behind it as there is room for."""
    before, behind = _shared(texts), _shared([text[::-1] for text in texts])

    def parts(start: int, stop: int) -> list[str]:
        return [f"{'…' * (start > 0)}{text[start : len(text) - stop]}{'…' * (stop > 0)}" for text in texts]

    begin, end = before[-1], behind[-1]
    for start in before:
        if (tried := parts(start, end)) == [shorten(part, length) for part in tried]:
            begin = start
            break
    for stop in behind:
        if (tried := parts(begin, stop)) == [shorten(part, length) for part in tried]:
            end = stop
            break
    return [shorten(part, length) for part in parts(begin, end)]


def _shared(texts: list[str]) -> list[int]:
    """Return where the words begin in what all texts begin with, from 0 to the end of that."""
    begin = os.path.commonprefix(texts)  # noqa: RUF071 - letters are what is compared
    return [0, *(place + 1 for place, letter in enumerate(begin) if letter in " _-./")]


def fitted(text: str, width: float, size: float = 10) -> str:
    """Return the text, cut in its middle until it is no wider than `width` inches. size: of letters, in points."""
    if text_width(text, size) <= width:
        return text
    low, high, cut = 1, len(text), "…"
    while low < high:  # the most letters that fit
        kept = (low + high) // 2
        head = -(-kept * 2 // 3)
        tried = f"{text[:head]}…{text[len(text) - (kept - head) :]}"
        low, high, cut = (kept + 1, high, tried) if text_width(tried, size) <= width else (low, kept, cut)
    return cut


@cache
def text_width(text: str, size: float = 10) -> float:
    """Return how wide a text is drawn, in inches. size: of its letters, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s)Glyph .* missing from font")
        font = FontProperties(family=fonts(), size=size)
        return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72  # from points
