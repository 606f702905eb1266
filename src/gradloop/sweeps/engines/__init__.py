"""Where the jobs of a sweep take place: an engine starts one, says which have ended, and stops one."""

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gradloop.config.conf_folder import read_choice
from gradloop.config.knobs import check_rules, check_types
from gradloop.errors import ConfigError, did_you_mean
from gradloop.runs.planning import Config
from gradloop.runs.record import Record

STOP = ".stop"  # in the folder of a job's first run, where a signal does not reach it: it is to get one
GRACE = 120.0  # seconds that running jobs get to save their state when they are stopped
ENGINES = {"processes": "Processes", "slurm": "Slurm", "ray": "Ray"}  # a file here each, and the class in it
# earlier names, and Hydra's
NOW_CALLED = {
    "basic": "hydra/launcher=processes",
    "joblib": "hydra/launcher=processes hydra.launcher.n_jobs=2",
    "submitit_local": "hydra/launcher=slurm hydra.launcher.cluster=local",
    "submitit_slurm": "hydra/launcher=slurm",
}


@dataclass(frozen=True)
class RunSpec:
    """One run of a job. Its result is the record (`summary.json`) that it leaves in its folder."""

    folder: Path
    overrides: list[str]
    known: Record = field(default_factory=Record)  # what its record says before it has begun
    config: Config | None = None  # where the sweep has composed and checked it already


@dataclass(frozen=True)
class JobSpec:
    """What an engine starts: all that another process, or another machine, has to know.

    A job stands for one run, or for several that one process trains together. Nothing is handed back: each run's
    record says how it went, and a run whose record is still "running" (or none) when its job has ended was lost with
    it.

    program: the import path of what does the job; None: `training.fit.run`. It is called with the `Config`
    (gradloop.runs.planning) of each of `runs`, in their order, and owns their folders from then on. Where it raises,
    or ends without having closed a run's record, that record is completed with the reason.
    """

    runs: tuple[RunSpec, ...]
    config_dir: str | None
    config_name: str
    cores: int  # that the job may use
    folder: str  # the sweep's working directory: relative paths start there, and modules of the user's own lie there
    allow: tuple[str, ...] = ()  # what the sweep's own command line allows
    prunes: bool = False  # the runs report every epoch to their folders, and end when told so there
    program: str | None = None


class Engine(ABC):
    width: int  # jobs at once
    cores: int  # that each may use
    leaves: tuple[int, ...] = ()  # signals to the sweep that leave its jobs to go on, for its next start to find

    @abstractmethod
    def prepare(self, folder: Path, example: JobSpec) -> None:
        """Get ready for jobs like the example, of the sweep in `folder`; raise ConfigError for what is missing."""

    def found(self) -> dict[int, list[Path]]:
        """Return the jobs of an earlier start that are queued or running still: the folders of each one's runs."""
        return {}

    def foresee(self, spec: JobSpec) -> None:  # noqa: B027 - not every engine has anything
        """Be told which job is likely to be next, while others run. Nothing of it may be seen before it starts."""

    @abstractmethod
    def start(self, number: int, spec: JobSpec) -> None:
        """Start a job. number: what `wait` and `stop` call it. Raises OSError where the system does not let it."""

    @abstractmethod
    def wait(self, seconds: float) -> dict[int, str | None]:
        """Return the jobs that have ended, as soon as there are any; none after so many seconds.

        With each what took it away, if the engine knows more than that it is gone.
        """

    @abstractmethod
    def stop(self, number: int, signal_number: int) -> None:
        """Tell a job to save its state and end, as if it had got that signal."""

    @abstractmethod
    def kill(self, number: int) -> None:
        """End a job at once."""

    def close(self) -> None:  # noqa: B027 - not every engine has anything
        """Give back what `prepare` took, if it did; no job is left."""


def check_engine_name(name: Any) -> None:
    """Raise ConfigError for a launcher that is no engine of gradloop's."""
    if name not in ENGINES:
        now = NOW_CALLED.get(str(name), " or ".join(f"hydra/launcher={engine}" for engine in ENGINES))
        near = did_you_mean(str(name), ENGINES)
        raise ConfigError(f"hydra/launcher={name}: gradloop starts a sweep's runs itself; take {now}{near}")


def make_engine(config: Any) -> Engine:
    """Return the engine that a sweep's config names; raise ConfigError for what it can't do."""
    name = config.hydra.runtime.choices.get("hydra/launcher")
    check_engine_name(name)
    options = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    check_types(options, read_choice("hydra/launcher", name), "hydra.launcher", None)
    check_rules(options, "hydra.launcher", None)
    return getattr(importlib.import_module(f"gradloop.sweeps.engines.{name}"), ENGINES[name])(config)
