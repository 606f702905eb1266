"""What the augmentation makes of the pictures, to look at in TensorBoard."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.publishing import publish
from gradloop.callbacks.tracker import Tracker
from gradloop.data.augmentation.augmentation import Augmentation
from gradloop.data.batches import epoch_order
from gradloop.data.pictures.picture_data import PictureData
from gradloop.drawing.figures import new_figure, picture_grid, style


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


def draw_augmented(data: PictureData, *, count: int) -> Any:
    """Return a figure with the first `count` pictures of the first epoch as they are and as they are trained on."""
    transform, split = data.train_transform(), data.splits["train"]
    count = min(count, len(split))
    order = epoch_order(len(split), seed=data.seed, epoch=0, shuffle=data.shuffle, weights=data.sample_weights())
    rows, positions = order[:count].to(split.inputs.device), torch.arange(count)
    before, labels = split.inputs[rows].cpu().float() / 255, split.targets[rows]
    after, mixed = transform.gather(split.inputs, rows, labels, epoch=0, positions=positions)
    after = transform.normalize.undo(after).cpu()
    names = data.class_names or tuple(str(number) for number in range(data.num_outputs))
    columns = max(1, round(count**0.5))
    figure = new_figure(2 * 1.25 * columns + 0.3, 1.25 * -(-count // columns) + 0.4)
    left, right = figure.subplots(1, 2)
    picture_grid(left, before, columns=columns, labels=[names[label] for label in labels.tolist()])
    said, squares = [_label(target, names) for target in mixed.cpu()], blanked(transform, 0, positions)
    picture_grid(right, after, columns=columns, labels=said, squares=squares)
    left.set_title("before")
    right.set_title("after (epoch 1)")
    return figure


def blanked(transform: Any, epoch: int, positions: Tensor) -> list[list[tuple[int, int, int]]]:
    """Return the squares that a batch transform blanks in the pictures at these positions; [] where it has none."""
    inner = getattr(transform, "inner", transform)
    return inner.blanked(epoch, positions) if isinstance(inner, Augmentation) else []


def _label(target: Tensor, names: tuple[str, ...]) -> str:
    """A class name, or the shares of a mixed label: 'cat 70 % + dog'."""
    if target.ndim == 0:
        return names[int(target)]
    shares, classes = target.topk(2)
    if shares[1] < 0.005:
        return names[int(classes[0])]
    return f"{names[int(classes[0])]} {100 * float(shares[0]):.0f} %\n+ {names[int(classes[1])]}"
