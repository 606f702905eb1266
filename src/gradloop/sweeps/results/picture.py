"""A sweep in pictures: `leaderboard.png`, the metric against every varied key; with the others, `draw_sweep`.

A dot is a setting (mean over its seeds, bar = ± one std), a cross a pruned one. A line joins means of repeated values
of a grid; drawn at random or by Optuna, neighbours differ in all keys, and a line would read as a function.
"""

import math
from itertools import zip_longest
from statistics import fmean
from typing import Any

from gradloop.drawing import BLACK, COLORS, GREY, ORANGE
from gradloop.drawing.figures import as_png, name_ticks, new_figure, style
from gradloop.runs.folder import write_atomically
from gradloop.sweeps.results.leaderboard import Leaderboard, Row, headline
from gradloop.sweeps.results.scales import LYING, scale_of, set_scale
from gradloop.sweeps.results.statistics import is_number
from gradloop.sweeps.sweep_folder import REPEATED, SEED, as_text

PANELS = 6  # varied keys shown; more would be too small to read
TICKS = 20  # repetitions that are named on an axis
FEWEST = 6  # settings that say which keys matter; with fewer, a share would say more than is known
TREES = 64
DRAWN = ("random", "optuna")  # methods that draw their settings: time says more than any one key


def draw_sweep(board: Leaderboard) -> None:
    """Write a sweep's pictures (what each key does, how the search went, the best curves), its page and its means."""
    from gradloop.sweeps.results.curves import draw_curves
    from gradloop.sweeps.results.hparams import write_means
    from gradloop.sweeps.results.page import write_board_page
    from gradloop.sweeps.results.search import search_png

    shares = importance(board)
    write_atomically(board.sweep.folder / "leaderboard.png", slices_png(board, shares))
    if len(measured(board)) > 2 and board.keys:
        write_atomically(board.sweep.folder / "search.png", search_png(board, shares))
    if board.best is not None:
        draw_curves(board, board.sweep.folder / "curves.png")
    write_board_page(board, board.sweep.folder)
    write_means(board)


def measured(board: Leaderboard) -> list[Row]:
    """The rows that have a value of the monitored metric."""
    metric = board.sweep.metric or ""
    return [row for row in board.rows if metric and row.spreads[metric].mean is not None]


def importance(board: Leaderboard) -> dict[str, float]:
    """Return how much a forest that predicts the metric splits by each key, the most first; {} if it can't be told.

    The impurity importance of a random forest (Breiman 2001) over the completed settings. Shares add up to 1,
    whatever the metric hangs on: chance alone gives each key a part.
    """
    rows = [row for row in measured(board) if row.verdict != "pruned"]
    values = [row.spreads[board.sweep.metric or ""].mean or 0.0 for row in rows]
    if len(board.keys) < 2 or len(rows) < FEWEST or max(values) - min(values) <= 1e-12:
        return {}
    from sklearn.ensemble import RandomForestRegressor

    columns = []
    for key in board.keys:
        found = [row.setting[key] for row in rows]
        if all(map(is_number, found)):
            columns.append([math.log(v) if min(found) > 0 else float(v) for v in found])
        else:
            places = {text: float(k) for k, text in enumerate(sorted(set(map(as_text, found))))}
            columns.append([places[as_text(v)] for v in found])
    forest = RandomForestRegressor(n_estimators=TREES, random_state=0)
    forest.fit(list(zip(*columns, strict=True)), values)
    shares = dict(zip(board.keys, map(float, forest.feature_importances_), strict=True))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


