"""The augmentation of a whole batch, as a pure function of (seed, epoch, position)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradloop.data.augmentation.color_jitter import ColorJitter, Factors
from gradloop.data.augmentation.cutout import Cutout, Squares
from gradloop.data.augmentation.geometry import Crops, HorizontalFlip, RandomCrop, Rotation, crop
from gradloop.data.augmentation.mix import Mix, Mixes
from gradloop.data.augmentation.normalize import Normalize
from gradloop.data.batches import BatchTransform
from gradloop.data.knobs import build
from gradloop.data.pictures.layout import inside, pad, take
from gradloop.seeds import stream_seed


class Plan(NamedTuple):
    """Every random choice of one epoch, a row for each position (None: that transform is off)."""

    size: tuple[int, int]
    crops: Crops | None
    mirrored: Tensor | None
    angles: Tensor | None
    factors: Factors | None
    squares: Squares | None
    mixes: Mixes | None


class Augmentation(BatchTransform):
    """Crop, flip, rotate, jitter, normalise, Cutout and mix, in this order, whole batches at a time.

    Every picture has its own draws, and they depend on nothing but (seed, epoch, position in the epoch's
    order): each transform has a stream of uniform numbers [N, k] of its own, so that switching one on leaves
    the others' draws as they were. Batch size, workers and resumption change nothing.

    The knobs are those of `conf/augmentation/none.yaml`. mean, std: one a channel, for values from 0 to 1.
    num_samples: positions in an epoch. num_classes: the width of the labels that MixUp and CutMix make.
    padded: the whole of the data with its margin already there, if memory allows it; `gather` is fastest
    then, and takes `inside(padded, padding)` for the inputs.
    """

    def __init__(
        self,
        *,
        random_crop: Mapping[str, Any],
        horizontal_flip: Mapping[str, Any],
        rotation: Mapping[str, Any],
        color_jitter: Mapping[str, Any],
        cutout: Mapping[str, Any],
        mixup: Mapping[str, Any],
        cutmix: Mapping[str, Any],
        seed: int,
        num_samples: int,
        num_classes: int,
        input_shape: tuple[int, ...],
        mean: Sequence[float],
        std: Sequence[float],
        padded: Tensor | None = None,
    ) -> None:
        self.random_crop = build("augmentation.random_crop", RandomCrop, random_crop)
        self.horizontal_flip = build("augmentation.horizontal_flip", HorizontalFlip, horizontal_flip)
        self.rotation = build("augmentation.rotation", Rotation, rotation)
        self.color_jitter = build("augmentation.color_jitter", ColorJitter, color_jitter)
        self.cutout = build("augmentation.cutout", Cutout, cutout)
        self.mix = Mix(
            mixup_alpha=build("augmentation.mixup", lambda alpha: alpha, mixup),
            cutmix_alpha=build("augmentation.cutmix", lambda alpha: alpha, cutmix),
        )
        self.normalize = Normalize(mean=mean, std=std)
        self.seed, self.num_samples, self.num_classes = seed, num_samples, num_classes
        self.input_shape = tuple(input_shape)
        height, width = self.input_shape[-2:]
        self.random_crop.check(height, width)
        first = self.random_crop.output_size(height, width, epoch=0)
        later = self.random_crop.output_size(height, width, epoch=sys.maxsize)
        self.cutout.check(*map(min, first, later))
        self.padded = padded
        self._plan: tuple[int, Plan] | None = None

    @classmethod
    def of(cls, data: Any, **others: Any) -> Augmentation:
        """Return the augmentation of a data module: by its knobs, seed and facts, and by `others`."""
        facts = {"seed": data.seed, "num_classes": data.num_outputs, "input_shape": data.input_shape}
        return build("augmentation", cls, {**data.augmentation, **facts, **others})

    @property
    def active(self) -> bool:
        """Whether anything is switched on."""
        first = (self.random_crop, self.horizontal_flip, self.rotation)
        return any(each.active for each in (*first, self.color_jitter, self.cutout, self.mix))

    def __call__(
        self, inputs: Tensor, targets: Tensor, *, epoch: int, positions: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the network's view of a batch: float32 [B, C, h, w] and its targets.

        inputs: uint8 [B, C, H, W]; positions: int64 [B]; rows: the pictures' rows in the data, by which
        alternating flips know them again in the next epoch (without them, positions serve).
        """
        plan = self.plan(epoch)
        if plan.crops is None:
            pictures = inputs.clone() if plan.mirrored is not None else inputs
        else:
            whole = pad(inputs, self.random_crop.padding, self.random_crop.mode)
            pictures = self._crop(plan, whole, torch.arange(len(inputs), device=inputs.device), positions)
        return self._finish(plan, pictures, targets, positions, rows)

    def gather(
        self, inputs: Tensor, rows: Tensor, targets: Tensor, *, epoch: int, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take the given rows of the data and augment them: as `__call__` on `inputs[rows]`, in fewer passes.

        inputs: uint8 [N, C, H, W]; rows, positions: int64 [B]; targets: those of the rows.
        """
        plan = self.plan(epoch)
        if plan.crops is None:
            return self._finish(plan, take(inputs, rows), targets, positions, rows)
        if self.padded is not None and inputs.data_ptr() == inside(self.padded, self.random_crop.padding).data_ptr():
            return self._finish(plan, self._crop(plan, self.padded, rows, positions), targets, positions, rows)
        return self(take(inputs, rows), targets, epoch=epoch, positions=positions, rows=rows)

    def plan(self, epoch: int) -> Plan:
        """Return every choice of an epoch; the last epoch's are kept."""
        if self._plan is None or self._plan[0] != epoch:
            self._plan = (epoch, self._draw(epoch))
        return self._plan[1]

    def blanked(self, epoch: int, positions: Tensor) -> list[list[tuple[int, int, int]]]:
        """Return the squares that Cutout blanks in these pictures: (first row, first column, side), a list each."""
        plan = self.plan(epoch)
        if plan.squares is None:
            return [[] for _ in positions]
        side = self.cutout.side_for(*plan.size)
        chosen, top, left = (column[positions].tolist() for column in plan.squares)
        return [
            [(row, column, side) for row, column in zip(rows, columns, strict=True)] if has else []
            for has, rows, columns in zip(chosen, top, left, strict=True)
        ]

    def _draw(self, epoch: int) -> Plan:
        height, width = self.input_shape[-2:]
        size = self.random_crop.output_size(height, width, epoch)

        def uniform(name: str, transform: Any, stream_epoch: int = epoch) -> Tensor:
            generator = torch.Generator().manual_seed(stream_seed(self.seed, "augmentation", name, stream_epoch))
            return torch.rand(self.num_samples, transform.draws, generator=generator)

        crops = mirrored = angles = factors = squares = mixes = None
        if self.random_crop.active:
            crops = self.random_crop.plan(uniform("random_crop", self.random_crop), height, width, epoch)
        if (flip := self.horizontal_flip).active:
            mirrored = flip.plan(uniform("horizontal_flip", flip, 0 if flip.alternating else epoch), epoch)
        if self.rotation.active:
            angles = self.rotation.plan(uniform("rotation", self.rotation))
        if self.color_jitter.active:
            factors = self.color_jitter.plan(uniform("color_jitter", self.color_jitter))
        if self.cutout.active:
            squares = self.cutout.plan(uniform("cutout", self.cutout), *size)
        if self.mix.active:
            mixes = self.mix.plan(uniform("mix", self.mix))
        return Plan(size, crops, mirrored, angles, factors, squares, mixes)

    def _crop(self, plan: Plan, padded: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        assert plan.crops is not None
        top, left = (places[positions].to(rows.device, non_blocking=True) for places in plan.crops)
        return crop(padded, rows, top, left, plan.size)

    def _finish(
        self, plan: Plan, pictures: Tensor, targets: Tensor, positions: Tensor, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What follows the crop; pictures: uint8 [B, C, h, w] that may be written to."""
        device = pictures.device

        def of(values: Any, index: Tensor = positions) -> Any:
            """The choices of these positions, on the pictures' device."""
            if isinstance(values, Tensor):
                return values[index.to(values.device)].to(device, non_blocking=True)
            return type(values)(*(of(column, index) for column in values))

        if plan.mirrored is not None:
            known_by = rows if rows is not None and self.horizontal_flip.alternating else positions
            pictures = self.horizontal_flip.apply(pictures, of(plan.mirrored, known_by))
        if plan.angles is None and plan.factors is None:
            floats = self.normalize.of_bytes(pictures)
        else:
            floats = pictures.float().div_(255)
            if plan.angles is not None:
                floats = self.rotation.apply(floats, of(plan.angles))
            if plan.factors is not None:
                floats = self.color_jitter.apply(floats, of(plan.factors))
            floats = self.normalize.of_unit_range(floats)
        if plan.squares is not None:
            floats = self.cutout.apply(floats, of(plan.squares))
        if plan.mixes is not None:
            floats, targets = self.mix.apply(floats, targets, of(plan.mixes), self.num_classes)
        return floats, targets
