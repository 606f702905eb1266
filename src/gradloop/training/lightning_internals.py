"""The one thing of Lightning's that has no public name: what `self.log` has added up in the epoch so far.

A checkpoint inside an epoch needs it, or the epoch's means would be those of its rest: Lightning saves none of it.
"""

from typing import Any, NamedTuple

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
            for part, state in _together(item, sums.pop(key)).items():
                setattr(item, part, state)


def sums_with(trainer: Any, earlier: Sums) -> Sums:
    """Return the sums of an earlier attempt and of this one together."""
    items = _items(trainer)
    both = {key: _together(items[key], sums) if key in items else sums for key, sums in earlier.items()}
    return sums_so_far(trainer) | both


def _together(item: Any, before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    before = {part: state.to(item.value.device) for part, state in before.items()}
    if item.meta.is_max_reduction or item.meta.is_min_reduction:
        return {"value": item.meta.reduce_fx(before["value"], item.value)}
    return {part: state + getattr(item, part) for part, state in before.items()}


class Means(NamedTuple):
    """The epoch's values of what was logged in it.

    values: by name. logged: by the names that loggers are given. ended: the module's metrics, which end with it.
    """

    values: dict[str, float]
    logged: dict[str, float]
    ended: set[str]


def means_of(trainer: Any) -> Means:
    items = _items(trainer).values()
    values = {i.meta.name: float(i.compute()) for i in items}
    logged = {i.meta.forked_name(False): values[i.meta.name] for i in items if i.meta.logger}
    return Means(values, logged, {i.meta.metric_attribute for i in items if not i.is_tensor})
