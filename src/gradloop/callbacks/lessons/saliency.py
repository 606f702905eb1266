"""Lesson 6: which pixels made it say that."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.lessons.page import show_lesson
from gradloop.data.batches import Batches
from gradloop.drawing import BLACK, BLUE, GREY, RED, WRONG
from gradloop.drawing.figures import bare, new_figure, show_picture, style

POINTS = 9  # of the curve: numbers of pixels that are blanked
MOST = 1000  # test pictures


class Saliency(Hook):
    """Draws |∂ score / ∂ pixel| of some test pictures, and what blanking the pixels it names does to the answer."""

    @style()
    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        data: Any = trainer.datamodule
        batches = Batches(data.splits["test"], batch_size=MOST, transform=data.eval_transform())
        pictures, targets = next(iter(batches))
        pictures, targets = pictures.to(module.device), targets.to(module.device)
        module.eval()
        with torch.no_grad():
            answers = module(pictures).argmax(1)
        maps = saliency(module, pictures, answers)  # of what it says: who knows the truth needs no network
        figure = new_figure(13, 4)
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.5, 1])[0]
        low, high = float(pictures.min()), float(pictures.max())
        names = data.class_names
        for column, row in zip(left.subplots(2, 5).T, range(5), strict=True):
            color = BLACK if answers[row] == targets[row] else WRONG
            title = f"says {names[answers[row]]}, is {names[targets[row]]}"
            show_picture(column[0], pictures[row].cpu(), low=low, high=high, title=title, color=color)
            column[1].imshow(maps[row].cpu().numpy(), cmap="inferno")
            bare(column[1])
        left.suptitle("test pictures; below: |∂ score of the class it says / ∂ pixel| (bright: large)")
        axes = right.subplots()
        counts, most, least = blanking(module, pictures, targets, maps)
        axes.plot(counts, most, "o-", color=RED, label="most salient pixels first")
        axes.plot(counts, least, "s--", color=BLUE, label="least salient pixels first")
        axes.axhline(1 / len(names), color=GREY, ls=":", label="guessing")
        axes.set(
            xlabel="pixels blanked", ylabel="accuracy", ylim=(0, 1.02), title="What is lost without those pixels"
        )
        axes.legend()
        show_lesson(figure, trainer, self.run, folder)


def saliency(module: Any, pictures: Tensor, classes: Tensor) -> Tensor:
    """Return `max over channels |∂ score_class / ∂ pixel|` (arXiv 1312.6034): [B, C, H, W] -> [B, H, W]."""
    pictures = pictures.clone().requires_grad_()
    scores = module(pictures).gather(1, classes[:, None])
    (gradient,) = torch.autograd.grad(scores.sum(), pictures)
    return gradient.abs().amax(1)


@torch.no_grad()
def blanking(
    module: Any, pictures: Tensor, targets: Tensor, maps: Tensor
) -> tuple[list[int], list[float], list[float]]:
    """Return numbers of pixels, and the accuracy without so many of the most and of the least salient ones.

    A blanked pixel takes the mean over all pictures at its place.
    """
    order = maps.flatten(1).argsort(1, descending=True)
    mean = pictures.mean(0).flatten(1)  # [C, H*W]
    counts = torch.linspace(0, order.shape[1] // 2, POINTS).long().tolist()

    def accuracy(blanked: Tensor) -> float:
        mask = torch.zeros_like(maps.flatten(1), dtype=torch.bool).scatter_(1, blanked, True)[:, None]
        changed = torch.where(mask, mean, pictures.flatten(2)).view_as(pictures)
        return float((module(changed).argmax(1) == targets).float().mean())

    most = [accuracy(order[:, :count]) for count in counts]
    least = [accuracy(order.flip(1)[:, :count]) for count in counts]
    return counts, most, least
