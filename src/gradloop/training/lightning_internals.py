"""The one thing of Lightning's that has no public name: what `self.log` has added up in the epoch so far.

A checkpoint inside an epoch needs it, or the epoch's means would be those of its rest: Lightning saves none of it.
"""

from __future__ import annotations

from typing import Any

import torch

Sums = dict[str, dict[str, torch.Tensor]]
PARTS = ("value", "cumulated_batch_size")


def _items(trainer: Any) -> dict[str, Any]:
    results = trainer.fit_loop.epoch_loop._results
    return {key: item for key, item in results.items() if item.meta.on_epoch and not item.has_reset}


def sums_so_far(trainer: Any) -> Sums:
    """Return the sums (and counts) of the numbers that were logged."""
    return {
        key: {part: getattr(item, part).clone() for part in PARTS if hasattr(item, part)}
        for key, item in _items(trainer).items()
        if item.is_tensor
    }


def add_sums(trainer: Any, sums: Sums) -> None:
    """Put the sums of an earlier attempt under those of this one, and take them out of `sums`: call after a batch."""
    for key, item in _items(trainer).items() if sums else ():
        if key in sums:
            before = {part: state.to(item.value.device) for part, state in sums.pop(key).items()}
            if item.meta.is_max_reduction or item.meta.is_min_reduction:
                item.value = item.meta.reduce_fx(before["value"], item.value)
            else:
                for part, state in before.items():
                    setattr(item, part, state + getattr(item, part))


def means_of(trainer: Any) -> tuple[dict[str, float], set[str]]:
    """Return the epoch's values of what was logged in it, and the module's metrics among that, which end with it."""
    items = _items(trainer).values()
    return {i.meta.name: float(i.compute()) for i in items}, {
        i.meta.metric_attribute for i in items if not i.is_tensor
    }
