"""The record of a run: `summary.json`, written whole or not at all."""

from __future__ import annotations

import functools
import json
import os
import platform
import socket
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gradloop.errors import CheckpointError
from gradloop.runs.folder import write_atomically
from gradloop.runs.foreign_text import all_printable

RUNNING, COMPLETED, FAILED = "running", "completed", "failed"
INTERRUPTED, DIVERGED, PRUNED, NOT_RUN = "interrupted", "diverged", "pruned", "not_run"
FINISHED = (COMPLETED, PRUNED, DIVERGED)  # repeating these would give the same again

Record = dict[str, Any]
Type = tuple[str, Callable[[Any], bool]]
STATUSES = (RUNNING, COMPLETED, FAILED, INTERRUPTED, DIVERGED, PRUNED, NOT_RUN)
MOST_THREADS = 1024
A_WORD: Type = ("a word", lambda v: isinstance(v, str))
A_NUMBER: Type = ("a number", lambda v: isinstance(v, int | float))
WHOLE: Type = ("a whole number", lambda v: isinstance(v, int) and abs(v) < 2**63)
A_GROUP: Type = ("a group of values", lambda v: isinstance(v, dict))
# what a record's values are, if they are there: groups before what is in them
TYPES: dict[str, Type] = {
    **dict.fromkeys(("name", "reason", "signature", "started", "finished", "host"), A_WORD),
    **dict.fromkeys(("notes", "experiment", "config_dir", "config_name"), A_WORD),
    **dict.fromkeys(("metrics", "durations", "best", "monitor", "devices", "machine", "model", "data"), A_GROUP),
    **dict.fromkeys(("seed", "exit_code", "best.step", "best.epoch"), WHOLE),
    **dict.fromkeys(("metrics.*", "durations.*", "best.value"), A_NUMBER),
    **dict.fromkeys(("monitor.metric", "monitor.mode"), A_WORD),
    **dict.fromkeys(("pid", "machine.pid"), ("a process's number", lambda v: isinstance(v, int) and 0 <= v < 2**31)),
    "overrides": ("a list of words", lambda v: isinstance(v, list) and all(isinstance(word, str) for word in v)),
}

LIBRARIES = ("gradloop", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "tensorboard")


def read_record(folder: Path | str) -> Record:
    """Return a run's record; raise CheckpointError where there is none or it can't be read."""
    path = Path(folder) / "summary.json"
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: can't be read: no file")
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: no run here (there is no summary.json)") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read: {error}") from error
    if not isinstance(record, dict) or "status" not in record:
        raise CheckpointError(f"{path}: not the record of a run")
    return _checked(path, record)


def _checked(path: Path, record: Record) -> Record:
    """Return the record, which a stranger may have written, without control characters; refuse other types."""
    diff = record.pop("git", None)  # many lines, and never shown
    record = all_printable(record)
    if record["status"] not in STATUSES:
        raise CheckpointError(f"{path}: status={record['status']}: expected one of {', '.join(STATUSES)}")
    for key, (words, fits) in TYPES.items():
        group, _, name = key.rpartition(".")
        inner = (record.get(group) or {}) if group else record
        for found in inner if name == "*" else [name]:
            value = inner.get(found)
            if value is not None and (isinstance(value, bool) or not fits(value)):
                where = f"{group}.{found}" if group else found
                raise CheckpointError(f"{path}: {where}={json.dumps(value)[:80]}: expected {words}")
    return record if diff is None else record | {"git": diff}


def threads_of(folder: Path, record: Record) -> int:
    """Return how many threads a run computed with; raise CheckpointError where its record does not say."""
    threads = (record.get("devices") or {}).get("threads")
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= MOST_THREADS:
        raise CheckpointError(
            f"{folder / 'summary.json'}: devices.threads={threads}: expected 1 to {MOST_THREADS} (a finished run)"
        )
    return threads


def write_record(folder: Path | str, record: Record) -> None:
    """Write a run's record. NaN and infinity are written as null: JSON has no word for them."""
    text = json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    write_atomically(Path(folder) / "summary.json", text + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def machine() -> dict[str, Any]:
    """Return where the run takes place."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }


@functools.cache
def git_state(folder: Path) -> dict[str, Any]:
    """Return commit and uncommitted changes of the work tree that `folder` is in; empty outside of one."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True
        ).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        return {"commit": commit, "diff": git("diff", "HEAD")}
    except (OSError, subprocess.SubprocessError):
        return {}
