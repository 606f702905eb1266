"""A sweep's runs as jobs of a SLURM cluster, by submitit."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gradloop.config.rules import is_whole
from gradloop.errors import CheckpointError, ConfigError
from gradloop.process import cores_here
from gradloop.runs.folder import write_atomically
from gradloop.sweeps.engines import Engine, JobSpec
from gradloop.sweeps.engines.job import run_job

CLUSTERS = ("slurm", "local")
COMMON = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "nodes", "mem_gb")  # submitit's names
SLURMS = ("partition", "qos", "account", "constraint", "signal_delay_s", "setup", "additional_parameters")
ENDED = ("COMPLETED", "FAILED", "FINISHED", "INTERRUPTED", "UNKNOWN")  # by itself, or by a signal of its own
LOOK = 0.5  # seconds between looks at the jobs' results
ASK = 60.0  # seconds between questions to the cluster, for jobs that can't leave a result any more


class RequeuedJob:
    """A job that submitit starts anew where SLURM has taken it off a machine: from its newest checkpoint on."""

    def __call__(self, spec: JobSpec) -> None:
        """Do the job. submitit's signal that its time is up lets it save first, and only then be handed in anew."""
        number = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}", None)
        theirs = signal.getsignal(number) if number is not None else None
        announced: list[int] = []

        def stop(*_: Any) -> None:
            if signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, None):  # no run listens yet: nothing to save
                theirs(number, None)  # type: ignore[operator,misc,arg-type]
            announced.append(1)
            os.kill(os.getpid(), signal.SIGUSR1)  # one of those that runs listen to

        translated = callable(theirs) and number != signal.SIGUSR1
        if translated:
            signal.signal(number, stop)  # type: ignore[arg-type]
        run_job(spec)
        if translated and announced:
            theirs(number, None)  # type: ignore[operator,misc,arg-type]

    def checkpoint(self, spec: JobSpec) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, spec)


class Slurm(Engine):
    """Jobs of a cluster. config: the sweep's, with `hydra.launcher` as in conf/hydra/launcher/slurm.yaml."""

    def __init__(self, config: Any) -> None:
        self.options: dict[str, Any] = OmegaConf.to_container(config.hydra.launcher, resolve=True)  # type: ignore[assignment]
        self.name = str(config.name)
        self.cluster = self.options["cluster"]
        if self.cluster not in CLUSTERS:
            raise ConfigError(f"hydra.launcher.cluster={self.cluster}: expected {' or '.join(CLUSTERS)}")
        for key in ("array_parallelism", "timeout_min", "cpus_per_task", "tasks_per_node", "nodes"):
            if not is_whole(self.options[key], 1):
                raise ConfigError(f"hydra.launcher.{key}={self.options[key]}: expected 1 or more")
        self.cores = self.options["cpus_per_task"]
        here = max(1, cores_here() // self.cores)
        self.width = self.options["array_parallelism"] if self.cluster == "slurm" else here
        if self.cluster == "slurm":
            self.leaves = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        self.ask_at = time.monotonic() + ASK
        self.jobs: dict[int, Any] = {}
        self.runs: dict[int, list[Path]] = {}

    def prepare(self, folder: Path, example: JobSpec) -> None:
        try:
            import submitit
        except ImportError:
            raise ConfigError("hydra/launcher=slurm needs submitit: pip install 'gradloop[slurm]'") from None
        given = {key: self.options[key] for key in COMMON if self.options[key] is not None}
        given |= {f"slurm_{key}": self.options[key] for key in SLURMS if self.options[key]}
        self.file = folder / ".submitit" / "jobs.json"
        try:
            self.executor = submitit.AutoExecutor(
                folder / ".submitit" / "%j",
                cluster=self.cluster,
                **({"slurm_max_num_timeout": self.options["max_num_timeout"]} if self.cluster == "slurm" else {}),
            )
            self.executor.update_parameters(name=self.name, **given)
        except (RuntimeError, TypeError, ValueError, NameError) as error:
            raise ConfigError(f"hydra/launcher=slurm: {str(error).splitlines()[0]}") from error

    def found(self) -> dict[int, list[Path]]:
        """Those that the sweep's folder knows. On this machine none is queued, and a running one has its record."""
        import submitit

        if self.cluster == "slurm" and self.file.is_file():
            try:
                for number, (job_id, runs) in json.loads(self.file.read_text(encoding="utf-8")).items():
                    if not re.fullmatch(r"\d[\d_+]*", job_id):
                        raise ValueError(f"job {job_id}")
                    self.jobs[int(number)] = submitit.SlurmJob(self.file.parent / "%j", job_id)
                    self.runs[int(number)] = [Path(run) for run in runs]
            except (OSError, ValueError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{self.file}: can't be read: {error}") from error
        return dict(self.runs)

    def start(self, number: int, spec: JobSpec) -> None:
        self.jobs[number] = self.executor.submit(RequeuedJob(), spec)
        self.runs[number] = [run.folder for run in spec.runs]
        self._note()

    def _note(self) -> None:
        known = {number: (job.job_id, [str(run) for run in self.runs[number]]) for number, job in self.jobs.items()}
        write_atomically(self.file, json.dumps(known) + "\n")

    def wait(self, seconds: float) -> dict[int, str | None]:
        until = time.monotonic() + seconds
        while not (ended := self._done()):
            if time.monotonic() >= until or not self.jobs:
                break
            time.sleep(min(LOOK, max(0.0, until - time.monotonic())))
        states = {number: self.jobs.pop(number).state for number in ended}
        if ended:
            self._note()
        return {number: None if state in ENDED else f"SLURM: {state}" for number, state in states.items()}

    def _done(self) -> list[int]:
        due = time.monotonic() >= self.ask_at and bool(self.jobs)
        if due:  # one question tells of all jobs
            next(iter(self.jobs.values())).done(force_check=True)
            self.ask_at = time.monotonic() + ASK
        return [number for number, job in self.jobs.items() if job.done()]

    def stop(self, number: int, signal_number: int) -> None:
        """Cancel the job: SLURM sends it SIGTERM, and ends it some time later."""
        if number in self.jobs:
            self.jobs[number].cancel(check=False)

    def kill(self, number: int) -> None:
        self.stop(number, 0)
