"""What every picture data set shares: reading, normalisation, augmentation, where the bytes lie."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gradloop.data.augmentation.augmentation import Augmentation
from gradloop.data.augmentation.normalize import Normalize, channel_statistics
from gradloop.data.augmentation.own_transforms import OwnTransforms, shape_after
from gradloop.data.batches import Batches, LoadedBatches, Split
from gradloop.data.data_checks import Task
from gradloop.data.data_module import DataModule
from gradloop.data.knobs import check
from gradloop.data.pictures.picture_store import Part, keep, on_device
from gradloop.data.splitting import class_balanced
from gradloop.errors import ConfigError

SAMPLE = 4096  # training pictures that mean and std are taken from, be they in memory or on disk


class PictureData(DataModule):
    """Pictures in memory as uint8, batches made from them by index, or the same batches from disk.

    A data set implements `parts`. Then, for every one of them:

    augmentation: the knobs of `conf/augmentation/none.yaml`; training only.
    train_transforms, eval_transforms: torchvision's, or your own callables, of one picture uint8 [C, H, W]: what the
        network is trained on and evaluated on, before augmentation and normalisation.
    image_size: pixels to resize to, one number or [height, width]; null keeps the pictures' own size.
    subset: share of every class in every part, for quick trials.
    mean, std: one a channel, for values from 0 to 1; null computes them from (4,096 pictures of) the training part.
    in_memory: `auto` keeps the pictures in memory if they take less than half of what is free.
    device: where they lie: `auto` (the trainer's GPU if it has one and they fit there), `cpu` or `cuda`.
    num_workers: processes that read and augment if the pictures stay on disk; in memory none are needed.
    channels_last: the order of bytes of the batches.
    split_seed: what the parts are drawn from; apart from `seed`, so that all seeds of a sweep share the
    held-out part.
    """

    task: Task = "multiclass"

    def __init__(
        self,
        *,
        augmentation: Mapping[str, Mapping[str, Any]],
        image_size: int | Sequence[int] | None,
        subset: float,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        in_memory: str | bool,
        device: str,
        num_workers: int,
        channels_last: bool,
        split_seed: int,
        train_transforms: Sequence[Callable[[Tensor], Tensor]] = (),  # what runs of before did not have
        eval_transforms: Sequence[Callable[[Tensor], Tensor]] = (),
        **knobs: Any,
    ) -> None:
        super().__init__(**knobs)
        self.augmentation = augmentation
        self.own = {"train": list(train_transforms), "eval": list(eval_transforms)}
        own = {"image_size": image_size, "subset": subset, "mean": mean, "std": std, "in_memory": in_memory}
        check("data", "PictureData", **own, device=device, num_workers=num_workers)
        sides = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.image_size = None if sides is None else (sides[0], sides[1])
        self.subset, self.in_memory, self.device, self.num_workers = subset, in_memory, device, num_workers
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)
        if (mean is None) != (std is None):
            raise ConfigError("data.mean and data.std: give both, or neither to have them computed")
        self.channels_last = channels_last
        self.split_seed = split_seed
        self._padded: Tensor | None = None
        self._is_placed = False
        self._transforms: dict[str, Any] = {}
        self._loaders: dict[str, LoadedBatches] = {}

    stored_shape: tuple[int, int, int]  # of a picture as it is kept, if `input_shape` is not declared

    @cached_property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        shapes = {
            name: shape_after(f"data.{name}_transforms", own, self.stored_shape) if own else self.stored_shape
            for name, own in self.own.items()
        }
        if shapes["train"] != shapes["eval"]:
            raise ConfigError(
                f"data.train_transforms gives pictures of {shapes['train']} and data.eval_transforms of "
                f"{shapes['eval']}; expected one shape"
            )
        return shapes["train"]

    @abstractmethod
    def parts(self) -> dict[str, Part]:
        """Return the parts "train", "val" and "test"; two of them may be the same."""

    def check(self) -> None:
        self._augmentation()  # refuses its knobs
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("data.device=cuda: torch sees no GPU here; expected auto | cpu")

    def load(self) -> dict[str, Split]:
        parts = self.parts()
        if self.subset < 1:
            parts = {
                name: Part(
                    part.source, class_balanced(part.source.targets, part.rows, self.subset, seed=self.split_seed)
                )
                for name, part in parts.items()
            }
        crop = self._augmentation().random_crop
        ahead = None if self.own["train"] else crop  # a margin is of pictures that are cropped as they are kept
        inputs, self._padded = keep(parts, in_memory=self.in_memory, crop=ahead, channels_last=self.channels_last)
        mean, std = self.mean, self.std
        if mean is None or std is None:
            train = inputs["train"]
            rows = torch.linspace(0, len(train) - 1, min(SAMPLE, len(train)), dtype=torch.float64).long()
            _, *shape = train[rows[:1]].shape
            some = max(1, 2**24 // math.prod(shape))  # pictures at once
            self.mean, self.std = channel_statistics((train[chunk] for chunk in rows.split(some)), shape[0])
        for key, given, asked in (("mean", self.mean, mean), ("std", self.std, std)):
            assert given is not None
            if len(given) == (channels := self.input_shape[0]):
                continue
            if asked is None:
                was = f"{len(given)} channel{'s' * (len(given) > 1)}, and the transforms give {channels}"
                raise ConfigError(f"data.{key}=null: the pictures have {was}; give data.mean and data.std")
            raise ConfigError(f"data.{key}={list(given)}: expected {channels} numbers, one a channel")
        return {name: Split(inputs[name], part.targets, part.names) for name, part in parts.items()}

    def _place(self) -> None:
        """Move pictures in memory to the GPU that trains on them, as soon as that is known."""
        if self._is_placed or self.trainer is None or not isinstance(self.splits["train"].inputs, Tensor):
            return
        self._is_placed = True
        device = self.trainer.strategy.root_device
        if device.type != "cuda" or self.device == "cpu":
            return
        force = self.device == "cuda"
        self.splits, self._padded = on_device(self.splits, self._padded, device=device, force=force)
        self._transforms.clear()

    def _augmentation(self, *, num_samples: int = 1) -> Augmentation:
        mean, std = self.mean or (0.5,), self.std or (1.0,)  # nothing is normalised before they are known
        return Augmentation.of(self, num_samples=num_samples, mean=mean, std=std, padded=self._padded)

    def train_transform(self) -> Augmentation | OwnTransforms:
        if "train" not in self._transforms:
            augmentation, own = self._augmentation(num_samples=len(self.splits["train"])), self.own["train"]
            self._transforms["train"] = OwnTransforms(own, augmentation, seed=self.seed) if own else augmentation
        return self._transforms["train"]

    def eval_transform(self) -> Normalize | OwnTransforms:
        if "eval" not in self._transforms:
            normalize, own = self._augmentation().normalize, self.own["eval"]
            self._transforms["eval"] = OwnTransforms(own, normalize, seed=0) if own else normalize
        return self._transforms["eval"]

    def _batches(self, part: str, *, shuffle: bool) -> Any:
        self._place()
        batches: Batches = super()._batches(part, shuffle=shuffle)
        if self.num_workers == 0 or isinstance(batches.split.inputs, Tensor):
            return batches
        known = self._loaders.get(part)
        if known is None or known.dataset.batch_size != batches.batch_size:  # which a run may find for itself
            self._loaders[part] = LoadedBatches(batches, num_workers=self.num_workers)
        return self._loaders[part]

    def take_over(self, preprocessing: dict[str, Any]) -> None:
        """Mean and standard deviation of a sample: of other pictures they would be others."""
        if self.mean is None and preprocessing.get("mean"):
            self.mean, self.std = tuple(preprocessing["mean"]), tuple(preprocessing["std"])

    def preprocessing(self) -> dict[str, Any]:
        return {
            **super().preprocessing(),
            "mean": list(self.mean or ()),
            "std": list(self.std or ()),
            "image_size": list(self.splits["train"].inputs.shape[2:]),
            "scale": "uint8 / 255, then (x - mean) / std",
        }

    def fingerprint(self) -> str:
        """Hash of every part's labels and pictures (of the names, if the pictures stay on disk)."""
        digest = hashlib.blake2b(digest_size=16)
        for name, split in sorted(self.splits.items()):
            digest.update(repr((name, tuple(split.inputs.shape))).encode())
            digest.update(split.targets.cpu().numpy().data)
            if isinstance(split.inputs, Tensor):
                for chunk in split.inputs.split(4096):  # a chunk at a time: the whole is not held twice
                    digest.update(chunk.cpu().contiguous().numpy().data)
            else:
                digest.update("\n".join(split.names or ()).encode(errors="surrogateescape"))
        return digest.hexdigest()
