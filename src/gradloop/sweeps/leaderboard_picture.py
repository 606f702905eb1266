"""The leaderboard as one picture: the monitored metric against every varied key.

Each dot is a setting (mean over its seeds, bar = ± one std). Numbers get a number axis, logarithmic when
their values are spaced by factors; everything else gets one place a value. A line joins the best
setting at each number: what the key can reach once the others are chosen well.
"""

from __future__ import annotations

import math
import textwrap
from itertools import pairwise, zip_longest
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from gradloop.drawing import BLUE, GREY, ORANGE
from gradloop.drawing.figures import SLANTED, as_png, new_figure, shorten, style
from gradloop.runs.folder import write_atomically
from gradloop.sweeps.leaderboard import Leaderboard, Row, show
from gradloop.sweeps.sweep_folder import as_text

PANELS = 6  # varied keys shown; more would be too small to read


@style()
def draw_leaderboard(board: Leaderboard, file: Path) -> None:
    """Write the picture as PNG. Without any value yet, it says so."""
    metric, mode = board.sweep.metric or "", board.sweep.mode
    rows = [row for row in board.rows if metric and row.spreads[metric].mean is not None]
    means = [row.spreads[metric].mean or 0.0 for row in rows]
    keys = board.keys[:PANELS]
    columns = min(3, max(1, len(keys)))
    lines = max(1, math.ceil(len(keys) / columns))
    figure = new_figure(max(6.4, 4.2 * columns + 0.6), 3.6 * lines + 0.9)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    title = textwrap.fill(_title(board, rows), int(9.5 * figure.get_figwidth()))
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    for axes, key in zip_longest(panels.flat, keys or [None]):
        if key is None and keys:
            axes.set_visible(False)
        elif not rows:
            axes.text(0.5, 0.5, "no run has ended yet", ha="center", transform=axes.transAxes, color=GREY)
        elif key is not None:
            _panel(axes, rows, key, metric, mode)
        else:
            _seeds(axes, rows[0], metric)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{metric} ({'higher' if mode == 'max' else 'lower'} is better)")
        if mode == "min" and means and min(means) > 0 and max(means) > 30 * min(means):
            axes.set_yscale("log")
    _legend(figure, rows, metric)
    write_atomically(file, as_png(figure))


def _legend(figure: Any, rows: list[Row], metric: str) -> None:
    """Name the colours that occur, and what the bars are."""
    from matplotlib.lines import Line2D

    names = {ORANGE: "best", BLUE: "tie", GREY: "worse or pruned"}
    if any(row.verdict == "?" for row in rows):
        names[BLUE] = "one run: no claim"
    used = {_colour(row) for row in rows}
    handles = [
        Line2D([], [], linestyle="", marker="*" if colour == ORANGE else "o", color=colour, label=name,
               markersize=11 if colour == ORANGE else 6)
        for colour, name in names.items() if colour in used
    ]  # fmt: skip
    if any(row.spreads[metric].std is not None for row in rows):
        seeds = sorted({row.spreads[metric].n for row in rows})
        count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        handles.append(Line2D([], [], color=GREY, linewidth=1.4, label=f"± std over {count} seeds"))
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=4)


def _colour(row: Row) -> str:
    return ORANGE if row.verdict == "best" else BLUE if row.verdict in ("tie", "?") else GREY


def _title(board: Leaderboard, rows: list[Row]) -> str:
    best = board.best
    if best is None:
        return board.sweep.name
    setting = ", ".join(f"{key}={show(value)}" for key, value in best.setting.items())
    spread = best.spreads[board.sweep.metric or ""]
    ties = sum(row.verdict == "tie" for row in rows)
    claim = f"best: {setting or 'the one setting'}   {board.sweep.metric} {spread} (n={spread.n})"
    return claim + (f", tied with {ties} more" if ties else "")


def _panel(axis: Any, rows: list[Row], key: str, metric: str, mode: str) -> None:
    values: list[Any] = [row.setting.get(key) for row in rows]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    x = _number_axis(axis, values) if numeric else _word_axis(axis, values)
    y = [row.spreads[metric].mean or 0.0 for row in rows]
    axis.set_xlabel(key)
    if numeric and 1 < len(set(x)) <= 12 and len(set(x)) <= max(len(rows), 2):
        pick = max if mode == "max" else min
        tops = {place: pick(b for a, b in zip(x, y, strict=True) if a == place) for place in sorted(set(x))}
        axis.plot(tops.keys(), tops.values(), color=BLUE, linewidth=1.6, alpha=0.55, zorder=1)
    for place, value, row in zip(x, y, rows, strict=True):
        top, colour = row.verdict == "best", _colour(row)
        axis.errorbar(
            place, value, yerr=row.spreads[metric].std, fmt="*" if top else "o", markersize=14 if top else 6,
            color=colour, ecolor=colour, elinewidth=1.4, capsize=3, zorder=3 if top else 2,
            markeredgecolor="white", markeredgewidth=0.8, alpha=0.55 if colour == GREY else 1.0,
        )  # fmt: skip


def _number_axis(axis: Any, values: list[float]) -> list[float]:
    distinct = sorted(set(values))
    if log_spaced(distinct):
        axis.set_xscale("log")
    if len(distinct) <= 8:
        axis.set_xticks(distinct, [show(value) for value in distinct])
        axis.minorticks_off()
    axis.margins(x=0.08)
    return values


def _word_axis(axis: Any, values: list[Any]) -> list[float]:
    named = {as_text(value): shorten(show(value), 22) for value in values}
    places = {text: float(place) for place, text in enumerate(sorted(named))}
    crowded = sum(map(len, named.values())) > 36
    axis.set_xticks(range(len(places)), [named[text] for text in places], **(SLANTED if crowded else {}))
    axis.set_xlim(-0.5, len(places) - 0.5)
    return [places[as_text(value)] for value in values]


def _seeds(axis: Any, row: Row, metric: str) -> None:
    """Nothing but the seed was varied: show the runs themselves."""
    pairs = [(str(job.seed), job.value(metric)) for job in row.jobs if job.value(metric) is not None]
    axis.plot([seed for seed, _ in pairs], [value for _, value in pairs], "o", color=BLUE, markersize=7)
    axis.axhline(row.spreads[metric].mean, color=GREY, linewidth=1.2, linestyle="--")
    axis.margins(x=0.2)
    axis.set_xlabel("seed")


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
