"""From a claimed folder to its record: what happens around a run, however it ends."""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from filelock import FileLock, Timeout

from gradloop.config.signature import signature
from gradloop.errors import CheckpointError, DivergedError, GradloopError, RunInterrupted, disk_is_full
from gradloop.runs import record as states
from gradloop.runs.checkpoint_files import sweep_temporaries
from gradloop.runs.folder import check_own, write_atomically
from gradloop.runs.slurm import job_id

log = logging.getLogger("gradloop")


class Recording:
    """Holds the run's folder while the run lasts, and writes down how it went: `with Recording(…) as recording:`.

    The lock is the operating system's: a killed process holds none.
    """

    def __init__(self, folder: Path, values: dict[str, Any], overrides: list[str], *, started: float) -> None:
        self.folder = folder
        self.values = values
        self.started = started
        self.lock = FileLock(folder / ".lock")
        self.record: states.Record = {
            "status": states.RUNNING,
            "reason": None,
            "exit_code": None,
            "name": values["name"],
            "overrides": overrides,
            "signature": signature(values),
            "seed": values["seed"],
            "metrics": {},
            "durations": {},
            "started": datetime.fromtimestamp(started).isoformat(timespec="milliseconds"),
            "folder": str(folder),
            "slurm_job": job_id(),
            **states.machine(),
        }

    def __enter__(self) -> Recording:
        if another_process():
            return self
        check_own(self.folder)
        try:
            self.lock.acquire(timeout=0)
        except Timeout as error:
            holder = states.read_record(self.folder)
            raise CheckpointError(
                f"{self.folder}: process {holder.get('pid')} on {holder.get('host')} is working on this run"
            ) from error
        except OSError as error:
            raise CheckpointError(f"{self.folder / '.lock'}: can't be locked: {error.strerror}") from error
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
        logging.root.addHandler(self.log_file)
        logging.root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        states.write_record(self.folder, self.record)

    def _hydra_files(self) -> None:
        folder = self.folder / ".hydra"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{folder}: can't make the folder: {error.strerror}") from error
        write_atomically(folder / "config.yaml", yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True))
        write_atomically(folder / "overrides.yaml", yaml.safe_dump(self.record["overrides"], allow_unicode=True))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if another_process():
            return
        record = self.record
        record["status"], record["reason"], record["exit_code"] = outcome(error)
        record["finished"] = datetime.now().isoformat(timespec="seconds")
        record["durations"]["total"] = time.time() - self.started  # of this command alone
        if error is not None:
            log.error("the run ended early", exc_info=error)
        try:
            record["versions"] = states.versions()
            record["git"] = states.git_state(Path(__file__).parent)
            states.write_record(self.folder, record)
        finally:
            logging.root.removeHandler(self.log_file)
            self.log_file.close()
            logging.captureWarnings(False)
            self.lock.release()


class LogFile(logging.FileHandler):
    """train.log. What it can't take, on a full disk, is dropped: the run itself says what is wrong."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


def another_process() -> bool:
    """Return whether this is one of several processes of a run, and not the one that writes."""
    return int(os.environ.get("LOCAL_RANK") or 0) > 0 or int(os.environ.get("NODE_RANK") or 0) > 0


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
    if type(error).__name__ == "TrialPruned":  # optuna's: not imported here, it may not be installed
        return states.PRUNED, reason, 0
    if disk_is_full(error):
        return states.FAILED, "no space left on the disk", 4
    if isinstance(error, MemoryError):
        return states.FAILED, "out of memory", 1
    return states.FAILED, f"{type(error).__name__}: {reason}", 1
