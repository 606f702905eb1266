"""What the augmentation makes of the pictures, to look at in TensorBoard."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.tracker import Tracker
from gradloop.data.augmentation.augmentation import Augmentation
from gradloop.data.batches import epoch_order
from gradloop.data.pictures.picture_data import PictureData
from gradloop.drawing.figures import new_figure, publish, style


class AugmentedGrid(Hook):
    """Shows the first pictures of the first epoch before and after augmentation, with their labels.

    count: pictures shown. Data that are no pictures are passed over.
    """

    any_module = True

    def __init__(self, *, count: int) -> None:
        self.count = count

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data = trainer.datamodule
        logged = any(isinstance(logger, TensorBoardLogger | Tracker) for logger in trainer.loggers)
        if (
            self.loop.step == 0
            and trainer.is_global_zero
            and logged
            and isinstance(data, PictureData)
            and data.task == "multiclass"
        ):
            with style():
                publish(draw_augmented(data, count=self.count), trainer, None, "augmentation")


def draw_augmented(data: PictureData, *, count: int, epoch: int = 0) -> Any:
    """Return a figure with the first `count` pictures of an epoch as they are and as they are trained on."""
    transform, split = data.train_transform(), data.splits["train"]
    assert isinstance(transform, Augmentation)
    count = min(count, len(split))
    order = epoch_order(len(split), seed=data.seed, epoch=epoch, shuffle=data.shuffle)
    rows = order[:count].to(split.inputs.device)
    before, labels = split.inputs[rows].cpu().float() / 255, split.targets[rows]
    after, mixed = transform.gather(split.inputs, rows, labels, epoch=epoch, positions=torch.arange(count))
    after = transform.normalize.undo(after).cpu()
    names = data.class_names or tuple(str(number) for number in range(data.num_outputs))
    columns = max(1, round(count**0.5))
    lines = -(-count // columns)
    figure = new_figure(2 * 1.25 * columns + 0.3, 1.25 * lines + 0.4)
    left, right = figure.subplots(1, 2)
    _draw_grid(left, "before", before, [names[label] for label in labels.tolist()], columns)
    _draw_grid(right, f"after (epoch {epoch + 1})", after, [_label(target, names) for target in mixed.cpu()], columns)
    return figure


def _label(target: Tensor, names: tuple[str, ...]) -> str:
    """A class name, or the shares of a mixed label: 'cat 70 % + dog'."""
    if target.ndim == 0:
        return names[int(target)]
    shares, classes = target.topk(2)
    if shares[1] < 0.005:
        return names[int(classes[0])]
    return f"{names[int(classes[0])]} {100 * float(shares[0]):.0f} %\n+ {names[int(classes[1])]}"


def _draw_grid(axes: Any, title: str, pictures: Tensor, labels: list[str], columns: int) -> None:
    from torchvision.utils import make_grid

    height, width = pictures.shape[2:]
    gap = max(3, round(0.45 * height))  # room for a label of two lines below each picture
    grid = make_grid(pictures, nrow=columns, padding=gap, pad_value=1.0)
    axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
    for index, label in enumerate(labels):
        row, column = divmod(index, columns)
        across = gap + column * (width + gap) + width / 2
        down = (row + 1) * (height + gap)
        axes.text(across, down + 0.06 * height, label, ha="center", va="top", fontsize=7, linespacing=0.95)
    _, bottom, across = grid.shape
    axes.set(xlim=(gap / 2, across - gap / 2), ylim=(bottom + gap / 2, gap * 0.8))
    axes.set_title(title)
    axes.set_axis_off()
