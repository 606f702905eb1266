"""The configs of a sweep's jobs: composed, compared, and checked where they come from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gradloop.config.check import checked, plain
from gradloop.config.compose import compose_config
from gradloop.config.signature import relevant, signature
from gradloop.config.targets import check_target_names
from gradloop.errors import ConfigError
from gradloop.runs.record import FINISHED
from gradloop.sweeps.search_space import plain_key
from gradloop.sweeps.sweep_folder import SEED, Job

Values = dict[str, Any]
KEPT = 512


class Composer:
    """Composes the configs of jobs from their overrides. allow: what the sweep's command line allows."""

    def __init__(self, config_dir: str | None, config_name: str, allow: tuple[str, ...]) -> None:
        self.config_dir, self.config_name, self.allow = config_dir, config_name, allow
        self.last: tuple[tuple[str, ...], Any] = ((), None)
        self.known: dict[tuple[str, ...], Values] = {}  # of the last few hundred jobs: each is asked for twice

    def compose(self, overrides: Sequence[str]) -> Any:
        """The config of one job, with Hydra's own node."""
        if self.last[1] is None or self.last[0] != tuple(overrides):
            config, _ = compose_config(overrides, config_name=self.config_name, config_dir=self.config_dir)
            self.last = tuple(overrides), config
        return self.last[1]

    def values(self, overrides: Sequence[str]) -> Values:
        """The config of one job as plain data, without Hydra's own node."""
        if (key := tuple(overrides)) not in self.known:
            values = plain(self.compose(overrides))
            check_target_names(values, self.allow)
            if len(self.known) >= KEPT:
                self.known.clear()
            self.known[key] = values
        return self.known[key]

    def check_recorded(self, jobs: Sequence[Job], file: Path) -> None:
        """Raise ConfigError where a job to go on with asks for what this command line does not allow.

        file: what the jobs were read from, which may come from a stranger.
        """
        for job in jobs:
            if job.status in FINISHED and self.config_dir is None:
                continue
            for line in job.overrides:
                if line.lstrip("+~").startswith("hydra"):
                    raise ConfigError(f"{file}: run {job.number}: {line}: refused, it is Hydra's own")
            try:
                now = signature(self.values(job.overrides))
            except ConfigError as error:
                raise ConfigError(f"{file}: run {job.number}: {error}") from error
            if self.config_dir is not None and now != job.signature:
                changed = f"the files in --config-dir={self.config_dir} say otherwise than when it was planned"
                raise ConfigError(f"{file}: run {job.number}: {changed}; start a new sweep")

    def value(self, overrides: Sequence[str], key: str) -> Any:
        """The value of a key, or a group's choice, in the config of a job that was not given any."""
        config = self.compose(overrides)
        choices = config.hydra.runtime.choices
        if key in choices:
            return choices[key]
        value = OmegaConf.select(config, key, throw_on_missing=False)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def values_of_run(
    overrides: Sequence[str], config_dir: str | None, config_name: str, allow: tuple[str, ...]
) -> Values:
    """The config that a run of these overrides has. It may import the user's code: call it in another process."""
    return checked(overrides, config_dir, config_name, allow)[1] | {"allow": allow}


def check_devices(values: Values, launcher: str) -> None:
    """Refuse several machines for a run, which SLURM alone starts."""
    nodes = (values.get("trainer") or {}).get("num_nodes") or 1
    if int(nodes) > 1 and launcher != "slurm":
        raise ConfigError(f"trainer.num_nodes={nodes} under -m: a run of hydra/launcher={launcher} has one machine; "
                          "take hydra/launcher=slurm")  # fmt: skip


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
