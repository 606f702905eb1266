"""Whether runs that are ranked together saw the same data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradloop.config.signature import flatten
from gradloop.runs.record import Record

# what changes the order, the split or the reading of a data set, but not which one it is
NOT_THE_SET = (
    "seed", "random_state", "split_seed", "batch_size", "shuffle", "drop_last", "augmentation", "in_memory", "device",
    "num_workers", "channels_last", "cache", "cache_dir", "download", "sampling", "folds", "fold", "train_transforms",
    "eval_transforms",
)  # fmt: skip
SHOWN = 3


def source_of(data: dict[str, Any]) -> dict[str, Any]:
    """Return what a config's data group says of the data set itself, for the record."""
    return {key: value for key, value in data.items() if key not in NOT_THE_SET}


def different_data(records: Iterable[Record]) -> str | None:
    """Return one line if the runs' data sets differ; None if they don't, or nothing is recorded.

    Runs with one fingerprint saw the same numbers. A seed may change these: what is compared then is the data's
    config without its seeds, its shape and classes, and the sizes of its parts.
    """
    described: dict[str, dict[str, Any]] = {}
    fingerprints: dict[str, set[Any]] = {}
    for record in records:
        data = dict(record.get("data") or {})
        if not data:
            continue
        fingerprint = data.pop("fingerprint", None)
        if data.pop("folds", None):  # each fold has its own sizes, and columns made of its categories
            data = {key: data.get(key) for key in ("source", "task", "num_outputs")}
        flat = flatten(data.pop("source", {}), "data") | flatten(data, "the data's")
        text = repr(sorted(flat.items(), key=lambda item: item[0]))
        described[text] = flat
        fingerprints.setdefault(text, set()).add(fingerprint)
    if len(described) < 2:
        return None
    first, *others = described
    if all(fingerprints[first] & fingerprints[other] for other in others):
        return None
    keys = dict.fromkeys(key for flat in described.values() for key in flat)
    differing = [key for key in keys if len({repr(flat.get(key)) for flat in described.values()}) > 1]
    named = [key for key in differing if key.startswith("data.")] or differing
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return (
        f"warning: these runs are of different data ({', '.join(named[:SHOWN])}{more}): "
        "their numbers do not say which setting is better"
    )
