"""Lesson 4: what augmentation does to the pictures."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.callbacks.augmented_grid import blanked
from gradloop.callbacks.hook import Hook
from gradloop.callbacks.lessons.page import show_lesson
from gradloop.data.batches import Batches
from gradloop.drawing.figures import new_figure, picture_grid, style


class BeforeAndAfter(Hook):
    """Draws some training pictures as they are, and as the network gets them in the first epochs.

    pictures, epochs: how many of each, the columns and rows of the grid.
    """

    def __init__(self, *, pictures: int, epochs: int) -> None:
        self.pictures = pictures
        self.epochs = epochs

    @style()
    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        data: Any = trainer.datamodule
        pictures = [seen(data, self.pictures, epoch=0, training=False)]
        count = len(pictures[0])
        positions = torch.arange(count)
        squares: list[list[tuple[int, int, int]]] = [[] for _ in positions]
        for epoch in range(self.epochs):
            pictures.append(seen(data, count, epoch=epoch, training=True))
            squares += blanked(data.train_transform(), epoch, positions) or [[] for _ in positions]
        low, high = float(pictures[0].min()), float(pictures[0].max())
        figure = new_figure(1.15 * count + 1.2, 1.2 * len(pictures) + 0.6)
        shown = (torch.cat(pictures) - low) / (high - low or 1.0)
        rows = ["as they are", *(f"in epoch {epoch + 1}" for epoch in range(self.epochs))]
        picture_grid(figure.subplots(), shown, columns=count, rows=rows, squares=squares)
        outlined = "; outlined: what Cutout blanks" if any(squares) else ""
        figure.suptitle(f"Training pictures before and after augmentation{outlined}")
        show_lesson(figure, trainer, self.run, folder)


def seen(data: Any, count: int, *, epoch: int, training: bool) -> Tensor:
    """Return the first `count` training pictures as the network sees them: float32 [count, C, H, W]."""
    transform = data.train_transform() if training else data.eval_transform()
    batches = Batches(data.splits["train"], batch_size=count, transform=transform)
    return next(batches.rest(epoch, 0))[0].cpu()
