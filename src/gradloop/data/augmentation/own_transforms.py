"""Transforms of one's own, torchvision's v2 say, picture by picture, ahead of gradloop's."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from gradloop.data.batches import BatchTransform
from gradloop.data.pictures.layout import is_channels_last, memory_format, take
from gradloop.errors import ConfigError, said
from gradloop.seeds import stream_seed

TRIED = 8  # draws
SHADES = (128, 0, 255)  # of pictures that are tried


class OwnTransforms(BatchTransform):
    """Call `transforms` in turn on each picture, uint8 [C, H, W], then `inner` on the batch of them.

    They give bytes, or floats from 0 to 1. What they draw from torch's, Python's or NumPy's global generator depends
    on nothing but (seed, epoch, position in the epoch's order): batch size, workers and resumption change nothing.
    """

    def __init__(self, transforms: Sequence[Callable[[Tensor], Tensor]], inner: Any, *, seed: int) -> None:
        self.transforms, self.inner, self.seed = transforms, inner, seed
        self.normalize = getattr(inner, "normalize", inner)

    def __call__(
        self, inputs: Tensor, targets: Tensor, *, epoch: int, positions: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        pictures = []
        with isolate_rng(include_cuda=False):
            for picture, position in zip(inputs, positions.tolist(), strict=True):
                seed = stream_seed(self.seed, "transforms", epoch, position)
                torch.default_generator.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed % 2**32)
                pictures.append(self.apply(picture))
        if (other := next((each for each in pictures if each.shape != pictures[0].shape), None)) is not None:
            raise ConfigError(_sizes("data.train_transforms or eval_transforms", pictures[0], other))
        batch = torch.stack(pictures).contiguous(memory_format=memory_format(is_channels_last(inputs)))
        return self.inner(batch, targets, epoch=epoch, positions=positions, rows=rows)

    def gather(
        self, inputs: Tensor, rows: Tensor, targets: Tensor, *, epoch: int, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self(take(inputs, rows), targets, epoch=epoch, positions=positions, rows=rows)

    def apply(self, picture: Tensor) -> Tensor:
        """Return one picture transformed: uint8, or floats from 0 to 255."""
        for transform in self.transforms:
            picture = transform(picture)
        return picture * 255 if isinstance(picture, Tensor) and picture.is_floating_point() else picture


def shape_after(
    key: str, transforms: Sequence[Callable[[Tensor], Tensor]], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the shape of a picture after the transforms; raise `ConfigError` for what is no picture any more."""
    try:
        with torch.random.fork_rng(devices=[]):
            own = OwnTransforms(transforms, None, seed=0)
            tried = [torch.full(shape, shade, dtype=torch.uint8) for shade in SHADES for _ in range(TRIED)]
            result, *others = map(own.apply, tried)
    except Exception as error:  # a transform raises what it likes
        raise ConfigError(f"{key}: can't be applied to a picture of {shape}: {said(error)}") from error
    if not isinstance(result, Tensor) or result.ndim != 3 or result.dtype not in (torch.uint8, torch.float32):
        what = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise ConfigError(f"{key}: gives {what}; expected a picture [C, H, W] of uint8 or float32 from 0 to 1")
    for other in others:
        if other.shape != result.shape:
            raise ConfigError(_sizes(key, result, other))
        low, high = float(other.min()), float(other.max())
        if not -1 <= low <= high <= 256:  # of 255; resizing may round
            found = f"{low / 255:.3g} to {high / 255:.3g}"
            raise ConfigError(f"{key}: gives floats of {found}; expected 0 to 1: gradloop normalises pictures itself")
    return tuple(result.shape)


def _sizes(key: str, one: Tensor, other: Tensor) -> str:
    return f"{key}: gives pictures of {tuple(one.shape)} and of {tuple(other.shape)}; let it end with a Resize, say"
