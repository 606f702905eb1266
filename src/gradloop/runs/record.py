"""The record of a run: `summary.json`, written whole or not at all."""

import functools
import json
import os
import platform
import socket
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Any, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from gradloop.errors import CheckpointError
from gradloop.runs.folder import write_atomically
from gradloop.runs.foreign_text import all_printable

RUNNING, COMPLETED, FAILED = "running", "completed", "failed"
INTERRUPTED, DIVERGED, PRUNED, NOT_RUN = "interrupted", "diverged", "pruned", "not_run"
FINISHED = (COMPLETED, PRUNED, DIVERGED)  # repeating these would give the same again

STATUSES = (RUNNING, COMPLETED, FAILED, INTERRUPTED, DIVERGED, PRUNED, NOT_RUN)
FORMAT = 2  # of a record
DIFF = 2**20  # characters


class Best(TypedDict, total=False):
    epoch: int  # from 1
    step: int
    value: float | None  # of the monitored metric
    checkpoint: str


class Monitor(TypedDict, total=False):
    metric: str
    mode: str


class Data(TypedDict, total=False):
    samples: dict[str, int]  # of each part
    source: dict[str, Any]  # what the config says of the data set itself
    folds: dict[str, Any] | None
    num_outputs: int


class Stacked(TypedDict, total=False):
    size: int  # runs that were trained as one
    exact: bool  # whether they are bit for bit those of lone runs


class Record(TypedDict, total=False):
    """What `summary.json` holds: this much may be there, a key that is no part of it stays as it is."""

    format: int  # 2: epochs count from 1; a record without it counts from 0
    status: str
    reason: str | None
    exit_code: int | None
    name: str
    notes: str | None
    tags: list[str]
    overrides: list[str]
    experiment: str | None
    config_dir: str
    config_name: str
    signature: str  # of what can change the result
    seed: int | None
    task: str | None
    module: str | None  # target of the LightningModule of the user's own
    resume: str  # how a run goes on: exact, or not
    population: Stacked
    alone: str  # why it was trained alone, although it was to be a part of one
    monitor: Monitor
    higher_is_better: dict[str, bool]  # the user's own metrics
    metrics: dict[str, float]  # of the best epoch and of the test; null where they are no finite numbers
    best: Best
    epochs: int
    warning: str
    init_from: dict[str, Any]  # how many weights another run gave, and which begin anew
    found: dict[str, Any]  # values that the run found for itself
    durations: dict[str, float]  # seconds
    started: str
    finished: str
    folder: str
    cwd: str  # where it was started: what a relative data.file or data.root is relative to
    slurm_job: str | None
    host: str
    pid: int
    cores: int | None
    platform: str
    machine: dict[str, Any]  # in the records of earlier versions: host, pid
    model: dict[str, Any]
    data: Data
    devices: dict[str, Any]
    versions: dict[str, str]
    git: dict[str, str]


# a type as an error names it, and whether a value is of it
KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    str: ("a word", lambda v: isinstance(v, str)),
    float: ("a number", lambda v: isinstance(v, int | float)),
    int: ("a whole number", lambda v: isinstance(v, int) and abs(v) < 2**63),
    list: ("a list of words", lambda v: isinstance(v, list) and all(isinstance(word, str) for word in v)),
    dict: ("a group of values", lambda v: isinstance(v, dict)),
}

LIBRARIES = ("gradloop", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "tensorboard")


def read_record(folder: Path | str) -> Record:
    """Return a run's record; raise CheckpointError where there is none or it can't be read."""
    path = Path(folder) / "summary.json"
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: can't be read: no file")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        of_sweep = (path.parent / "sweep.json").is_file()
        what = "a sweep: give one of its runs, sweep=… or sweep.resume=…" if of_sweep else "there is no summary.json"
        raise CheckpointError(f"{folder}: no run here ({what})") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: can't be read: {error}") from error
    if not isinstance(record, dict) or "status" not in record:
        raise CheckpointError(f"{path}: not the record of a run")
    return _checked(path, record)


def _checked(path: Path, record: Any) -> Record:
    """Return the record, which a stranger may have written, without control characters; refuse other types."""
    diff = record.pop("git", None)  # many lines, and never shown
    record = all_printable(record)
    if record["status"] not in STATUSES:
        raise CheckpointError(f"{path}: status={record['status']}: expected one of {', '.join(STATUSES)}")
    _check(path, "", record, Record)
    if record.get("format") is None:  # version 0.1
        record["format"] = FORMAT
        for group, name in (("best", "epoch"), ("found", "stopped_epoch")):
            if isinstance(epoch := (record.get(group) or {}).get(name), int):
                record[group][name] = epoch + 1
    return record if diff is None else {**record, "git": diff}


def _check(path: Path, key: str, value: Any, kind: Any) -> None:
    """Raise CheckpointError where a value, or a part of it, is not of the type that is declared."""
    if NoneType in get_args(kind):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
    origin = dict if is_typeddict(kind) else get_origin(kind) or kind
    if value is None or origin not in KINDS:
        return
    words, fits = KINDS[origin]
    if isinstance(value, bool) or not fits(value):
        raise CheckpointError(f"{path}: {key}={json.dumps(value)[:80]}: expected {words}")
    if origin is dict:
        declared = get_type_hints(kind) if is_typeddict(kind) else dict.fromkeys(value, get_args(kind)[1])
        for name in declared.keys() & value.keys():
            _check(path, f"{key}.{name}" if key else name, value[name], declared[name])


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config that a run was started with; raise CheckpointError where it can't be read."""
    import yaml

    path = folder / ".hydra" / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None  # no pipe
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not the config of a run")
    return values


def write_record(folder: Path | str, record: Record) -> None:
    """Write a run's record. NaN and infinity are written as null: JSON has no word for them."""
    text = json.dumps(finite(record), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    write_atomically(Path(folder) / "summary.json", text + "\n")


def finite(value: Any) -> Any:
    """Return plain data with None for numbers that are none, for which JSON has no word."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def machine() -> Record:
    """Return where the run takes place."""
    return {
        "cwd": os.getcwd(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }


@functools.cache
def git_state(folder: Path) -> dict[str, Any]:
    """Return root, commit and uncommitted changes of the work tree that `folder` is in; empty outside of one.

    Of changes longer than `DIFF` characters the rest is cut off.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True
        ).stdout

    try:
        root, commit = git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        return {"folder": root, "commit": commit, "diff": git("diff", "HEAD")[:DIFF]}
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return {}


def record_end(folder: Path, status: str, reason: str | None, exit_code: int) -> None:
    """Write how a run ended into the record that is there."""
    ended: Record = {"status": status, "reason": reason, "exit_code": exit_code}
    write_record(folder, {**read_record(folder), **ended})
