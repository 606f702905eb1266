"""The curves of many settings in one picture: a panel a quantity, a colour a setting, train dashed, val solid."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gradloop.drawing import BLACK, COLORS, GREY, charts
from gradloop.drawing.figures import as_png, new_figure, style
from gradloop.drawing.labels import fitted
from gradloop.runs.folder import write_atomically
from gradloop.runs.history import read_history
from gradloop.runs.labels import show
from gradloop.sweeps.results.leaderboard import Leaderboard, Row, measured

LAST = 4  # panels
PANEL = 5.0  # inches across


def mean_curves(board: Leaderboard, row: Row) -> dict[str, np.ndarray]:
    """Return quantity -> [E, 4] of a setting: epoch, mean, std (n - 1; 0 for one run) and n over its seeds.

    An epoch counts where every run that was not cut short has it.
    """
    runs = measured(row.jobs) or row.jobs
    histories = [read_history(board.sweep.job_folder(job)) for job in runs]
    found = {}
    names = dict.fromkeys(name for history in histories for line in history for name in line)
    for name, (stage, quantity) in charts.quantities(names).items():
        curves = [{row["epoch"]: row[name] for row in history if name in row} for history in histories]
        curves = [curve for curve in curves if curve]
        epochs = sorted(set.intersection(*map(set, curves)))
        values = np.array([[curve[epoch] for curve in curves] for epoch in epochs]).reshape(len(epochs), len(curves))
        values[~np.isfinite(values)] = math.nan
        std = values.std(1, ddof=1) if len(curves) > 1 else np.zeros(len(epochs))
        found[f"{stage}/{quantity}"] = np.column_stack(
            [epochs, values.mean(1), std, np.full(len(epochs), len(curves))]
        )
    return found


@style()
def draw_curves(board: Leaderboard, file: Path) -> None:
    """Draw every row's mean over epochs, with a band of ± one std where it has several seeds, as PNG."""
    from matplotlib.lines import Line2D

    rows = board.rows[: len(COLORS)]
    curves = [mean_curves(board, row) for row in rows]
    quantities = _quantities(curves, board.sweep.metric)
    figure = new_figure(max(6.4, PANEL * len(quantities)), 4.8)
    panels: dict[str, list[charts.Curve]] = {quantity: [] for quantity in quantities}
    for quantity, lines in panels.items():
        for color, found in zip(COLORS, curves, strict=False):
            for stage, looks in (("train", {"ls": "--", "lw": 1.1, "alpha": 0.7}), ("val", {"ls": "-", "lw": 1.9})):
                if (curve := found.get(f"{stage}/{quantity}")) is not None:
                    lines.append((curve[:, :2].tolist(), {"color": color, **looks}))
    drawn: list[tuple[Any, list[tuple[float, float, str, str]]]] = []
    for axes, quantity in zip(charts.draw_curves(figure, panels), quantities, strict=True):
        drawn.append((axes, ends := []))
        for place, (color, found) in enumerate(zip(COLORS, curves, strict=False), start=1):
            curve = found.get(f"val/{quantity}", found.get(f"train/{quantity}"))
            if curve is not None and len(curve):
                epochs, mean, std, _ = curve.T
                axes.fill_between(epochs, mean - std, mean + std, color=color, alpha=0.18, lw=0)
                ends.append((float(mean[-1]), float(epochs[-1]), str(place), color))
    if not quantities:
        figure.text(0.5, 0.5, "no curves recorded", ha="center", color=GREY)
    across = min(3, max(1, len(quantities)))
    width = figure.get_figwidth() / across - 0.8
    labels = [fitted(_label(board, place, row), width, 9) for place, row in enumerate(rows, start=1)]
    handles = [Line2D([], [], color=c, lw=2.2, label=label) for c, label in zip(COLORS, labels, strict=False)]
    handles += [
        Line2D([], [], color=BLACK, ls=d, label=name) for d, name in (("--", "training"), ("-", "validation"))
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=across)
    shown = f", {len(rows)} of {len(board.rows)} shown" if len(rows) < len(board.rows) else ""
    several = any(len(measured(row.jobs)) > 1 for row in rows)
    told = f"mean over {board.repetitions}, band ± one std" if several else "one run a setting"
    figure.suptitle(f"{board.sweep.name}: {told}{shown}", x=0.01, ha="left")
    figure.draw_without_rendering()
    for axes, ends in drawn:
        charts.label_ends(axes, ends)
    write_atomically(file, as_png(figure))


def _quantities(curves: list[dict[str, Any]], metric: str | None) -> list[str]:
    """What has curves, the loss first, then what is monitored, then the rest: `loss`, `accuracy`, …"""
    names = {name.split("/", 1)[1] for found in curves for name in found if name.startswith(("train/", "val/"))}
    monitored = (metric or "").split("/", 1)[-1]
    return sorted(names, key=lambda name: (name != "loss", name != monitored, name))[:LAST]


def _label(board: Leaderboard, place: int, row: Row) -> str:
    """`1  my_run  lr=0.01 dims=[64] (n=3)`: the run's name where names differ, and the keys that differ."""
    names = {r.jobs[0].record.get("name") for r in board.rows}
    name = f"{row.jobs[0].record.get('name')}  " if len(names) > 1 else ""
    varied = [k for k in board.keys if len({show(r.setting[k]) for r in board.rows[: len(COLORS)]}) > 1]
    if board.sweep.method == "compare":  # what a run of another kind does not have
        varied = [key for key in varied if row.setting[key] is not None]
    setting = " ".join(f"{board.names[key]}={show(row.setting[key])}" for key in varied)
    count = len(measured(row.jobs))
    several = f" (n={count})" if count > 1 else ""
    return f"{place}  {name}{setting or ('' if name else 'run')}{several}"
