"""Sweeps whose runs take no time: an engine that pretends to train, for what a sweep makes of its runs."""

from __future__ import annotations

import contextlib
import io
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from gradloop.config.compose import compose_config
from gradloop.runs import finding
from gradloop.runs.record import machine, write_record
from gradloop.sweeps.engines import Engine, JobSpec
from gradloop.sweeps.sweep import run_sweep
from gradloop.sweeps.sweep_folder import Sweep, read_sweep

METRIC = ["monitor=val/accuracy", "monitor_mode=max"]


@dataclass
class PretendedRuns(Engine):
    """An engine by the three verbs. A run's config says what becomes of it: name=learn, fail, kill, stop or hang.

    The best learning rate is 0.01, more epochs are better, seeds shift a little.
    """

    width: int = 1
    cores: int = 1
    leaves: tuple[int, ...] = ()
    running: list[int] = field(default_factory=list)
    hanging: list[int] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def prepare(self, folder: Path, example: JobSpec) -> None:
        pass

    def start(self, number: int, spec: JobSpec) -> None:
        self.log.append(f"start {number}")
        self.running.append(number)
        (task,) = spec.runs
        config, _ = compose_config(task.overrides, config_dir=spec.config_dir, config_name=spec.config_name)
        task.folder.mkdir(exist_ok=True)
        with open(task.folder / "starts", "a") as file:
            file.write(f"prunes={spec.prunes}\n")
        record = {**task.known, "overrides": task.overrides, "seed": config.seed, "name": config.name, **machine()}
        record |= {"status": "running", "monitor": {"metric": "val/accuracy", "mode": "max"}}
        record |= {"started": "2026-01-01T00:00:00", "metrics": {}, "durations": {}}
        if config.name == "fail":
            record |= {"status": "failed", "reason": "RuntimeError: the third layer is missing", "exit_code": 1}
        elif config.name == "stop":
            record |= {"status": "interrupted", "reason": "stopped by SIGTERM", "exit_code": 143}
        elif config.name == "hang":
            self.hanging.append(number)
        elif config.name != "kill":
            away = abs(math.log10(config.optimizer.lr) + 2)
            value = 0.9 - 0.1 * away + config.trainer.max_epochs / 1000 + config.seed % 10 / 100
            metrics = {"val/accuracy": value, "test/accuracy": value - 0.01, "test/loss": 1 - value}
            record |= {"status": "completed", "metrics": metrics, "best": {"value": value, "step": 30, "epoch": 2}}
            record |= {"durations": {"total": 0.1, "fit": float(config.trainer.max_epochs)}}
        write_record(task.folder, record)

    def wait(self, seconds: float) -> dict[int, str | None]:
        ended = [number for number in self.running if number not in self.hanging][:1]
        self.running = [number for number in self.running if number not in ended]
        self.log += [f"end {number}" for number in ended]
        return dict.fromkeys(ended)

    def stop(self, number: int, signal_number: int) -> None:
        self.log.append(f"stop {number}")
        self.hanging = [other for other in self.hanging if other != number]

    def kill(self, number: int) -> None:
        self.stop(number, 9)

    def close(self) -> None:
        pass


@dataclass
class Outcome:
    code: int
    sweep: Sweep
    out: str
    err: str
    log: list[str]  # what the engine was told, in order

    @property
    def statuses(self) -> list[str]:
        return [job.status for job in self.sweep.jobs]

    def starts(self, number: int) -> list[str]:
        """What job `number` was given besides its own overrides, once for each time it was started."""
        return (self.sweep.folder / str(number) / "starts").read_text().split("\n")[:-1]


def last_sweep(root: Path) -> Path:
    return finding.last_sweep("sweep", root / "sweeps")


def run_toy(root: Path, *arguments: str, width: int = 1, monitor: bool = True) -> Outcome:
    """Run a sweep in this process and read what it left; exceptions pass through. monitor: the command names one."""
    engine = PretendedRuns(width)
    given = [
        line for line in (METRIC if monitor else ()) if line.split("=")[0] not in {a.split("=")[0] for a in arguments}
    ]
    alone = [] if any("sweep.population" in line for line in arguments) else ["sweep.population=off"]
    overrides = [*arguments, *given, *alone, f"output_dir={root}"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_sweep(overrides, None, "train", lambda config: engine).exit_code
    return Outcome(code, read_sweep(last_sweep(root)), out.getvalue(), err.getvalue(), engine.log)


def members_of_session(session: int) -> list[int]:
    """Return the processes that a process with its own session has left (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


def environment() -> dict[str, str]:
    """Return the environment of a command in a process of its own."""
    source = Path(__file__).parents[2]
    ours = [str(source / name) for name in ("src", "tests", "tests/kit")]
    paths = os.pathsep.join([*ours, os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths}
