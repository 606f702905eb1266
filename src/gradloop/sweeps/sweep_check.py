"""A sweep's command line, checked before its first job: a typo is answered at once, and nothing is created."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from gradloop.config.check import check_config
from gradloop.config.compose import compose_config, parse_overrides
from gradloop.config.not_done import ALWAYS, refuse_not_done
from gradloop.config.trackers import check_trackers
from gradloop.config.wording import no_such_choice
from gradloop.errors import ConfigError
from gradloop.runs.planning import allowed_by_name
from gradloop.sweeps.engines import check_engine_name
from gradloop.sweeps.search_space import choices_of, texts

NOT_COMPOSED = ("seeds", "resume")  # these speak to the sweep
# what a sweep takes of Hydra's settings
HYDRAS = (
    "hydra.sweep.dir",
    "hydra/launcher",
    "hydra.launcher",
    "hydra.sweeper.params",
    "hydra.job.name",
    "hydra.job.config",
)


def check_sweep(overrides: list[str], config_dir: str | None, config_name: str) -> tuple[DictConfig, tuple[str, ...]]:
    """Return the sweep's own config, and what its command line allows; raise ConfigError for any wrong value.

    The first job is composed and checked as a run is. Every further value is put into that config in turn; every
    further choice of a group is looked up. The sweep's own config has no value of what is varied, but for the first
    choice of a group.
    """
    every = parse_overrides(overrides)
    _refuse_what_is_the_sweeps(every)
    parsed = [
        o
        for o in every
        if o.key_or_group not in NOT_COMPOSED and not o.key_or_group.startswith("sweep.search_space.")
    ]
    first = [_lines(o, config_dir)[0] for o in parsed]
    allow = allowed_by_name([o for each in parsed for line in _lines(each, config_dir) for o in _naming(line)])
    config, reference = compose_config(first, config_name=config_name, config_dir=config_dir)
    refuse_not_done(parsed, config, command="sweep")
    check_engine_name(config.hydra.runtime.choices.get("hydra/launcher"))  # a YAML file may have named it
    check_trackers(check_config(config, reference, allow))
    for override in parsed:
        if not override.is_sweep_override():
            continue
        key = override.key_or_group
        options = choices_of(key, config_dir)
        for line in _lines(override, config_dir)[1:]:
            value = parse_overrides([line])[0].value()
            if options and isinstance(value, str):
                if value not in options and "/" not in value:
                    raise ConfigError(no_such_choice(key, value, options))
            elif not options:
                changed = config.copy()
                with open_dict(changed):
                    OmegaConf.update(changed, key, value, merge=False)
                refuse_not_done([], changed, command="sweep")
                check_config(changed, reference, allow)
    _refuse_hydras(every)
    own = [
        _lines(o, config_dir)[0]
        for o in every
        if not o.is_sweep_override()
        or (choices_of(o.key_or_group, config_dir) and o.key_or_group not in NOT_COMPOSED)
    ]
    return compose_config(own, config_name=config_name, config_dir=config_dir)[0], allow


def _naming(line: str) -> list[Override]:
    """Return the override, if it may name what is called."""
    return parse_overrides([line]) if line.lstrip("+").startswith("allow=") or "._target_=" in line else []


def _refuse_what_is_the_sweeps(parsed: list[Override]) -> None:
    for override in parsed:
        key = override.key_or_group
        if key == "resume" and override.value() is not None:
            raise ConfigError(f"{override.input_line}: goes on with one run; -m takes sweep.resume=<sweep folder>")
        ours = key in ("seeds", "folds", "sweep")
        ours |= key.startswith("sweep.") and not key.startswith("sweep.search_space")
        if (ours or key == "hydra/launcher") and override.is_sweep_override():
            hint = f"; a list is {key}=[…]" if key not in ("folds", "sweep", "hydra/launcher") else ""
            raise ConfigError(f"{override.input_line}: belongs to the sweep and can't be varied{hint}")
        if key == "hydra/launcher":
            check_engine_name(override.value())


def _refuse_hydras(parsed: list[Override]) -> None:
    """Refuse Hydra's settings that a sweep would ignore. Those that have one value only were looked at before."""
    for override in parsed:
        key, line = override.key_or_group, override.input_line
        if key.startswith(("hydra.", "hydra/")):
            if override.is_sweep_override():
                raise ConfigError(f"{line}: belongs to the sweep and can't be varied")
            if not any(key == name or key.startswith(f"{name}.") for name in (*HYDRAS, *ALWAYS)):
                raise ConfigError(f"{line}: not done here; of Hydra's settings a sweep takes {', '.join(HYDRAS[:3])}")


def _lines(override: Override, config_dir: str | None) -> list[str]:
    """Return the override once for each value of its sweep; for an interval, its two ends."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    name = str(override.get_key_element())
    value: Any = override.value()
    if override.is_interval_sweep():
        # Hydra reads interval(8,64) as floats; the sweep draws whole numbers where the config holds one
        return [f"{name}={int(end) if end == int(end) else end}" for end in (value.start, value.end)]
    lines = [f"{name}={text}" for text in texts(override, config_dir)]
    if not lines:
        raise ConfigError(f"{override.input_line}: holds no value to try")
    return lines
