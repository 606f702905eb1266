"""Pages of pictures: what the network looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradloop.reports.attributions import integrated_gradients, occlusion, saliency
from gradloop.reports.page import GREEN, RED, draw_page
from gradloop.training.supervised import Supervised

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
    figure.get_layout_engine().set(h_pad=0.06, hspace=0.02)  # leave the height to the pictures
    grid = figure.subplots(1 + len(maps), len(pictures) + 1, width_ratios=[1] * len(pictures) + [0.1], squeeze=False)
    for axes, picture, caption in zip(grid[0], pictures, captions, strict=False):
        show(axes, picture)
        color = {True: GREEN, False: RED, None: "black"}[caption.right]
        axes.set_title(caption.text, fontsize=14, color=color)
    grid[0][0].set_ylabel("picture", rotation=0, ha="right", va="center", fontsize=14)
    grid[0][-1].set_axis_off()
    for row, (name, attribution) in zip(grid[1:], maps.items(), strict=True):
        colors, signed, ends, label = MAPS[name]
        for axes, values in zip(row, flat_map(name, attribution).numpy(), strict=False):
            image = axes.imshow(values, cmap=colors, vmin=-1 if signed else 0, vmax=1)
            bare(axes)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=14)
        bar = figure.colorbar(image, cax=row[-1], ticks=[-1 if signed else 0, 1])
        bar.ax.set_yticklabels(ends, fontsize=13)
    figure.suptitle(title)
    figure.supxlabel(note, fontsize=13, color="#555555")


def show(axes: Any, picture: Tensor) -> None:
    """Draw a picture [C, H, W] with values from 0 to 1."""
    if len(picture) == 1:
        axes.imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(picture[:3].permute(1, 2, 0).numpy())
    bare(axes)


def bare(axes: Any) -> None:
    """Take ticks and frame away: a picture has no scale."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def explained_pictures(
    module: Supervised,
    inputs: Tensor,
    columns: Tensor,
    captions: list[Caption],
    title: str,
    knobs: dict[str, Any],
    methods: tuple[str, ...] = tuple(MAPS),
) -> bytes:
    """Return a page of pictures and the maps of the named methods. inputs: as the network sees them, [B, C, H, W].

    columns: int64 [B], the scores to explain.
    """
    compute: dict[str, Callable[[], Tensor]] = {
        "saliency": lambda: saliency(module, inputs, columns),
        "integrated gradients": lambda: integrated_gradients(module, inputs, columns, steps=knobs["steps"]),
        "occlusion": lambda: occlusion(module, inputs, columns, side=knobs["side"]),
    }
    maps = {name: compute[name]().cpu() for name in methods}
    pictures = as_seen(inputs.cpu(), module.recipe["preprocessing"])
    whose = "actual" if knobs["target"] == "actual" and captions[0].right is not None else "predicted"
    score = f"the score of the {whose} class" if module.recipe["facts"]["task"] != "regression" else "the value"
    note = f"Maps explain {score}; each is scaled by its own largest value."
    columns_wide = max(len(inputs), 4)
    return draw_page(maps_page, title, pictures, captions, maps, note, width=columns_wide * 1.62 + 2.4)
