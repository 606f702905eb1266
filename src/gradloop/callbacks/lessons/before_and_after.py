"""Lesson 4: what augmentation does to the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.data.batches import Batches
from gradloop.drawing.figures import new_figure, publish, row_title, show_picture, style


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
        rows = {"as they are": seen(data, self.pictures, epoch=0, training=False)}
        for epoch in range(self.epochs):
            rows[f"in epoch {epoch + 1}"] = seen(data, self.pictures, epoch=epoch, training=True)
        low, high = float(rows["as they are"].min()), float(rows["as they are"].max())
        figure = new_figure(1.15 * self.pictures + 1.2, 1.2 * len(rows) + 0.5)
        for axes, (label, pictures) in zip(figure.subplots(len(rows), self.pictures), rows.items(), strict=True):
            for place, picture in zip(axes, pictures, strict=True):
                show_picture(place, picture, low=low, high=high)
            row_title(axes[0], label)
        figure.suptitle("Training pictures before and after augmentation")
        publish(figure, trainer, folder / "lesson.png", "lesson")


def seen(data: Any, count: int, *, epoch: int, training: bool) -> Tensor:
    """Return the first `count` training pictures as the network sees them: float32 [count, C, H, W]."""
    transform = data.train_transform() if training else data.eval_transform()
    batches = Batches(data.splits["train"], batch_size=count, transform=transform)
    return next(batches.rest(epoch, 0))[0].cpu()
