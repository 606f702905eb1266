"""What a value may be: the ranges that single keys have."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

from gradloop.errors import ConfigError, did_you_mean

PRECISIONS = (
    "auto", "32-true", "32", "64-true", "64", "bf16-mixed", "bf16-true", "bf16", "16-mixed", "16-true", "16",
)  # fmt: skip
Limit = tuple[str, Any]
POSITIVE: Limit = ("more than 0", lambda v: v > 0)
NOT_NEGATIVE: Limit = ("0 or more", lambda v: v >= 0)
AT_LEAST_ONE: Limit = ("1 or more", lambda v: v >= 1)
SHARE: Limit = ("0 to 1", lambda v: 0 <= v <= 1)
BELOW_ONE: Limit = ("at least 0 and below 1", lambda v: 0 <= v < 1)
INSIDE_ONE: Limit = ("above 0 and below 1", lambda v: 0 < v < 1)
SEED: Limit = ("0 to 4294967295", lambda v: 0 <= v < 2**32)
BATCHES: Limit = (
    "a share above 0 and up to 1.0, or a whole number of batches",
    lambda v: (0 < v <= 1) if isinstance(v, float) else v >= 1,
)
# patterns over full keys; the first that matches counts
LIMITS: dict[str, Limit] = {
    "seed": SEED,
    "data.seed": SEED,
    "data.random_state": SEED,
    "threads": AT_LEAST_ONE,
    "test_time_shift": NOT_NEGATIVE,
    "data.batch_size": AT_LEAST_ONE,
    "data.num_workers": NOT_NEGATIVE,
    "data.clusters_per_class": AT_LEAST_ONE,
    "data.class_separation": POSITIVE,
    "optimizer.lr": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.*momentum": BELOW_ONE,
    "optimizer.other_lr": POSITIVE,
    "optimizer.newton_schulz_steps": AT_LEAST_ONE,
    "optimizer.eps": POSITIVE,
    "loss.label_smoothing": SHARE,
    "loss.delta": POSITIVE,
    "model.dropout": BELOW_ONE,
    "scheduler.max_lr": POSITIVE,
    "scheduler.pct_start": INSIDE_ONE,
    "scheduler.step_size": AT_LEAST_ONE,
    "scheduler.gamma": POSITIVE,
    "scheduler.T_max": AT_LEAST_ONE,
    "scheduler.total_steps": AT_LEAST_ONE,
    "scheduler.total_iters": AT_LEAST_ONE,
    "scheduler.*div_factor": POSITIVE,
    "trainer.max_epochs": ("1 or more, up to 1000000000", lambda v: 1 <= v <= 10**9),
    "trainer.max_steps": ("-1 (no limit) or 1 or more", lambda v: v == -1 or v >= 1),
    "trainer.limit_val_batches": (
        "0 to 1.0, or a whole number of batches",
        lambda v: (0 <= v <= 1) if isinstance(v, float) else v >= 0,
    ),
    "trainer.limit_*_batches": BATCHES,
    "trainer.val_check_interval": BATCHES,
    "trainer.check_val_every_n_epoch": AT_LEAST_ONE,
    "trainer.accumulate_grad_batches": AT_LEAST_ONE,
    "trainer.gradient_clip_val": NOT_NEGATIVE,
    "trainer.overfit_batches": NOT_NEGATIVE,
    "trainer.num_nodes": AT_LEAST_ONE,
    "callbacks.*.patience": NOT_NEGATIVE,
    "callbacks.*.save_top_k": AT_LEAST_ONE,
    "callbacks.*.every_seconds": NOT_NEGATIVE,
    "bootstrap": NOT_NEGATIVE,
    "confidence": INSIDE_ONE,
    "explain.side": ("above 0 and up to 1", lambda v: 0 < v <= 1),
    "explain.seed": NOT_NEGATIVE,
    "explain.samples": AT_LEAST_ONE,
    "explain.steps": AT_LEAST_ONE,
    "explain.bins": AT_LEAST_ONE,
    "explain.repeats": AT_LEAST_ONE,
}


def check_limits(value: Any, key: str = "") -> None:
    """Raise ConfigError for a number that is not finite, or outside its key's range."""
    if isinstance(value, dict):
        for name, inner in value.items():
            check_limits(inner, f"{key}.{name}" if key else str(name))
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if value != value or abs(value) == float("inf"):
        raise ConfigError(f"{key}={value}: expected a finite number")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError(f"{key}={value}: expected a number that 64 bits hold")
    for pattern, (words, holds) in LIMITS.items():
        if fnmatch.fnmatch(key, pattern):
            if not holds(value):
                raise ConfigError(f"{key}={value}: expected {words}")
            return


def check_trainer(trainer: dict[str, Any]) -> None:
    """Raise ConfigError for settings of the trainer that would be taken and then not do what they say."""
    strategy = trainer.get("strategy")
    if isinstance(strategy, str) and re.search("spawn|fork|notebook", strategy):
        raise ConfigError(f"trainer.strategy={strategy}: its processes can't hand back what they trained; use ddp")
    every, epochs = trainer.get("check_val_every_n_epoch"), trainer.get("max_epochs")
    validates = trainer.get("limit_val_batches", 1.0) != 0 and not trainer.get("fast_dev_run")
    if validates and isinstance(every, int) and isinstance(epochs, int) and every > epochs:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={every}: never validates in trainer.max_epochs={epochs}; expected 1 to "
            f"{epochs}, or trainer.limit_val_batches=0 for no validation"
        )


def check_words(values: dict[str, Any]) -> None:
    """Raise ConfigError for a name, folder, precision, duration or device that can't be one."""
    name = str(values.get("name", ""))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or ".." in name:
        raise ConfigError(
            f"name={name!r}: expected letters, digits, '.', '_' and '-' only (it becomes part of a folder's name)"
        )
    if not str(values.get("output_dir", "outputs")).strip():
        raise ConfigError("output_dir=: expected a folder")
    trainer = values.get("trainer", {})
    precision = str(trainer.get("precision", "32-true"))
    if precision not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={precision}: expected one of {', '.join(PRECISIONS)}"
            + did_you_mean(precision, PRECISIONS)
        )
    longest = trainer.get("max_time")
    if isinstance(longest, str | int | float) and not re.fullmatch(r"\d+:\d+:\d+:\d+", str(longest)):
        raise ConfigError(f"trainer.max_time={longest}: expected DD:HH:MM:SS, as in 00:01:30:00")
    devices = trainer.get("devices")
    if (isinstance(devices, int | float) and (devices == 0 or devices < -1 or devices != int(devices))) or (
        isinstance(devices, str) and devices != "auto" and not re.fullmatch(r"\d+(,\d*)*|-1", devices)
    ):
        raise ConfigError(f"trainer.devices={devices}: expected 1 or more, a list of devices, -1 or auto (all)")
    for key, folder in _folders(values, ""):
        if folder is not None and (str(folder).startswith(("/", "~", "\\")) or ".." in str(folder)):
            raise ConfigError(f"{key}={folder}: expected a folder inside the run's own")


def _folders(values: Any, key: str) -> list[tuple[str, Any]]:
    """Return where Lightning's callbacks, loggers and profilers would write by themselves."""
    found = []
    for name, inner in values.items() if isinstance(values, dict) else ():
        path = f"{key}.{name}" if key else str(name)
        if name in ("dirpath", "save_dir", "default_root_dir") and not isinstance(inner, dict):
            found.append((path, inner))
        found += _folders(inner, path)
    return found
