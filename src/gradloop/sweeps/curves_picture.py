"""The curves of many runs in one picture: a panel a quantity, a colour a setting, train dashed, val solid."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from gradloop.sweeps.leaderboard import Leaderboard, Row, show
from gradloop.sweeps.leaderboard_picture import GREY, INK, style_axis

COLOURS = ("#2f6fb3", "#e07b39", "#3a9c6b", "#c94f6d", "#7d5fb2", "#b08a2e", "#2aa5b5", "#6b7683")
LAST = 4  # panels

History = dict[str, list[tuple[float, float]]]  # "val/loss" -> [(epoch, value)]


def read_history(run: Path) -> History:
    """Read metrics.csv: one row an epoch, an empty field where nothing was measured. No file, no history."""
    history: History = {}
    if not (run / "metrics.csv").is_file():
        return history
    try:
        with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                epoch = float(line["epoch"])
                for name, text in line.items():
                    if text and name and "/" in name:
                        history.setdefault(name, []).append((epoch, float(text)))
    except (OSError, ValueError, KeyError, TypeError):  # the last line of a killed run may be half a line
        pass
    return history


def draw_curves(board: Leaderboard, file: Path) -> None:
    """Draw every row's runs (thin) and their mean (thick, if there are several) over epochs, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = board.rows[: len(COLOURS)]
    histories = [[read_history(board.sweep.job_folder(job)) for job in row.jobs] for row in rows]
    quantities = _quantities(histories, board.sweep.metric)
    columns = max(1, len(quantities))
    figure = Figure(figsize=(max(6.4, 5.0 * columns), 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis, quantity in zip(axes, quantities or [""], strict=True):
        style_axis(axis)
        axis.set_title(quantity, color=INK, loc="left", fontsize=11, fontweight="bold")
        axis.set_xlabel("epoch", color=INK)
        values: list[float] = []
        for colour, runs in zip(COLOURS, histories, strict=False):
            for stage, dash in (("train", "--"), ("val", "-")):
                curves = [run[f"{stage}/{quantity}"] for run in runs if f"{stage}/{quantity}" in run]
                values += _draw(axis, curves, colour, dash)
        if values and min(values) > 0 and max(values) / min(values) > 100:
            axis.set_yscale("log")
        if not values:
            axis.text(0.5, 0.5, "no curves recorded", ha="center", transform=axis.transAxes, color=GREY)
    handles = [
        Line2D([], [], color=c, linewidth=2, label=_label(board, place, row))
        for place, (c, row) in enumerate(zip(COLOURS, rows, strict=False), start=1)
    ]
    handles += [Line2D([], [], color=INK, linestyle="--", label="train")]
    handles += [Line2D([], [], color=INK, linestyle="-", label="validation")]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(4, columns + 1), frameon=False, fontsize=9)
    figure.savefig(file)


def _quantities(histories: list[list[History]], metric: str | None) -> list[str]:
    """What has curves, the loss first, then what is monitored, then the rest: `loss`, `accuracy`, …"""
    names = {name.split("/", 1)[1] for runs in histories for run in runs for name in run
             if name.startswith(("train/", "val/"))}  # fmt: skip
    monitored = (metric or "").split("/", 1)[-1]
    return sorted(names, key=lambda name: (name != "loss", name != monitored, name))[:LAST]


def _draw(axis: Any, curves: list[list[tuple[float, float]]], colour: str, dash: str) -> list[float]:
    drawn: list[float] = []
    for curve in curves:
        points = [(epoch, value) for epoch, value in curve if math.isfinite(value)]
        thin = len(curves) > 1
        alone = "o" if len(points) == 1 else None
        axis.plot(*zip(*points, strict=True), dash, color=colour, linewidth=0.8 if thin else 1.8,
                  alpha=0.35 if thin else 1.0, marker=alone) if points else None  # fmt: skip
        drawn += [value for _, value in points]
    if len(curves) > 1:
        common = sorted(set.intersection(*({epoch for epoch, _ in curve} for curve in curves)))
        looked_up = [dict(curve) for curve in curves]
        means = [math.fsum(curve[epoch] for curve in looked_up) / len(curves) for epoch in common]
        axis.plot(common, means, dash, color=colour, linewidth=2.0)
    return drawn


def _label(board: Leaderboard, place: int, row: Row) -> str:
    setting = ", ".join(f"{key.split('.')[-1]}={show(row.setting[key])}" for key in board.keys[:3])
    text = setting or row.jobs[0].record.get("name") or "run"
    more = f" (mean of {len(row.jobs)})" if len(row.jobs) > 1 else ""
    return f"#{place} {text if len(text) < 48 else text[:47] + '…'}{more}"
