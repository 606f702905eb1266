"""Transforms of one's own, torchvision's v2 say, picture by picture, ahead of gradloop's."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gradloop.data.batches import BatchTransform
from gradloop.data.pictures.layout import is_channels_last, memory_format, take
from gradloop.errors import ConfigError, said
from gradloop.seeds import stream_seed


class OwnTransforms(BatchTransform):
    """Call `transforms` in turn on each picture, uint8 [C, H, W], then `inner` on the batch of them.

    They give bytes, or floats from 0 to 1. What they draw from torch's or Python's global generator depends on
    nothing but (seed, epoch, position in the epoch's order): batch size, workers and resumption change nothing.
    """

    def __init__(self, transforms: Sequence[Callable[[Tensor], Tensor]], inner: Any, *, seed: int) -> None:
        self.transforms, self.inner, self.seed = transforms, inner, seed
        self.normalize = getattr(inner, "normalize", inner)

    def __call__(
        self, inputs: Tensor, targets: Tensor, *, epoch: int, positions: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        before, random_before = torch.get_rng_state(), random.getstate()
        pictures = []
        for picture, position in zip(inputs, positions.tolist(), strict=True):
            seed = stream_seed(self.seed, "transforms", epoch, position)
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            pictures.append(self.apply(picture))
        torch.set_rng_state(before)
        random.setstate(random_before)
        layout = memory_format(is_channels_last(inputs))
        return self.inner(
            torch.stack(pictures).contiguous(memory_format=layout),
            targets,
            epoch=epoch,
            positions=positions,
            rows=rows,
        )

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
    state = torch.get_rng_state()
    try:
        result = OwnTransforms(transforms, None, seed=0).apply(torch.full(shape, 128, dtype=torch.uint8))
    except Exception as error:  # a transform raises what it likes
        raise ConfigError(f"{key}: can't be applied to a picture of {shape}: {said(error)}") from error
    finally:
        torch.set_rng_state(state)
    if not isinstance(result, Tensor) or result.ndim != 3 or result.dtype not in (torch.uint8, torch.float32):
        what = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise ConfigError(f"{key}: gives {what}; expected a picture [C, H, W] of uint8 or float32 from 0 to 1")
    return tuple(result.shape)
