"""Where the values of a varied key stand on an axis."""

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

from gradloop.drawing.figures import name_ticks
from gradloop.drawing.labels import shorten_all
from gradloop.runs.labels import show
from gradloop.sweeps.results.statistics import is_number
from gradloop.sweeps.sweep_folder import as_text

LYING = 8  # from so many categories on, their names stand beside the axis, best first


@dataclass(frozen=True)
class Scale:
    """Where the values of a key stand on an axis: numbers at themselves, words at 0, 1, 2, …

    So do 0 and numbers that step by factors, which no axis shows together: `weight_decay=0,1e-4,1e-2`.
    """

    log: bool
    places: dict[str, float] | None  # of what stands at 0, 1, 2, …, by its text
    ticks: dict[float, str]
    whole: bool  # the ticks are all of the values, not the ends alone

    def __call__(self, value: Any) -> float:
        return float(value) if self.places is None else self.places[as_text(value)]

    def share(self, place: float) -> float:
        """Return where a place is between the ends, from 0 to 1."""
        low, high = self.ends
        if high == low:
            return 0.5
        return math.log(place / low) / math.log(high / low) if self.log else (place - low) / (high - low)

    @property
    def ends(self) -> tuple[float, float]:
        return min(self.ticks), max(self.ticks)


def scale_of(values: list[Any], order: dict[str, float] | None = None) -> Scale:
    """Return the scale of a key's values. order: of words, where each should stand."""
    if values and all(map(is_number, values)):
        distinct = sorted({float(value) for value in values})
        if distinct[0] == 0 and 3 <= len(distinct) <= LYING and log_spaced(distinct[1:]):
            place = {value: float(number) for number, value in enumerate(distinct)}
            places = {text: place[value] for value in values for text in (as_text(value), as_text(float(value)))}
            return Scale(False, places, {place[value]: show(value) for value in distinct}, True)
        shown = distinct if len(distinct) <= LYING else [distinct[0], distinct[-1]]
        return Scale(log_spaced(distinct), None, {value: show(value) for value in shown}, shown is distinct)
    named = {as_text(value): show(value) for value in values}
    sorted_texts = sorted(named, key=lambda text: ((order or {}).get(text, 0.0), natural(text)))
    places = {text: float(place) for place, text in enumerate(sorted_texts)}
    short = shorten_all([named[text] for text in sorted_texts], 22)
    return Scale(False, places, dict(zip(places.values(), short, strict=True)), True)


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts net_9 before net_10, and [64] before [64, 64]."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", text.strip("[]"))]


def set_scale(axis: Any, scale: Scale) -> None:
    """Give an axis the ticks of a key's values."""
    axes, horizontal = axis.axes, axis.axis_name == "x"
    if scale.log:
        (axes.set_xscale if horizontal else axes.set_yscale)("log")
    if scale.places is not None:
        (axes.set_xlim if horizontal else axes.set_ylim)(-0.5, len(scale.ticks) - 0.5)
    else:
        axes.margins(**{"x" if horizontal else "y": 0.08})
    if scale.whole:
        if horizontal:
            name_ticks(axes, list(scale.ticks), list(scale.ticks.values()))
        else:
            axis.set_ticks(list(scale.ticks), list(scale.ticks.values()), minor=False)
        axes.minorticks_off()


def log_spaced(values: list[float]) -> bool:
    """Whether positive values step by factors rather than by differences: 1e-3, 1e-2, 1e-1 or 16, 32, 64."""
    distinct = sorted({float(value) for value in values})
    if len(distinct) < 2 or distinct[0] <= 0:
        return False
    factor = distinct[-1] / distinct[0]
    if len(distinct) == 2:
        return factor >= 10
    steps = [high - low for low, high in pairwise(distinct)]
    ratios = [math.log(high / low) for low, high in pairwise(distinct)]
    return factor >= 4 and pstdev(ratios) / fmean(ratios) < pstdev(steps) / fmean(steps)
