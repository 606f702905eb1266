"""Small pictures and augmentations for the tests of this folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradloop.data.augmentation.augmentation import Augmentation
from gradloop.data.pictures.layout import memory_format

OFF: dict[str, dict[str, Any]] = {
    "random_crop": {"padding": 0, "mode": "reflect", "size": None, "size_epochs": None},
    "horizontal_flip": {"probability": 0.0, "alternating": False},
    "rotation": {"degrees": 0.0},
    "color_jitter": {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
    "cutout": {
        "probability": 0.0,
        "side": None,
        "fraction": 0.25,
        "count": 1,
        "fill": 0.0,
        "placement": "inside",
    },
    "mixup": {"alpha": 0.0},
    "cutmix": {"alpha": 0.0},
}
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def knobs(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the full set of knobs with some changed."""
    return {name: {**values, **changes.get(name, {})} for name, values in OFF.items()}


def pictures(
    count: int = 24, channels: int = 3, height: int = 12, width: int = 16, channels_last: bool = True
) -> Tensor:
    """Return random uint8 pictures [N, C, H, W]."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(256, (count, channels, height, width), generator=generator, dtype=torch.uint8)
    return drawn.contiguous(memory_format=memory_format(channels_last))


def augmentation(
    data: Tensor, *, seed: int = 0, padded: Tensor | None = None, **changes: dict[str, Any]
) -> Augmentation:
    """Return an augmentation for `data` with some knobs changed."""
    channels = data.shape[1]
    return Augmentation(
        **knobs(**changes),
        seed=seed,
        num_samples=len(data),
        num_classes=10,
        input_shape=tuple(data.shape[1:]),
        mean=MEAN[:channels],
        std=STD[:channels],
        padded=padded,
    )


def epoch_of(transform: Augmentation, data: Tensor, *, epoch: int = 0, batch_size: int = 8) -> tuple[Tensor, Tensor]:
    """Return a whole epoch in the order of the rows, made batch by batch through `gather`."""
    targets = torch.arange(len(data)) % 10
    order = torch.arange(len(data))
    parts = [
        transform.gather(data, rows, targets[rows], epoch=epoch, positions=rows) for rows in order.split(batch_size)
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
