"""What a run computes, as one hash: equal signatures give equal results."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

# what changes where, how fast or how visibly a run computes, but not what
IRRELEVANT = (
    "name", "logger", "callbacks.progress", "callbacks.checkpoints.every_seconds", "callbacks.curves",
    "callbacks.pictures", "callbacks.gradients", "callbacks.throughput", "callbacks.gradcheck",
    "callbacks.lesson", "data.num_workers", "data.cache_dir", "data.in_memory", "data.device", "resume", "sweep",
    "seeds", "folds", "allow",
    "output_dir", "threads", "compile", "summary", "tags", "notes", "lang",
)  # fmt: skip
# knobs that came later, at the value with which they do nothing: older runs keep their signatures
NOTHING: dict[str, Any] = {
    "module._target_": None,
    "init_from": None,
    "metrics": {},
    "optimizer.groups": None,
    "scheduler.warmup": 0,
    "loss.weight": None,
    "data.fold": None,
    "data.folds": None,
    "data.sampling": None,
    "data.train_transforms": [],
    "data.eval_transforms": [],
}
# what a resumed run may have otherwise than before, besides these
MAY_CHANGE = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.accelerator")

# what runs that are trained as one stack may have otherwise than each other, if it is a number
STACKED = (
    "seed", "data.seed", "data.random_state", "optimizer.lr", "optimizer.weight_decay", "optimizer.momentum",
    "optimizer.betas", "optimizer.eps", "scheduler", "loss.label_smoothing", "trainer.gradient_clip_val",
)  # fmt: skip
# and what does not matter to a run at all, or belongs to its sweep
BESIDES = ("name", "resume", "sweep", "seeds", "allow", "output_dir")


def is_below(key: str, names: Iterable[str]) -> bool:
    """Return whether a key is one of those, or lies below one: `optimizer.lr` below `optimizer`."""
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in names)


def entries(values: Any, key: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield (path, name, value) of all that lies in plain data, however deep; a group comes before its parts."""
    if isinstance(values, dict):
        for name, inner in values.items():
            path = f"{key}.{name}" if key else str(name)
            yield path, str(name), inner
            yield from entries(inner, path)
    elif isinstance(values, list):
        for index, inner in enumerate(values):
            yield f"{key}[{index}]", "", inner
            yield from entries(inner, f"{key}[{index}]")


def flatten(values: Any, key: str = "") -> dict[str, Any]:
    """Return {"optimizer.lr": 0.1, …} for a nested config. Lists are values."""
    if not isinstance(values, dict) or not values:
        return {key: values}
    flat: dict[str, Any] = {}
    for name, inner in values.items():
        flat |= flatten(inner, f"{key}.{name}" if key else str(name))
    return flat


def relevant(values: dict[str, Any]) -> dict[str, Any]:
    """Return the flat config without what cannot change the result."""
    return {
        key: value
        for key, value in flatten(values).items()
        if not is_below(key, IRRELEVANT) and not (key in NOTHING and value == NOTHING[key])
    }


def signature(values: dict[str, Any]) -> str:
    """Return a hash of the resolved config without what cannot change the result (workers, loggers, folders)."""
    text = json.dumps(relevant(values), sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def stack_key(values: dict[str, Any]) -> str:
    """Return what has to be equal in runs that are trained as one stack, as one text.

    Of what may differ, it says which kind of value there is: a schedule by steps is none by epochs.
    """
    kept = {}
    for key, value in flatten(values).items():
        if is_below(key, BESIDES):
            continue
        # a warm-up counts steps before a schedule that may count epochs: not beside members that have none
        differs = key != "scheduler.warmup" and is_below(key, STACKED)
        kept[key] = "a number" if differs and not isinstance(value, str | bool) else value
    return json.dumps(kept, sort_keys=True, default=str)


def unlike(key: str, one: Any, other: Any) -> bool:
    """Whether two values of a key differ; where a Trainer counts batches, 1 is one and 1.0 all of them."""
    counts = key.startswith("trainer.") and key.endswith(("_batches", "_interval"))
    return one != other or (counts and isinstance(one, float) != isinstance(other, float))


def changed_keys(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return {key: (old, new)} for what would make a resumed run another run."""
    old, new = relevant(before), relevant(now)
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if unlike(key, old.get(key), new.get(key)) and not is_below(key, MAY_CHANGE)
    }
