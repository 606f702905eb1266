"""A run on disk: its folder, record, history and best weights, however it ends."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import Timeout

from gradloop.config.signature import signature
from gradloop.errors import (
    CheckpointError,
    DivergedError,
    GradloopError,
    RunInterrupted,
    RunPruned,
    disk_is_full,
    own_frame,
)
from gradloop.process import is_second
from gradloop.runs import record as states
from gradloop.runs.checkpoint_files import sweep_temporaries
from gradloop.runs.folder import LOCK, check_own, lock_of, made, write_atomically
from gradloop.runs.history import growth
from gradloop.runs.slurm import job_id

log = logging.getLogger("gradloop")
Names = tuple[str, ...]
ASKED = 0.5  # seconds that somebody may hold the lock to see whether it is free


@dataclass
class Best:
    """The weights of an epoch, and why they are kept."""

    value: float
    epoch: int
    payload: dict[str, Any]  # what goes into the file


class Run:
    """Owns a run's folder while the run lasts, and writes down how it went: `with Run(…) as run:`.

    record: what `summary.json` will hold. history: one row an epoch, the curves. best: the best weights, the best of
    them first. loggers: Lightning's. allow: the names of own code that may run. known: more of the record.
    """

    def __init__(
        self,
        folder: Path,
        values: dict[str, Any],
        overrides: list[str],
        *,
        started: float,
        allow: Names = (),
        known: states.Record | None = None,
    ) -> None:
        self.folder, self.values, self.started, self.allow = folder, values, started, allow
        self.lock = lock_of(folder)
        self.history: list[dict[str, float]] = []
        self.best: list[Best] = []
        self.loggers: list[Any] = []
        self.recipe: dict[str, Any] = {}  # config and facts as plain data: what a checkpoint needs to be rebuilt
        self.record: states.Record = {
            "format": states.FORMAT,
            "status": states.RUNNING,
            "reason": None,
            "exit_code": None,
            "name": values["name"],
            "overrides": overrides,
            "tags": [str(tag) for tag in values.get("tags") or []],
            "notes": None if values.get("notes") is None else str(values["notes"]),  # a number is one, too
            "signature": signature(values),
            "seed": values["seed"],
            "metrics": {},
            "durations": {},
            "started": datetime.fromtimestamp(started).isoformat(timespec="milliseconds"),
            "folder": str(folder),
            "slurm_job": job_id(),
            **states.machine(),
            **(known or {}),
        }

    def __enter__(self) -> Run:
        if is_second():
            return self
        check_own(self.folder)
        try:
            self.lock.acquire(timeout=ASKED)
        except Timeout as error:
            holder = states.read_record(self.folder)
            raise CheckpointError(
                f"{self.folder}: process {holder.get('pid')} on {holder.get('host')} is working on this run"
            ) from error
        except OSError as error:
            raise CheckpointError(f"{self.folder / LOCK}: can't be locked: {error.strerror}") from error
        try:
            self._open()
        except BaseException:
            self.lock.release()
            raise
        return self

    def _open(self) -> None:
        sweep_temporaries(self.folder)
        self._hydra_files()
        try:
            self.log_file = LogFile(self.folder / "train.log")
        except OSError as error:
            raise CheckpointError(f"{self.folder / 'train.log'}: can't write: {error.strerror}") from error
        self.log_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.log_file.setLevel(logging.INFO)
        logging.root.addHandler(self.log_file)
        logging.root.setLevel(min(logging.root.level, logging.INFO))  # stays: others may be open
        logging.captureWarnings(True)
        states.write_record(self.folder, self.record)

    def __deepcopy__(self, memo: Any) -> Run:
        return self  # there is one: a copy of the module (Lightning's WeightAveraging makes one) belongs to it, too

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def log(self, row: dict[str, float]) -> None:
        """Send one row of measurements, with its optimizer step as "step", to every logger."""
        for logger in self.loggers:
            logger.log_metrics({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))

    @contextlib.contextmanager
    def timed(self, name: str, before: Callable[[], float] = lambda: 0.0) -> Iterator[None]:
        """Note how long the body takes, in the record's durations. before: the seconds of earlier attempts."""
        started = time.time()
        try:
            yield
        finally:
            self.record["durations"][name] = before() + time.time() - started

    def sum_up(self, tested: dict[str, float]) -> None:
        """Put into the record what the run has come to: the metrics of its best epoch, and of the test."""
        metrics = dict(self.history[-1]) if self.history else {}
        if self.best:
            best = self.best[0]
            self.record["best"] = {
                "epoch": best.epoch + 1,
                "step": best.payload["global_step"],
                "value": best.value if math.isfinite(best.value) else None,
                "checkpoint": "checkpoints/best.ckpt",
            }
            metrics |= best.payload["gradloop"]["metrics"]
        metrics = {name: value for name, value in metrics.items() if name not in ("epoch", "step", "lr")}
        self.record["metrics"] = metrics | tested
        self.record["epochs"] = len(self.history)
        if (warning := growth(self.history)) is not None:
            self.record["warning"] = warning

    def _hydra_files(self) -> None:
        folder = made(self.folder / ".hydra")
        write_atomically(folder / "config.yaml", in_yaml(self.values))
        write_atomically(folder / "overrides.yaml", in_yaml(self.record["overrides"]))

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if is_second():
            return
        record = self.record
        record["status"], record["reason"], record["exit_code"] = outcome(error)
        record["finished"] = datetime.now().isoformat(timespec="seconds")
        record["durations"]["total"] = time.time() - self.started  # of this command alone
        if error is not None:
            told = type(error), error, error.__traceback__  # in its own log alone: others of a population are open
            self.log_file.handle(
                log.makeRecord(log.name, logging.ERROR, __file__, 0, "the run ended early", (), told)
            )
            error.add_note(f"the traceback: {self.folder / 'train.log'}")
        try:
            record["versions"] = states.versions()
            # git runs what a repository's config tells it to: it is asked where the user's own code is allowed to run
            own = states.git_state(Path.cwd()) if self.allow else {}
            record["git"] = own or states.git_state(Path(__file__).parent)
            states.write_record(self.folder, record)
        finally:
            logging.root.removeHandler(self.log_file)
            self.log_file.close()
            self.lock.release(force=True)  # also of the job that the run is in: others of its runs may go on


def in_yaml(values: Any) -> str:
    """Return plain data as YAML; by libyaml, where it is there: ten times as fast."""
    return yaml.dump(
        values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, allow_unicode=True
    )


class LogFile(logging.FileHandler):
    """train.log. What it can't take, on a full disk, is dropped: the run itself says what is wrong."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


def outcome(error: BaseException | None) -> tuple[str, str | None, int]:
    """Return (status, one-line reason, exit code) for what ended a run."""
    if error is None:
        return states.COMPLETED, None, 0
    text = str(error).strip()
    reason = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, RunInterrupted):
        return states.INTERRUPTED, reason, error.exit_code
    if isinstance(error, DivergedError):
        return states.DIVERGED, reason, error.exit_code
    if isinstance(error, GradloopError):
        return states.FAILED, reason, error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return states.INTERRUPTED, "stopped by Ctrl-C", 130
    if isinstance(error, RunPruned):
        return states.PRUNED, reason, 0
    if disk_is_full(error):
        return states.FAILED, "no space left on the disk", 4
    if isinstance(error, MemoryError):
        return states.FAILED, "out of memory", 1
    place = own_frame(error)
    return states.FAILED, f"{type(error).__name__}: {reason}{f' ({place})' if place else ''}", 1
