"""The configs of a sweep's jobs: composed, compared, and checked where they come from a file."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from gradloop.config.check import checked, plain
from gradloop.config.compose import compose_config
from gradloop.config.idle import idle_knobs
from gradloop.config.overrides import parse_overrides
from gradloop.config.signature import IRRELEVANT, flatten, is_below, signature
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


def idle_everywhere(
    values: Values, asked: Sequence[Override], others: Sequence[Sequence[str]], composer: Composer
) -> dict[str, str]:
    """Return the knobs that count in none of a sweep's runs, and why. values: of its first; others: further ones'."""
    idle = idle_knobs(values, asked)
    for lines in others if {override.key_or_group for override in asked} & idle.keys() else ():
        with contextlib.suppress(ConfigError):  # a group's choice may lack what the first one has
            found = idle_knobs(composer.values(lines), asked)
            idle = {key: why for key, why in idle.items() if key in found}
    return idle


def changed_keys(composer: Composer, fixed: Sequence[str], jobs: Sequence[Job]) -> list[str]:
    """Keys that a command fixes otherwise than an earlier one of its sweep did: they are varied, too."""
    now = _fixed_part(fixed, ())
    changed: set[str] = set()
    seen = set()
    for job in jobs:
        before = _fixed_part(job.overrides, tuple(job.values))
        if before == now or tuple(before.items()) in seen:
            continue
        seen.add(tuple(before.items()))
        differ = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        groups = composer.compose(job.overrides).hydra.runtime.choices.keys() & differ
        of_both = [  # what it varies: groups, say; another choice may lack what one of them has
            str(override.input_line) for override in parse_overrides(job.overrides)
            if override.input_line not in before.values()
            and not is_below(plain_key(override.key_or_group).replace("/", "."), groups)
        ]  # fmt: skip
        for key in differ - changed:
            if composer.value(job.overrides, key) != composer.value([*of_both, *dict.fromkeys(now.values())], key):
                changed.add(key)
    return sorted(changed)


def _fixed_part(overrides: Sequence[str], varied: tuple[str, ...]) -> dict[str, str]:
    """Return what a job's overrides fix for all jobs, as far as it can change a result: key -> text."""
    found: dict[str, str] = {}
    for override in parse_overrides(overrides):
        key, value = plain_key(override.key_or_group.replace("/", ".")), override.value()
        several = isinstance(value, dict) and not override.is_delete()
        for each in flatten(value, key) if several else (key,):
            if each != SEED and each not in varied and not is_below(each, IRRELEVANT):
                found[each] = str(override.input_line)
    return found
