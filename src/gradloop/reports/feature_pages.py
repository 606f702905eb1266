"""Pages on the columns of a table: which ones the network uses."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradloop.reports.page import BLUE, RED, shorten

MOST_FEATURES = 20  # bars that stay readable on one page


def bars_page(
    figure: Any,
    title: str,
    xlabel: str,
    names: list[str],
    values: Tensor,
    spread: Tensor | None = None,
    note: str = "",
) -> None:
    """One bar a feature, the largest on top; `spread` [F] draws whiskers."""
    order = values.argsort(descending=True, stable=True)[:MOST_FEATURES]
    axes = figure.subplots()
    places = range(len(order))[::-1]
    colors = [BLUE if value >= 0 else RED for value in values[order].tolist()]
    whiskers = {} if spread is None else {"xerr": spread[order].numpy(), "error_kw": {"elinewidth": 2, "capsize": 4}}
    axes.barh(places, values[order].numpy(), color=colors, height=0.7, **whiskers)
    axes.set_yticks(places, [shorten(names[k], 22) for k in order.tolist()])
    axes.axvline(0, color="black", lw=1)
    if len(values) > len(order):
        title += f" (the largest {len(order)} of {len(values)})"
    axes.set(xlabel=xlabel, ylabel="feature")
    figure.suptitle(title)
    axes.margins(y=0.02)
    axes.grid(alpha=0.3, axis="x")
    if note:
        figure.supxlabel(note, fontsize=13, color="#555555")


def rows_page(
    figure: Any, title: str, captions: list[str], names: list[str], attributions: Tensor, meaning: str
) -> None:
    """One row a sample, one column a feature: red raises the explained score, blue lowers it. [N, F]."""
    order = attributions.abs().mean(0).argsort(descending=True, stable=True)[:MOST_FEATURES].sort().values
    shown = attributions[:, order]
    top = float(shown.abs().max()) or 1.0
    axes = figure.subplots()
    image = axes.imshow(shown.numpy(), cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
    axes.set_yticks(range(len(captions)), captions, fontsize=13)
    crowded = len(order) > 10 or max(len(names[k]) for k in order.tolist()) > 6
    axes.set_xticks(range(len(order)), [shorten(names[k]) for k in order.tolist()], rotation=45 if crowded else 0)
    axes.set(xlabel="feature")
    figure.suptitle(title)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label=f"integrated gradients\n{meaning}", pad=0.02)
