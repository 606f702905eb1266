"""Whether runs that are ranked together saw the same data set."""

import math
from collections.abc import Iterable
from typing import Any

from gradloop.config.signature import flatten, is_below
from gradloop.runs.record import Record

# what changes the order, the split or the reading of a data set, but not which one it is
NOT_THE_SET = (
    "seed", "random_state", "split_seed", "batch_size", "shuffle", "drop_last", "augmentation", "in_memory", "device",
    "num_workers", "channels_last", "cache", "cache_dir", "download", "sampling", "folds", "fold", "train_transforms",
    "eval_transforms",
)  # fmt: skip
# what changes how its inputs are laid out, but neither its rows nor their answers
PREPARED = (
    "data.scaler", "data.missing", "data.max_categories", "data.columns", "data.drop", "data.categories",
    "data.image_size", "data.fit", "data.mean", "data.std", "data.channels",
)  # fmt: skip
INPUTS = "the data's input_"
MADE = "gradloop.data.synthetic_classification.", "gradloop.data.linear_regression."  # from `random_state`
SHOWN = 3
SUMS = 3  # of inputs, and as many of targets
ROUNDING = 1e-6  # of the numbers' size: what another machine's libraries may make of the same data


def source_of(data: dict[str, Any]) -> dict[str, Any]:
    """Return what a config's data group says of the data set itself, for the record."""
    made = str(data.get("_target_")).startswith(MADE)
    return {key: value for key, value in data.items() if key not in NOT_THE_SET or (made and key == "random_state")}


def changed_data(before: dict[str, list[float]], now: dict[str, list[float]]) -> str | None:
    """Say how data differ from those of before, from the sums of both; None if they don't.

    A part has its number of samples, then sums of which the first tells the size of its numbers. What is on disk has
    none, and is compared by its labels.
    """
    parts = [part for part in ("train", "val", "test") if part in before]
    counts = ["/".join(f"{sums[part][0]:.0f}" if part in sums else "0" for part in parts) for sums in (before, now)]
    if counts[0] != counts[1]:
        return f"{counts[0]} samples ({'/'.join(parts)}) then, {counts[1]} now"
    for part in parts:
        known = min(len(before[part]), len(now[part])) - 1
        then, found = (sums[part][len(sums[part]) - known :] for sums in (before, now))
        for place, (a, b) in enumerate(zip(then, found, strict=True)):
            size = then[place - place % SUMS]
            if not math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING * max(1.0, size)):
                return "other values in as many samples"
    return None


def different_data(records: Iterable[Record]) -> str | None:
    """Return one line if the runs' data sets differ; None if they don't, or nothing is recorded.

    Runs with one fingerprint saw the same numbers. A seed may change these: what is compared then is the data's
    config without its seeds, its shape and classes, and the sizes of its parts. Runs that differ in how the inputs
    are prepared, and were measured by the same answers, are as good as of one.
    """
    described: dict[str, dict[str, Any]] = {}
    fingerprints: dict[str, set[Any]] = {}
    answers: dict[str, set[Any]] = {}
    every: list[dict[str, Any]] = [dict(known) for record in records if (known := record.get("data"))]
    folded = any(data.get("folds") for data in every)
    for data in every:
        fingerprint, answer = data.pop("fingerprint", None), data.pop("answers", None)
        data.pop("folds", None)
        if folded:  # each fold has its own sizes, and columns made of its categories
            data = {key: data.get(key) for key in ("source", "task", "num_outputs")}
        flat = flatten(data.pop("source", {}), "data")
        flat |= {f"the data's {key}": value for key, value in flatten(data).items()}
        text = repr(sorted(flat.items(), key=lambda item: item[0]))
        described[text] = flat
        for found, value in ((fingerprints, fingerprint), (answers, answer)):
            found.setdefault(text, set()).update([value] if value is not None else [])
    if len(described) < 2:
        return None
    first, *others = described
    if all(fingerprints[first] & fingerprints[other] for other in others):
        return None
    keys = dict.fromkeys(key for flat in described.values() for key in flat)
    differing = [key for key in keys if len({repr(flat.get(key)) for flat in described.values()}) > 1]
    prepared = all(key.startswith(INPUTS) or is_below(key, PREPARED) for key in differing)
    if prepared and all(answers[first] & answers[other] for other in others):
        return None
    named = [key for key in differing if key.startswith("data.")] or differing
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return (
        f"warning: these runs are of different data ({', '.join(named[:SHOWN])}{more}): "
        "their numbers do not say which setting is better"
    )
