"""The record of a run: `summary.json`, written whole or not at all."""

from __future__ import annotations

import functools
import json
import os
import platform
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gradloop.errors import CheckpointError
from gradloop.runs.folder import write_atomically

RUNNING, COMPLETED, FAILED = "running", "completed", "failed"
INTERRUPTED, DIVERGED, PRUNED, NOT_RUN = "interrupted", "diverged", "pruned", "not_run"
FINISHED = (COMPLETED, PRUNED, DIVERGED)  # repeating these would give the same again

LIBRARIES = ("gradloop", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "tensorboard")

Record = dict[str, Any]


def read_record(folder: Path | str) -> Record:
    """Return a run's record; raise CheckpointError where there is none or it can't be read."""
    path = Path(folder) / "summary.json"
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: no run here (there is no summary.json)") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read: {error}") from error
    if not isinstance(record, dict) or "status" not in record:
        raise CheckpointError(f"{path}: not the record of a run")
    return record


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
