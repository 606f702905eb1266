"""Batches as rows of tensors in memory: an epoch is a pure function of (seed, epoch)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from gradloop.errors import DataError
from gradloop.seeds import stream_seed


@dataclass(frozen=True)
class Split:
    """One part of the data, whole in memory.

    inputs: float32 [N, ...] for tables, uint8 [N, C, H, W] for pictures, int64 [N, ...] for tokens.
    targets: int64 [N] for multiclass; float32 [N, 1] for binary, [N, L] for L labels, [N, ...] for regression.
    names: one a sample (a file name, say), or None.
    """

    inputs: Tensor
    targets: Tensor
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.targets)


class BatchTransform:
    """What turns the raw rows of a batch into what the network sees (normalisation, augmentation)."""

    def __call__(self, inputs: Tensor, targets: Tensor, *, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's view of a batch. positions: int64 [B], of its samples in the epoch's order."""
        raise NotImplementedError

    def gather(
        self, inputs: Tensor, rows: Tensor, targets: Tensor, *, epoch: int, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take the given rows of the data and transform them; to be overridden where fewer passes do both."""
        return self(inputs[rows], targets, epoch=epoch, positions=positions)


def evaluated(inputs: Tensor, transform: BatchTransform | Callable[..., tuple[Tensor, Tensor]] | None) -> Tensor:
    """Return new inputs [N, ...] as a data module's `eval_transform` makes evaluation see them."""
    batches = Batches(Split(inputs, torch.zeros(len(inputs), 1)), batch_size=len(inputs), transform=transform)
    rows = torch.arange(len(inputs))
    return batches.gather(rows, epoch=0, positions=rows)[0]


def epoch_order(size: int, *, seed: int, epoch: int, shuffle: bool, weights: Tensor | None = None) -> Tensor:
    """Return the order in which an epoch visits the samples: int64 [N].

    weights: float64 [N]; draw each place of the order with replacement, a sample as often as its weight says.
    """
    if not shuffle:
        return torch.arange(size)
    generator = torch.Generator().manual_seed(stream_seed(seed, "order", epoch))
    if weights is None:
        return torch.randperm(size, generator=generator)
    ends = weights.cumsum(0)
    drawn = torch.searchsorted(
        ends, ends[-1] * torch.rand(size, dtype=torch.float64, generator=generator), right=True
    )
    return drawn.clamp_(max=int(weights.nonzero()[-1]))


@dataclass(eq=False, repr=False)
class Batches:
    """The batches of one split, in an order that only (seed, epoch) decides.

    A batch is one index into the tensors. There is no state to save: going on after an interruption is
    `rest(epoch, first)`. By itself an iterator is one over epoch 0.

    With several processes, each takes every `world_size`-th sample of the order, padded from its start so that
    all processes see equally many. weights: see `epoch_order`. drop_last: leave out an epoch's last batch if it is
    smaller than the others. copies: for who works on a batch in place, as on a DataLoader's. fixed:
    every epoch has the order of the first.
    """

    split: Split
    _: KW_ONLY
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    weights: Tensor | None = None
    drop_last: bool = False
    transform: BatchTransform | Callable[..., tuple[Tensor, Tensor]] | None = None
    rank: int = 0
    world_size: int = 1
    copies: bool = False
    fixed: bool = False
    _order: tuple[int, Tensor, Tensor] | None = field(default=None, init=False)  # the last: (epoch, order, positions)

    def __len__(self) -> int:
        per_process = -(-len(self.split) // self.world_size)
        return batches_of(per_process, self.batch_size, drop_last=self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.rest(0, 0)

    def rest(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from the `first` on."""
        for index in range(first, len(self)):
            yield self[epoch, index]

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return one batch by (epoch, number in it): nothing that came before it matters."""
        epoch, index = place
        here = slice(index * self.batch_size, (index + 1) * self.batch_size)
        if not self.shuffle and self.world_size == 1 and self.transform is None:  # slices are views
            inputs, targets = self.split.inputs[here], self.split.targets[here]
            return (inputs.clone(), targets.clone()) if self.copies else (inputs, targets)
        if self._order is None or self._order[0] != epoch:
            drawn = 0 if self.fixed else epoch
            order = epoch_order(
                len(self.split), seed=self.seed, epoch=drawn, shuffle=self.shuffle, weights=self.weights
            )
            positions = torch.arange(len(order))
            if self.world_size > 1:
                padded = -(-len(order) // self.world_size) * self.world_size
                positions = positions[torch.arange(padded) % max(1, len(order))][self.rank :: self.world_size]
            self._order = epoch, order, positions
        _, order, positions = self._order
        chosen = positions[here]
        return self.gather(order[chosen], epoch=epoch, positions=chosen)

    def gather(self, rows: Tensor, *, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return these rows of the part, transformed as those that stand at the positions of the epoch's order."""
        inputs, targets, transform = self.split.inputs, self.split.targets, self.transform
        rows = rows.to(inputs.device)
        if isinstance(transform, BatchTransform):
            return transform.gather(inputs, rows, targets[rows], epoch=epoch, positions=positions)
        if transform is not None:
            return transform(inputs[rows], targets[rows], epoch=epoch, positions=positions)
        return inputs[rows], targets[rows]


class LoadedBatches(DataLoader):
    """`Batches` made by worker processes, for pictures that stay on disk; order and augmentation are the same.

    What is sent to the workers is (epoch, number of the batch), and what comes back is a whole batch: a batch
    is a function of these two, so it doesn't matter which worker makes it. The workers live on from epoch to
    epoch; Lightning ends them when the fit ends.
    """

    def __init__(self, batches: Batches, *, num_workers: int) -> None:
        self.split, self._numbers = batches.split, _Numbers(len(batches))
        super().__init__(
            batches,  # type: ignore[arg-type]  # is asked for one by (epoch, number), as a data set for a sample
            batch_size=None,
            sampler=self._numbers,
            num_workers=num_workers,
            persistent_workers=True,
            generator=torch.Generator(),  # else it draws from the global one
        )

    def rest(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from the `first` on."""
        self._numbers.epoch, self._numbers.first = epoch, first
        yield from self

    def __iter__(self) -> Any:
        try:
            yield from super().__iter__()
        except DataError as error:  # a worker's, with its traceback in the text
            last = str(error).strip().splitlines()[-1]
            raise DataError(last.partition("DataError: ")[2] or last) from error


@dataclass
class _Numbers(SequentialSampler):
    """The (epoch, number) of each batch from the `first` on; its length is that of a whole epoch."""

    count: int
    epoch: int = 0
    first: int = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        return ((self.epoch, index) for index in range(self.first, self.count))

    def __len__(self) -> int:
        return self.count


def batches_of(samples: int, batch_size: int, *, drop_last: bool) -> int:
    """Return how many batches an epoch has."""
    return samples // batch_size if drop_last else math.ceil(samples / batch_size)


def limited(batches: int, limit: float | int) -> int:
    """Return how many batches of a part count: Lightning limits them by a share, or by a number."""
    return int(batches * limit) if isinstance(limit, float) else min(batches, limit)


def limited_parts(trainer: Mapping[str, Any]) -> set[str]:
    """Return the parts of which a Trainer with such settings evaluates some batches only."""
    if trainer.get("fast_dev_run"):
        return {"val", "test"}
    found = {part for part in ("val", "test") if repr(trainer.get(f"limit_{part}_batches", 1.0)) != "1.0"}
    return found | ({"val"} if trainer.get("overfit_batches") else set())