class Colours:
    """What the colour of a dot says: when it ran, where settings were drawn; else the most important key's value."""

    def __init__(self, board: Leaderboard, rows: list[Row], shares: dict[str, float]) -> None:
        from matplotlib import colormaps

        self.map = colormaps["viridis_r"].resampled(256)
        self.key = None if board.sweep.method in DRAWN or len(board.keys) < 2 else next(iter(shares), board.keys[0])
        self.label = "run" if self.key is None else board.names[self.key]
        values = [self.value(row) for row in rows]
        self.scale = scale_of(values)
        self.few = self.key is not None and len(set(map(as_text, values))) <= len(COLORS) - 2
        self.plain = self.key is None and board.sweep.method not in DRAWN

    def value(self, row: Row) -> Any:
        return row.jobs[0].number if self.key is None else row.setting[self.key]

    def __call__(self, row: Row) -> Any:
        if self.plain:
            return COLORS[0]
        if self.few:
            return COLORS[sorted(self.scale.ticks).index(self.scale(self.value(row)))]
        return self.map(0.08 + 0.92 * self.scale.share(self.scale(self.value(row))))

    def explain(self, figure: Any, panels: Any) -> list[Any]:
        """Draw a colour bar, or return the handles of a legend."""
        from matplotlib import cm, colors
        from matplotlib.lines import Line2D

        if self.plain:
            return []
        if self.few:
            return [
                Line2D([], [], ls="", marker="o", color=COLORS[k], label=f"{self.label}={name}")
                for k, (_, name) in enumerate(sorted(self.scale.ticks.items()))
            ]
        low, high = self.scale.ends
        norm = colors.LogNorm(low, high) if self.scale.log else colors.Normalize(low, high)
        shown = colors.ListedColormap(self.map([0.08 + 0.92 * k / 255 for k in range(256)]))
        bar = figure.colorbar(cm.ScalarMappable(norm, shown), ax=panels, label=self.label, pad=0.01, aspect=40)
        bar.set_ticks(list(self.scale.ticks), labels=list(self.scale.ticks.values()), minor=False)
        bar.minorticks_off()
        return []


@style()
def slices_png(board: Leaderboard, shares: dict[str, float]) -> bytes:
    """Return the metric against every varied key, the most important first. Without any value yet, it says so."""
    metric, rows = board.sweep.metric or "", measured(board)
    keys = sorted(board.keys, key=lambda key: -shares.get(key, 0.0))[:PANELS] if rows else []
    columns = min(3, max(1, len(keys)))
    lines = max(1, math.ceil(len(keys) / columns))
    count = {key: len({as_text(row.setting[key]) for row in rows}) for key in keys}
    lying = {key for key in keys if count[key] >= LYING and not all(is_number(row.setting[key]) for row in rows)}
    tall = [3.4] * lines
    for place, key in enumerate(keys):
        if key in lying:
            tall[place // columns] = max(tall[place // columns], 0.2 * count[key] + 1)
    figure = new_figure(max(6.4, 4.2 * columns + 0.9), sum(tall) + 1.1)
    panels = figure.subplots(lines, columns, squeeze=False, height_ratios=tall)
    left_out = f"   ({len(keys)} of {len(board.keys)} keys)" if rows and len(keys) < len(board.keys) else ""
    figure.suptitle(headline(board) + left_out, x=0.01, ha="left", fontweight="bold")
    colours = Colours(board, rows, shares) if rows else None
    for axes, key in zip_longest(panels.flat, keys):
        if key is None and keys:
            axes.set_visible(False)
        elif colours is None:
            axes.text(0.5, 0.5, "no run has ended yet", ha="center", transform=axes.transAxes, color=GREY)
        elif key is not None:
            _panel(axes, board, rows, key, colours, lying=key in lying)
        else:
            _seeds(axes, rows[0], metric)
    handles = [*_marks(board, rows), *colours.explain(figure, panels)] if colours is not None and keys else []
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=max(2, columns + 1))
    return as_png(figure)


def _marks(board: Leaderboard, rows: list[Row]) -> list[Any]:
    """What dots, crosses, bars and lines are."""
    from matplotlib.lines import Line2D

    handles = []
    if board.best is not None:
        star: dict[str, Any] = {"marker": "*", "markersize": 12, "color": "white", "markeredgecolor": BLACK}
        handles.append(Line2D([], [], ls="", label=f"{board.best.verdict} mean", **star))
    if any(row.verdict == "pruned" for row in rows):
        handles.append(Line2D([], [], ls="", marker="x", label="pruned: where it stood", color=GREY))
    seeds = sorted({row.spreads[board.sweep.metric or ""].n for row in rows if row.verdict != "pruned"})
    if seeds and seeds[-1] > 1:
        count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        over = f"{count} {board.repetitions}" if " and " not in board.repetitions else f"{count} runs"
        handles.append(Line2D([], [], color=GREY, lw=1.4, label=f"mean ± std over {over}"))
    if any(repeated(board, rows, key) for key in board.keys[:PANELS]):
        handles.append(Line2D([], [], color=BLACK, lw=1.4, ls="--", label="mean of all settings with the value"))
    return handles


