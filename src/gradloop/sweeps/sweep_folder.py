"""A sweep on disk: `sweep.json` beside the numbered run folders `0/`, `1/`, ….

The file says what was planned (settings, jobs, command, study); the records in the run folders say what
became of it. Whoever reads a sweep joins the two, so a sweep that lost its process loses nothing else.
"""

import contextlib
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradloop.config.signature import unlike
from gradloop.errors import CheckpointError, ConfigError
from gradloop.runs.finding import SWEEP_FILE
from gradloop.runs.folder import is_alive, write_atomically
from gradloop.runs.foreign_text import printable
from gradloop.runs.record import (
    COMPLETED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    NOT_RUN,
    PRUNED,
    RUNNING,
    Record,
    read_record,
)
from gradloop.sweeps.sweep_plan import REPEATED, checked_plan

SEED, FOLD = REPEATED
ENDED_WELL = (COMPLETED, PRUNED)
BOOKKEEPING = ("sweep", "sweep.", "hydra.", "hydra/", "threads=", "resume=", "seeds=")


@dataclass
class Job:
    """One run of a sweep: its folder's number, what was varied, and how it stands."""

    number: int
    values: dict[str, Any]  # varied key -> value, the seed included if it is varied
    overrides: list[str]
    signature: str
    trial: int | None = None  # number of the Optuna trial it belongs to
    status: str = NOT_RUN
    reason: str | None = None
    record: Record = field(default_factory=Record)  # read from the run folder
    folder: Path | None = None  # where it lies, if not in its sweep's folder under its number

    @property
    def called(self) -> str:
        """How a run is called: by its number in the sweep, in a comparison by its folder."""
        return f"run {self.number}" if self.folder is None else printable(self.folder.resolve().name)

    @property
    def setting(self) -> dict[str, Any]:
        return {key: value for key, value in self.values.items() if key not in REPEATED}

    @property
    def seed(self) -> Any:
        """Which repetition of its setting it is: its seed, or with folds a text of both."""
        seed = self.values.get(SEED, self.record.get(SEED))
        return seed if self.fold is None else f"fold {self.fold}, seed {seed}"

    @property
    def fold(self) -> Any:
        """Which part of a cross-validation it is tested on; None where there is none."""
        return self.values.get(FOLD, ((self.record.get("data") or {}).get("folds") or {}).get("fold"))

    @property
    def warning(self) -> str | None:
        """What is doubtful about a run that ended well: a loss that grew, say."""
        return self.record.get("warning") if self.status in ENDED_WELL else None

    @property
    def ended(self) -> bool:
        """Whether it came to an end of its own, good or bad."""
        return self.status in (*FINISHED, FAILED)

    @property
    def fit_seconds(self) -> float | None:
        """How long it trained. The total would count the libraries' imports, for the first run of a process."""
        durations = self.record.get("durations") or {}
        return durations.get("fit", durations.get("total"))

    @property
    def seconds(self) -> float | None:
        return (self.record.get("durations") or {}).get("total")

    def value(self, metric: str) -> float | None:
        """The final value of a metric; the monitored one at its best, which is kept. `durations/fit`: seconds."""
        if self.status not in ENDED_WELL:
            return None
        monitor, best = self.record.get("monitor") or {}, self.record.get("best") or {}
        if metric == monitor.get("metric") and (value := best.get("value")) is not None:
            return float(value)
        kind, _, name = metric.partition("/")
        value = (self.record.get("durations") or {}).get(name) if kind == "durations" else None
        value = (self.record.get("metrics") or {}).get(metric, value)
        return None if value is None else float(value)


