"""The curves of many runs in one picture: a panel a quantity, a colour a setting, train dashed, val solid."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from gradloop.drawing import charts
from gradloop.drawing.charts import Curve
from gradloop.drawing.figures import BLACK, COLORS, GREY, as_png, new_figure, shorten, style
from gradloop.runs.folder import write_atomically
from gradloop.sweeps.leaderboard import Leaderboard, Row, show

LAST = 4  # panels

History = dict[str, list[tuple[float, float]]]  # "val/loss" -> [(epoch from 1, value)]


def read_history(run: Path) -> History:
    """Read metrics.csv: one row an epoch, an empty field where nothing was measured. No file, no history."""
    history: History = {}
    if not (run / "metrics.csv").is_file():
        return history
    try:
        with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                epoch = float(line["epoch"]) + 1
                for name, text in line.items():
                    if text and name and "/" in name:
                        history.setdefault(name, []).append((epoch, float(text)))
    except (OSError, ValueError, KeyError, TypeError):  # the last line of a killed run may be half a line
        pass
    return history


@style()
def draw_curves(board: Leaderboard, file: Path) -> None:
    """Draw every row's runs (thin) and their mean (thick, if there are several) over epochs, as PNG."""
    from matplotlib.lines import Line2D

    rows = board.rows[: len(COLORS)]
    histories = [[read_history(board.sweep.job_folder(job)) for job in row.jobs] for row in rows]
    panels: dict[str, list[Curve]] = {quantity: [] for quantity in _quantities(histories, board.sweep.metric)}
    for quantity, lines in panels.items():
        for color, runs in zip(COLORS, histories, strict=False):
            for stage, dash in (("train", "--"), ("val", "-")):
                curves = [run[f"{stage}/{quantity}"] for run in runs if f"{stage}/{quantity}" in run]
                lines += _runs_and_mean(curves, {"color": color, "ls": dash})
    figure = new_figure(max(6.4, 5.0 * len(panels)), 4.6)
    if not charts.draw_curves(figure, panels):
        figure.text(0.5, 0.5, "no curves recorded", ha="center", color=GREY)
    handles = [
        Line2D([], [], color=color, lw=2, label=_label(board, place, row))
        for place, (color, row) in enumerate(zip(COLORS, rows, strict=False), start=1)
    ]
    handles += [
        Line2D([], [], color=BLACK, ls=d, label=name) for d, name in (("--", "training"), ("-", "validation"))
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(4, len(panels) + 1))
    write_atomically(file, as_png(figure))


def _quantities(histories: list[list[History]], metric: str | None) -> list[str]:
    """What has curves, the loss first, then what is monitored, then the rest: `loss`, `accuracy`, …"""
    names = {name.split("/", 1)[1] for runs in histories for run in runs for name in run
             if name.startswith(("train/", "val/"))}  # fmt: skip
    monitored = (metric or "").split("/", 1)[-1]
    return sorted(names, key=lambda name: (name != "loss", name != monitored, name))[:LAST]


def _runs_and_mean(curves: list[list[tuple[float, float]]], looks: dict[str, Any]) -> list[Curve]:
    finite = [[(epoch, value) for epoch, value in curve if math.isfinite(value)] for curve in curves]
    if len(curves) < 2:
        return [(curve, looks | {"lw": 1.8}) for curve in finite]
    common = sorted(set.intersection(*({epoch for epoch, _ in curve} for curve in curves)))
    looked_up = [dict(curve) for curve in curves]
    mean = [(epoch, math.fsum(curve[epoch] for curve in looked_up) / len(curves)) for epoch in common]
    return [*((curve, looks | {"lw": 0.8, "alpha": 0.35}) for curve in finite), (mean, looks | {"lw": 2})]


def _label(board: Leaderboard, place: int, row: Row) -> str:
    setting = ", ".join(f"{key.split('.')[-1]}={show(row.setting[key])}" for key in board.keys[:3])
    text = setting or row.jobs[0].record.get("name") or "run"
    more = f" (mean of {len(row.jobs)})" if len(row.jobs) > 1 else ""
    return f"#{place} {shorten(text, 48)}{more}"