def repeated(board: Leaderboard, rows: list[Row], key: str) -> dict[float, float]:
    """Return value -> mean metric, where a grid has every number of a key at least twice; else nothing."""
    metric = board.sweep.metric or ""
    kept = [row for row in rows if row.verdict != "pruned"]
    if board.sweep.method in DRAWN or not all(is_number(row.setting[key]) for row in kept):
        return {}
    found: dict[float, list[float]] = {}
    for row in kept:
        values = [job.value(metric) for job in row.jobs if job.status == "completed"]
        found.setdefault(float(row.setting[key]), []).extend(v for v in values if v is not None)
    means = {value: fmean(each) for value, each in sorted(found.items()) if len(each) > 1}
    return means if 1 < len(means) == len(found) <= 12 else {}


def _panel(axes: Any, board: Leaderboard, rows: list[Row], key: str, colours: Colours, *, lying: bool) -> None:
    metric, best = board.sweep.metric or "", board.best
    means = {row.jobs[0].number: row.spreads[metric].mean or 0.0 for row in rows}
    order: dict[str, float] = {}
    if lying:  # rows are sorted: the first of a category is its best
        for rank, row in enumerate(reversed(rows)):
            order[as_text(row.setting[key])] = float(rank)
    scale = scale_of([row.setting[key] for row in rows], order)
    line = repeated(board, rows, key)
    axes.plot([scale(value) for value in line], list(line.values()), color=BLACK, lw=1.4, ls="--", zorder=1)
    for row in reversed(rows):
        place, value = scale(row.setting[key]), means[row.jobs[0].number]
        color, pruned, top = colours(row), row.verdict == "pruned", row is best
        if pruned:
            looks: dict[str, Any] = {"fmt": "x", "markersize": 6, "color": GREY}
        elif top:
            colored = ORANGE if colours.plain else color
            looks = {"fmt": "*", "markersize": 15, "color": colored, "markeredgecolor": BLACK}
        else:
            looks = {"fmt": "o", "markersize": 6, "color": color, "markeredgecolor": "white", "markeredgewidth": 0.6}
        error = None if pruned else row.spreads[metric].std
        at = (value, place) if lying else (place, value)
        bars = {"xerr" if lying else "yerr": error, "ecolor": BLACK if top else color}
        axes.errorbar(*at, **bars, elinewidth=1.2, capsize=2.5, zorder=4 if top else 2, **looks)
    better = f"{metric} ({'higher' if board.sweep.mode == 'max' else 'lower'} is better)"
    set_scale(axes.yaxis if lying else axes.xaxis, scale)
    axes.set(**({"xlabel": better, "ylabel": key} if lying else {"xlabel": key, "ylabel": better}))
    if board.sweep.mode == "min" and min(means.values()) > 0 and max(means.values()) > 30 * min(means.values()):
        (axes.set_xscale if lying else axes.set_yscale)("log")


def _seeds(axes: Any, row: Row, metric: str) -> None:
    """Nothing but seeds and folds was varied: show the runs themselves."""
    jobs = [job for job in row.jobs if job.value(metric) is not None]
    varied = [key for key in REPEATED if len({job.values.get(key) for job in jobs}) > 1] or [SEED]
    jobs.sort(key=lambda job: [float(job.values.get(key) or 0) for key in varied])
    axes.plot([job.value(metric) for job in jobs], "o", color=COLORS[0], markersize=7)
    axes.axhline(row.spreads[metric].mean, color=GREY, linewidth=1.2, linestyle="--", label="mean")
    axes.legend()
    axes.margins(x=min(0.2, 0.6 / len(jobs)))
    shown = range(0, len(jobs), math.ceil(len(jobs) / TICKS))
    name_ticks(axes, shown, [", ".join(str(jobs[k].values.get(key)) for key in varied) for k in shown])
    axes.set(xlabel=", ".join(key.rpartition(".")[2] for key in varied), ylabel=metric)
