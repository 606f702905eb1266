"""The same batches, made by worker processes: for pictures that stay on disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gradloop.data.batches import Batches


class LoadedBatches(DataLoader):
    """`Batches` made by worker processes: order, augmentation and starting point stay those of the batches.

    What is sent to the workers is (epoch, number of the batch), and what comes back is a whole batch: a batch
    is a function of these two, so it doesn't matter which worker makes it. The workers live on from epoch to
    epoch; Lightning ends them when the fit ends.
    """

    def __init__(self, batches: Batches, *, num_workers: int) -> None:
        self.split, self._numbers = batches.split, _Numbers(batches)
        super().__init__(
            _ByNumber(batches),
            batch_size=None,  # the data set itself hands out batches
            sampler=self._numbers,
            num_workers=num_workers,
            persistent_workers=True,
            generator=torch.Generator(),  # else it draws from the global one
        )

    def rest(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from the `first` on."""
        self._numbers.epoch, self._numbers.first = epoch, first
        yield from self


class _ByNumber(Dataset):
    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, number: Any) -> tuple[Tensor, Tensor]:
        epoch, index = number
        return self.batches.batch(epoch, index)

    def __len__(self) -> int:
        return len(self.batches)


class _Numbers(Sampler):
    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.epoch, self.first = 0, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, index) for index in range(self.first, len(self.batches))])

    def __len__(self) -> int:
        return len(self.batches)
