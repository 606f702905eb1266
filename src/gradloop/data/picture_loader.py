"""The same batches, made by worker processes: for pictures that stay on disk."""

from __future__ import annotations

import copy
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
        super().__init__(
            _ByNumber(batches),
            batch_size=None,  # the data set itself hands out batches
            sampler=_Numbers(batches),
            num_workers=num_workers,
            persistent_workers=True,
            generator=torch.Generator(),  # else it draws from the global one
        )

    def __iter__(self) -> Any:
        # only when the first batch is asked for does a resumed run know where it stands
        yield from super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """Return nothing: as with `Batches`, the position is all the state there is."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Do nothing: the batches' `position` says where to go on."""


class _ByNumber(Dataset):
    def __init__(self, batches: Batches) -> None:
        self.batches = copy.copy(batches)
        self.batches.position = _nowhere  # the original leads to the trainer, which is nothing to send to a process

    def __getitem__(self, number: Any) -> tuple[Tensor, Tensor]:
        epoch, index = number
        return self.batches.batch(epoch, index)

    def __len__(self) -> int:
        return len(self.batches)


class _Numbers(Sampler):
    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, first = self.batches.position()
        return iter([(epoch, index) for index in range(first, len(self.batches))])

    def __len__(self) -> int:
        return len(self.batches)


def _nowhere() -> tuple[int, int]:
    return 0, 0
