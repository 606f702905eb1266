"""Hydra's side of a sweep: composing the jobs' configs and handing them to the launcher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradloop.config.signature import relevant, signature
from gradloop.errors import ConfigError
from gradloop.runs.record import FINISHED
from gradloop.sweeps.search_space import plain_key
from gradloop.sweeps.sweep_folder import SEED, Job

Values = dict[str, Any]


class Composer:
    """Composes jobs of a sweep in `folder`, and launches them.

    config: the sweep's own config, from which Hydra composes that of each job. task: what a job calls.
    """

    def __init__(self, config: Any, hydra_context: Any, *, task: Any, folder: Path) -> None:
        from hydra.core.override_parser.types import Quote, QuotedString
        from hydra.types import HydraContext
        from omegaconf import open_dict, read_write

        from gradloop.sweeps.loader import SweepLoader

        self.config, self.task = config, task
        self.loader = SweepLoader(hydra_context.config_loader.get_search_path())
        self.hydra_context = HydraContext(config_loader=self.loader, callbacks=hydra_context.callbacks)
        self.folder = folder
        self.launcher: Any = None
        self.last: Values = {}
        # each job's config is composed anew, from these overrides and its own
        quoted = QuotedString(str(folder), Quote.single).with_quotes()
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.sweep.dir = str(folder)
            kept = [
                text for text in config.hydra.overrides.hydra if not text.startswith(("hydra.sweep.", "hydra.mode"))
            ]
            config.hydra.overrides.hydra = [*kept, f"hydra.sweep.dir={quoted}"]

    def compose(self, overrides: Sequence[str]) -> Any:
        """The config of one job, with Hydra's own node."""
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import open_dict

        config = self.loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = 0
        HydraConfig.instance().set_config(config)
        return config

    def values(self, overrides: Sequence[str]) -> Values:
        """The config of one job as plain data, without Hydra's own node."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        from gradloop.config.wording import explain
        from gradloop.config.not_done import check_hydra_node
        from gradloop.config.targets import check_target_names
        from gradloop.runs.planning import allowed_in_sweep

        config = self.loader.load_sweep_config(self.config, list(overrides))
        check_hydra_node(config)
        bare = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        try:
            self.last = OmegaConf.to_container(bare, resolve=True)  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            raise ConfigError(explain(error)) from error
        check_target_names(self.last, allowed_in_sweep())
        return self.last

    def check_recorded(self, jobs: Sequence[Job], file: Path) -> None:
        """Raise ConfigError where a job to go on with asks for what this command line does not allow.

        file: what the jobs were read from, which may come from a stranger.
        """
        from hydra.errors import HydraException

        from gradloop.config.wording import explain

        for job in jobs:
            if job.status in FINISHED:
                continue
            for line in job.overrides:
                if line.lstrip("+~").startswith("hydra"):
                    raise ConfigError(f"{file}: run {job.number}: {line}: refused, it is Hydra's own")
            try:
                self.values(job.overrides)
            except ConfigError as error:
                raise ConfigError(f"{file}: run {job.number}: {error}") from error
            except HydraException as error:
                raise ConfigError(f"{file}: run {job.number}: {explain(error)}") from error

    def signature(self, overrides: Sequence[str]) -> str:
        """What the job computes, as one hash; composing it finds mistakes before anything runs."""
        return signature(self.values(overrides))

    def value(self, overrides: Sequence[str], key: str) -> Any:
        """The value of a key, or a group's choice, in the config of a job that was not given any."""
        from omegaconf import OmegaConf

        config = self.compose(overrides)
        choices = config.hydra.runtime.choices
        if key in choices:
            return choices[key]
        value = OmegaConf.select(config, key, throw_on_missing=False)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

    def check_devices(self, kind: str) -> None:
        """Refuse several devices where Lightning would start the other processes by this command line.

        Each of them would run the whole sweep. SLURM starts a run's processes itself.
        """
        trainer = self.last.get("trainer") or {}
        devices, strategy = trainer.get("devices", 1), str(trainer.get("strategy", "auto"))
        one = devices in (1, "1", None) or (isinstance(devices, list) and len(devices) == 1)
        several = not one or int(trainer.get("num_nodes") or 1) > 1
        if several and kind != "submitit_slurm":
            if devices in ("auto", -1, "-1") and strategy == "auto":
                return  # all there are may be one
            raise ConfigError(
                f"trainer.devices={devices} under -m: each process of a run would start the whole sweep again; take "
                "trainer.devices=1 (hydra/launcher=joblib runs several at once), or hydra/launcher=submitit_slurm"
            )

    def launch(self, overrides: Sequence[Sequence[str]], first: int) -> Any:
        """Run jobs through Hydra's launcher; blocks until they ended."""
        from hydra.core.plugins import Plugins

        if self.launcher is None:
            self.launcher = Plugins.instance().instantiate_launcher(
                hydra_context=self.hydra_context, task_function=self.task, config=self.config
            )
        return self.launcher.launch([list(job) for job in overrides], initial_job_idx=first)


def changed_keys(composer: Composer, fixed: Sequence[str], jobs: Sequence[Job]) -> list[str]:
    """Keys that a command fixes otherwise than an earlier one of its sweep did: they are varied, too."""
    now = _fixed_part(fixed, ())
    before = {_fixed_part(job.overrides, tuple(job.values)) for job in jobs} - {now}
    keys = {plain_key(text.split("=", 1)[0]) for part in (*before, now) for text in part} if before else set()
    value = composer.value
    return sorted(key for key in keys if any(value(part, key) != value(now, key) for part in before))


def _fixed_part(overrides: Sequence[str], varied: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of a job's overrides that fix something for all jobs, and that can change a result."""
    keys = {text: plain_key(text.split("=", 1)[0]) for text in overrides}
    return tuple(text for text, key in keys.items() if key != SEED and key not in varied and relevant({key: 0}))
