"""A sweep's runs as jobs of a SLURM cluster, by submitit."""

import contextlib
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gradloop.errors import CheckpointError, ConfigError
from gradloop.process import cores_here
from gradloop.runs.folder import is_alive, write_atomically
from gradloop.runs.signals import STOPS
from gradloop.sweeps.engines import STOP, Engine, JobSpec
from gradloop.sweeps.engines.job import run_job
from gradloop.sweeps.sweep_folder import read_job_record

COMMON = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "nodes", "mem_gb")  # submitit's names
LOCALS = ("timeout_min", "gpus_per_node", "signal_delay_s")  # that its executor on this machine takes
SLURMS = ("partition", "qos", "account", "constraint", "signal_delay_s", "setup", "additional_parameters")
ENDED = ("COMPLETED", "FAILED", "FINISHED", "INTERRUPTED", "UNKNOWN")  # by itself, or by a signal of its own
LOOK = 0.5  # seconds between looks at the jobs' results
ASK = 60.0  # seconds between questions to the cluster, for jobs that can't leave a result any more


def _taken(job: Any) -> str | None:
    """Say how the cluster ended a job; None where the job itself has come to its end, and left a result."""
    state = job.state
    return None if state in ENDED or job.paths.result_pickle.exists() else f"SLURM: {state}"


class RequeuedJob:
    """A job that submitit starts anew where SLURM has taken it off a machine: from its newest checkpoint on."""

    def __call__(self, spec: JobSpec) -> None:
        """Do the job. submitit's signal that its time is up lets it save first, and only then be handed in anew."""
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until the run can answer
            if (spec.runs[0].folder / STOP).exists():  # it came while this process began, and submitit let it pass
                os.kill(os.getpid(), signal.SIGTERM)
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
        self.cores = self.options["cpus_per_task"]
        self.width = self.options["array_parallelism"]
        self.local = self.cluster == "local"
        if self.local:
            self.width = min(self.width, max(1, cores_here() // self.cores))
            self._check_local()
        else:
            self.leaves = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        self.ask_at = time.monotonic() + ASK
        self.jobs: dict[int, Any] = {}
        self.runs: dict[int, list[Path]] = {}

    def _check_local(self) -> None:
        """Refuse what this machine, which is no cluster, can't do."""
        for key in (*COMMON, *SLURMS):
            usual: tuple[Any, ...] = (None, "", [], {}, *([1] if key in ("tasks_per_node", "nodes") else []))
            if key not in (*LOCALS, "cpus_per_task") and (value := self.options[key]) not in usual:
                raise ConfigError(
                    f"hydra.launcher.{key}={value}: not with hydra.launcher.cluster=local; SLURM has it"
                )
        minutes, seconds = self.options["timeout_min"], self.options["signal_delay_s"]
        if seconds >= 60 * minutes:
            expected = f"expected 1 or more, and less than hydra.launcher.timeout_min={minutes} has"
            raise ConfigError(f"hydra.launcher.signal_delay_s={seconds}: {expected}")

    def prepare(self, folder: Path, example: JobSpec) -> None:
        try:
            import submitit
        except ImportError:
            raise ConfigError("hydra/launcher=slurm needs submitit: pip install 'gradloop[slurm]'") from None
        self.file = folder / ".submitit" / "jobs.json"
        where, timeouts = folder / ".submitit" / "%j", self.options["max_num_timeout"]
        if self.local:
            self.executor: Any = submitit.LocalExecutor(where, max_num_timeout=timeouts)
            given = {key: self.options[key] for key in LOCALS if self.options[key] is not None}
            self.executor.update_parameters(**given)
            return
        given = {key: self.options[key] for key in COMMON if self.options[key] is not None}
        given |= {f"slurm_{key}": self.options[key] for key in SLURMS if self.options[key] not in (None, "", [], {})}
        try:
            self.executor = submitit.AutoExecutor(where, cluster="slurm", slurm_max_num_timeout=timeouts)
            self.executor.update_parameters(name=self.name, **given)
        except (RuntimeError, TypeError, ValueError, NameError) as error:
            raise ConfigError(f"hydra/launcher=slurm: {str(error).splitlines()[0]}") from error

    def found(self) -> dict[int, list[Path]]:
        """Those that the sweep's folder knows. On this machine none is queued, and a running one has its record."""
        import submitit

        if not self.local and self.file.is_file():
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
        (spec.runs[0].folder / STOP).unlink(missing_ok=True)
        # on this machine a job has the sweep's terminal: what that sends is the sweep's to pass on
        before = signal.pthread_sigmask(signal.SIG_BLOCK, set(STOPS) - {signal.SIGTERM} if self.local else ())
        try:
            self.jobs[number] = self.executor.submit(RequeuedJob(), spec)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
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
        taken = {number: _taken(self.jobs.pop(number)) for number in ended}
        for number in ended:
            (self.runs[number][0] / STOP).unlink(missing_ok=True)
        if ended:
            self._note()
        return taken

    def _done(self) -> list[int]:
        due = time.monotonic() >= self.ask_at and bool(self.jobs)
        if due:  # one question tells of all jobs
            next(iter(self.jobs.values())).done(force_check=True)
            self.ask_at = time.monotonic() + ASK
        return [number for number, job in self.jobs.items() if job.done()]

    def stop(self, number: int, signal_number: int) -> None:
        """Cancel the job: SLURM sends it SIGTERM, and ends it some time later.

        A job on this machine, which submitit would give a second to end, is sent that here.
        """
        if number not in self.jobs:
            return
        if not self.local:
            self.jobs[number].cancel(check=False)
            return
        folder = self.runs[number][0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STOP).touch()
        self._signal(int(self.jobs[number].job_id), signal.SIGTERM)

    def kill(self, number: int) -> None:
        if not self.local:
            self.stop(number, 0)
        elif number in self.jobs:
            alive = [folder for folder in self.runs[number] if is_alive(folder)]
            pids = [read_job_record(folder).get("pid") for folder in alive] or [int(self.jobs[number].job_id)]
            for pid in filter(None, pids):
                self._signal(pid, signal.SIGKILL)

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(OSError):  # it has just ended
            os.kill(pid, number)
