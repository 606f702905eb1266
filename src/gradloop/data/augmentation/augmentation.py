"""The augmentation of a whole batch, as a pure function of (seed, epoch, position)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradloop.data.augmentation.color_jitter import ColorJitter
from gradloop.data.augmentation.cutout import Cutout
from gradloop.data.augmentation.geometry import HorizontalFlip, RandomCrop, Rotation, crop
from gradloop.data.augmentation.mix import Mix
from gradloop.data.augmentation.normalize import Normalize
from gradloop.data.batches import BatchTransform
from gradloop.data.knobs import build
from gradloop.data.pictures.layout import inside, pad, take
from gradloop.seeds import stream_seed


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
        names = ("random_crop", "horizontal_flip", "rotation", "color_jitter", "cutout", "mix")
        self.transforms: dict[str, Any] = {name: getattr(self, name) for name in names}
        self.active = any(transform.active for transform in self.transforms.values())
        self.normalize = Normalize(mean=mean, std=std)
        self.seed, self.num_samples, self.num_classes = seed, num_samples, num_classes
        self.input_shape = tuple(input_shape)
        self.random_crop.check(*self.input_shape[-2:])
        self.cutout.check(*map(min, self.size(epoch=0), self.size(epoch=sys.maxsize)))
        self.padded = padded
        self._plan: tuple[int, dict[str, Any]] | None = None

    @classmethod
    def of(cls, data: Any, **others: Any) -> Augmentation:
        """Return the augmentation of a data module: by its knobs, seed and facts, and by `others`."""
        facts = {"seed": data.seed, "num_classes": data.num_outputs, "input_shape": data.input_shape}
        return build("augmentation", cls, {**data.augmentation, **facts, **others})

    def __call__(
        self, inputs: Tensor, targets: Tensor, *, epoch: int, positions: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the network's view of a batch: float32 [B, C, h, w] and its targets.

        inputs: uint8 [B, C, H, W]; positions: int64 [B]; rows: the pictures' rows in the data, by which
        alternating flips know them again in the next epoch (without them, positions serve).
        """
        if self.random_crop.active:
            whole = pad(inputs, self.random_crop.padding, self.random_crop.mode)
            pictures = self._crop(whole, torch.arange(len(inputs), device=inputs.device), epoch, positions)
        else:
            pictures = inputs.clone() if self.horizontal_flip.active else inputs
        return self._finish(pictures, targets, epoch, positions, rows)

    def gather(
        self, inputs: Tensor, rows: Tensor, targets: Tensor, *, epoch: int, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take the given rows of the data and augment them: as `__call__` on `inputs[rows]`, in fewer passes.

        inputs: uint8 [N, C, H, W]; rows, positions: int64 [B]; targets: those of the rows.
        """
        if not self.random_crop.active:
            return self._finish(take(inputs, rows), targets, epoch, positions, rows)
        if self.padded is not None and inputs.data_ptr() == inside(self.padded, self.random_crop.padding).data_ptr():
            return self._finish(self._crop(self.padded, rows, epoch, positions), targets, epoch, positions, rows)
        return self(take(inputs, rows), targets, epoch=epoch, positions=positions, rows=rows)

    def size(self, epoch: int) -> tuple[int, int]:
        """Return the height and width of the pictures of an epoch."""
        height, width = self.input_shape[-2:]
        return self.random_crop.output_size(height, width, epoch)

    def plan(self, epoch: int) -> dict[str, Any]:
        """Return every random choice of an epoch, a row for each position, of the transforms that are on.

        The last epoch's are kept.
        """
        if self._plan is None or self._plan[0] != epoch:
            of_crop, of_cutout = (*self.input_shape[-2:], epoch), self.size(epoch)
            further = {"random_crop": of_crop, "horizontal_flip": (epoch,), "cutout": of_cutout}
            choices = {}
            for name, transform in self.transforms.items():
                if transform.active:
                    drawn = 0 if name == "horizontal_flip" and transform.alternating else epoch
                    generator = torch.Generator().manual_seed(stream_seed(self.seed, "augmentation", name, drawn))
                    uniform = torch.rand(self.num_samples, transform.draws, generator=generator)
                    choices[name] = transform.plan(uniform, *further.get(name, ()))
            self._plan = epoch, choices
        return self._plan[1]

    def blanked(self, epoch: int, positions: Tensor) -> list[list[tuple[int, int, int]]]:
        """Return the squares that Cutout blanks in these pictures: (first row, first column, side), a list each."""
        plan = self.plan(epoch)
        if "cutout" not in plan:
            return [[] for _ in positions]
        side = self.cutout.side_for(*self.size(epoch))
        chosen, top, left = (column[positions].tolist() for column in plan["cutout"])
        return [
            [(row, column, side) for row, column in zip(rows, columns, strict=True)] if has else []
            for has, rows, columns in zip(chosen, top, left, strict=True)
        ]

    def _crop(self, padded: Tensor, rows: Tensor, epoch: int, positions: Tensor) -> Tensor:
        crops = self.plan(epoch)["random_crop"]
        top, left = (places[positions].to(rows.device, non_blocking=True) for places in crops)
        return crop(padded, rows, top, left, self.size(epoch))

    def _finish(
        self, pictures: Tensor, targets: Tensor, epoch: int, positions: Tensor, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What follows the crop; pictures: uint8 [B, C, h, w] that may be written to."""
        plan, device = self.plan(epoch), pictures.device

        def of(values: Any, index: Tensor = positions) -> Any:
            """The choices of these positions, on the pictures' device."""
            if isinstance(values, Tensor):
                return values[index.to(values.device)].to(device, non_blocking=True)
            return type(values)(*(of(column, index) for column in values))

        if "horizontal_flip" in plan:
            known_by = rows if rows is not None and self.horizontal_flip.alternating else positions
            pictures = self.horizontal_flip.apply(pictures, of(plan["horizontal_flip"], known_by))
        if "rotation" in plan or "color_jitter" in plan:
            floats = pictures.float().div_(255)
            if "rotation" in plan:
                floats = self.rotation.apply(floats, of(plan["rotation"]))
            if "color_jitter" in plan:
                floats = self.color_jitter.apply(floats, of(plan["color_jitter"]))
            floats = self.normalize.of_unit_range(floats)
        else:
            floats = self.normalize.of_bytes(pictures)
        if "cutout" in plan:
            floats = self.cutout.apply(floats, of(plan["cutout"]))
        if "mix" in plan:
            floats, targets = self.mix.apply(floats, targets, of(plan["mix"]), self.num_classes)
        return floats, targets