@dataclass
class Sweep:
    """What a sweep is: its plan and its jobs. `folder` is where it lives and is not written to the file."""

    folder: Path
    name: str
    method: str
    command: str
    keys: list[str]  # the varied keys, without the seed
    metric: str | None = None
    mode: str = "min"
    study: str | None = None
    storage: str | None = None
    seed: int | None = None  # that all jobs share, or the first of their seeds
    earlier: list[str] = field(default_factory=list)  # commands that asked for other runs of it
    options: list[str] = field(default_factory=list)  # --config-dir and the like
    objectives: dict[str, str] = field(default_factory=dict)  # of a search: metric -> minimize or maximize
    started: float = 0.0
    finished: bool = False  # every planned job has ended, well or not
    cut: bool = False  # it was stopped while it was planned: its command asks for more
    jobs: list[Job] = field(default_factory=list)

    def command_of(self, job: Job) -> str:
        """The command that runs a job again, alone."""
        varied = tuple(f"{key}=" for key in job.values)
        plain = [
            text for text in job.overrides
            if not text.lstrip("+").startswith(BOOKKEEPING) or text.lstrip("+").startswith(varied)
        ]  # fmt: skip
        return shlex.join(["gradloop-train", *self.options, *plain])

    def job_folder(self, job: Job) -> Path:
        return job.folder or self.folder / str(job.number)

    def refresh(self) -> None:
        """Take every job's status from its record: the job's own process wrote it."""
        for job in self.jobs:
            if not (job.status in FINISHED and job.record):
                self.refresh_job(job)

    def refresh_job(self, job: Job) -> None:
        record = read_job_record(folder := self.job_folder(job))
        gone = record.get("status") == RUNNING and not is_alive(folder)
        if gone:  # it may have ended just now: a run's lock is given back when its record is written
            record = read_job_record(folder)
        if not record:
            if job.status not in (RUNNING, NOT_RUN):  # its folder was removed: what it had come to is gone
                job.record, job.status, job.reason = record, NOT_RUN, None
            return
        job.record, job.status, job.reason = record, record.get("status", FAILED), record.get("reason")
        if job.status == RUNNING and gone:
            job.status, job.reason = INTERRUPTED, "its process is gone (killed, or the machine stopped)"
        monitor = record.get("monitor") or {}
        if self.metric is None and monitor.get("metric"):
            self.metric, self.mode = monitor["metric"], monitor.get("mode") or "min"

    def save(self) -> None:
        """Write sweep.json; a reader never sees half of it."""
        plan = {key: value for key, value in vars(self).items() if key not in ("folder", "jobs")}
        plan["settings"] = list({as_text(job.setting): job.setting for job in self.jobs}.values())
        plan["jobs"] = [{k: v for k, v in vars(job).items() if k not in ("record", "folder")} for job in self.jobs]
        write_atomically(self.folder / SWEEP_FILE, json.dumps(plan, indent=1, default=str) + "\n")


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep folder, or put one together from a folder of runs that has no sweep.json.

    Raises `CheckpointError` if there is neither.
    """
    file = folder / SWEEP_FILE
    if file.is_file():
        try:
            plan = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{file}: is no valid JSON ({error})") from None
        plan = checked_plan(file, plan)
        jobs = [Job(**job) for job in plan.pop("jobs")]
        sweep = Sweep(folder=folder, jobs=jobs, **plan)
    else:
        sweep = sweep_of_runs(folder, sorted(child.parent for child in folder.glob("*/summary.json")))
        if not sweep.jobs:
            raise CheckpointError(f"{folder}: is no sweep (it holds neither {SWEEP_FILE} nor run folders)")
    sweep.refresh()
    return sweep


def sweep_of_runs(folder: Path, runs: list[Path]) -> Sweep:
    """Treat any run folders as the jobs of one sweep: what varies is what their overrides disagree on."""
    records = {run: read_job_record(run) for run in runs}
    values = {run: override_values(record.get("overrides") or []) for run, record in records.items()}
    keys = sorted({key for pairs in values.values() for key in pairs})
    varied = [key for key in keys if len({as_text({key: pairs.get(key)}) for pairs in values.values()}) > 1]
    jobs = []
    for position, (run, record) in enumerate(records.items()):
        number = int(run.name) if run.name.isdecimal() else position
        chosen = {key: values[run][key] for key in varied if key in values[run]}
        chosen.setdefault(SEED, record.get(SEED))
        jobs.append(Job(number, chosen, record.get("overrides") or [], record.get("signature") or "", folder=run))
    keys = [key for key in varied if key not in REPEATED]
    return Sweep(folder, folder.name, "runs", "", keys, finished=True, jobs=jobs)


def read_job_record(folder: Path) -> Record:
    """The record of a run folder; empty if the run has not begun (or was cut off while it began)."""
    try:
        return read_record(folder)
    except (CheckpointError, OSError, ValueError):
        return Record()


def override_values(overrides: list[str]) -> dict[str, Any]:
    """What a run's overrides set: `["optimizer.lr=1e-3"]` -> `{"optimizer.lr": 0.001}`."""
    from gradloop.config.overrides import parse_overrides

    values: dict[str, Any] = {}
    for line in overrides:
        with contextlib.suppress(ConfigError):  # one that can't be read is a stranger's
            (override,) = parse_overrides([line])
            if not override.is_delete() and not f"{override.key_or_group}=".startswith(BOOKKEEPING):
                values[override.key_or_group] = override.value()
    return values


def say_interrupted(jobs: list[Job]) -> str:
    """Say in one line that runs were interrupted, and why the first was."""
    reason = jobs[0].reason or "no reason recorded"
    if len(jobs) > 1:
        return f"{len(jobs)} runs interrupted: {reason.partition(';')[0]}"
    return f"{jobs[0].called} interrupted: {reason}"


def as_text(value: Any) -> str:
    """One text a value: what makes settings (whose values may be lists) comparable and hashable. There, 0.0 is 0."""
    if isinstance(value, dict):
        whole = {k for k, v in value.items() if isinstance(v, float) and v.is_integer() and not unlike(k, v, int(v))}
        value = {k: int(v) if k in whole else v for k, v in value.items()}
    return json.dumps(value, sort_keys=True, default=str)
