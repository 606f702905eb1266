"""Pages on the inputs that an answer hangs on: maps over pictures, bars and rows for the columns of a table."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradloop.drawing import BLACK, BLUE, GREY, RED, RIGHT, WRONG
from gradloop.drawing.figures import bare, draw_page, name_ticks, row_title, show_picture
from gradloop.drawing.labels import shorten_all
from gradloop.reports.attributions import integrated_gradients, occlusion, saliency
from gradloop.training.supervised import Supervised

MOST_FEATURES = 20  # bars that stay readable on one page
# name of a map -> (colours, is it signed, what the ends of its scale mean)
MAPS = {
    "saliency": ("inferno", False, ("0", "strongest"), "saliency\n|∂ score / ∂ pixel|"),
    "integrated gradients": ("RdBu_r", True, ("against", "for"), "integrated\ngradients"),
    "occlusion": ("RdBu_r", True, ("against", "for"), "occlusion"),
}


@dataclass(frozen=True)
class Caption:
    """The lines above a picture, and whether they tell of a right answer (None: nobody knows)."""

    text: str
    right: bool | None = None


def as_seen(pictures: Tensor, preprocessing: dict[str, Any]) -> Tensor:
    """Undo the normalisation: pictures [B, C, H, W] with values from 0 to 1, to look at."""
    if preprocessing.get("mean"):
        mean, std = (torch.tensor(preprocessing[key])[:, None, None] for key in ("mean", "std"))
        return (pictures * std + mean).clamp(0, 1)
    if pictures.min() >= 0 and pictures.max() <= 1:
        return pictures
    low, high = (f(pictures.flatten(1), 1)[:, None, None, None] for f in (torch.amin, torch.amax))
    return (pictures - low) / (high - low).clamp(min=1e-12)


def flat_map(name: str, attribution: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H, W], scaled to 1: the largest channel of what has no sign, the sum of what has one."""
    flat = attribution.sum(1) if MAPS[name][1] else attribution.amax(1)
    # a single extreme pixel must not turn the rest dark
    top = flat.abs().flatten(1).quantile(0.995, dim=1)[:, None, None]
    return (flat / top.clamp(min=1e-12)).clamp(-1, 1)


def maps_page(
    figure: Any, title: str, pictures: Tensor, captions: list[Caption], maps: dict[str, Tensor], note: str
) -> None:
    """One column a picture (values 0 to 1, [B, C, H, W]), its maps [B, C, H, W] below it."""
    figure.get_layout_engine().set(h_pad=0.04, hspace=0.02)  # leave the height to the pictures
    grid = figure.subplots(2 + len(maps), len(pictures) + 1, width_ratios=[1] * len(pictures) + [0.1], squeeze=False)
    for axes, picture, caption in zip(grid[0], pictures, captions, strict=False):
        color = {True: RIGHT, False: WRONG, None: BLACK}[caption.right]
        show_picture(axes, picture, title=caption.text, color=color)
    row_title(grid[0][0], "picture")
    grid[0][-1].set_axis_off()
    for row, (name, attribution) in zip(grid[1:-1], maps.items(), strict=True):
        colors, signed, ends, label = MAPS[name]
        for axes, values in zip(row, flat_map(name, attribution).numpy(), strict=False):
            image = axes.imshow(values, cmap=colors, vmin=-1 if signed else 0, vmax=1)
            bare(axes)
        row_title(row[0], label)
        bar = figure.colorbar(image, cax=row[-1], ticks=[-1 if signed else 0, 1])
        bar.ax.set_yticklabels(ends, fontsize=8)
    name, attribution = next((n, a) for n, a in maps.items() if MAPS[n][1])
    for axes, picture, values in zip(grid[-1], pictures, flat_map(name, attribution).numpy(), strict=False):
        show_picture(axes, 0.35 + 0.65 * picture.mean(0, keepdim=True))  # pale, so that the colours stand out
        axes.imshow(values, cmap=MAPS[name][0], vmin=-1, vmax=1, alpha=abs(values) ** 0.6)
    row_title(grid[-1][0], f"{name}\nover the picture".replace(" gradients", "\ngradients"))
    grid[-1][-1].set_axis_off()
    figure.suptitle(title)
    figure.supxlabel(note, fontsize=8, color=GREY)


def explained_pictures(
    module: Supervised, inputs: Tensor, columns: Tensor, captions: list[Caption], title: str, knobs: dict[str, Any]
) -> bytes:
    """Return a page of pictures and their maps. inputs: as the network sees them, [B, C, H, W].

    columns: int64 [B], the scores to explain.
    """
    maps = {
        "saliency": saliency(module, inputs, columns).cpu(),
        "integrated gradients": integrated_gradients(module, inputs, columns, steps=knobs["steps"]).cpu(),
        "occlusion": occlusion(module, inputs, columns, side=knobs["side"]).cpu(),
    }
    pictures = as_seen(inputs.cpu(), module.recipe["preprocessing"])
    whose = "actual" if knobs["target"] == "actual" and captions[0].right is not None else "predicted"
    score = f"the score of the {whose} class" if module.recipe["facts"]["task"] != "regression" else "the value"
    note = f"Maps explain {score}; each is scaled by its own 99.5 % quantile, and what is above has the end's colour."
    return draw_page(
        maps_page, title, pictures, captions, maps, note, width=max(len(inputs), 4) * 1.01 + 1.5, height=5.4
    )


def bars_page(
    figure: Any, title: str, xlabel: str, names: list[str], values: Tensor, spread: Tensor | None, note: str
) -> None:
    """One bar a feature, the largest on top; `spread` [F] draws whiskers."""
    order = values.argsort(descending=True, stable=True)[:MOST_FEATURES]
    axes = figure.subplots()
    places = range(len(order))[::-1]
    colors = [BLUE if value >= 0 else RED for value in values[order].tolist()]
    whiskers = {} if spread is None else {"xerr": spread[order].numpy(), "error_kw": {"capsize": 3}}
    axes.barh(places, values[order].numpy(), color=colors, height=0.7, **whiskers)
    axes.set_yticks(places, shorten_all([names[k] for k in order.tolist()], 22))
    axes.axvline(0, color=BLACK, lw=1)
    if len(values) > len(order):
        title += f" (the largest {len(order)} of {len(values)})"
    axes.set(xlabel=xlabel, ylabel="feature")
    figure.suptitle(title)
    axes.margins(y=0.02)
    axes.grid(visible=False, axis="y")
    figure.supxlabel(note, fontsize=8, color=GREY)


def rows_page(
    figure: Any, title: str, captions: list[str], names: list[str], attributions: Tensor, meaning: str
) -> None:
    """One row a sample, one column a feature: red raises the explained score, blue lowers it. [N, F]."""
    order = attributions.abs().mean(0).argsort(descending=True, stable=True)[:MOST_FEATURES].sort().values
    shown = attributions[:, order]
    top = float(shown.abs().max()) or 1.0
    axes = figure.subplots()
    image = axes.imshow(shown.numpy(), cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
    axes.set_yticks(range(len(captions)), captions, fontsize=8)
    name_ticks(axes, range(len(order)), shorten_all([names[k] for k in order.tolist()]))
    axes.set(xlabel="feature")
    if attributions.shape[1] > len(order):
        title += f"\n(the largest {len(order)} of {attributions.shape[1]} features)"
    figure.suptitle(title)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    figure.colorbar(image, label=f"integrated gradients\n{meaning}", pad=0.02)
