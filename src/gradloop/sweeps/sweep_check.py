"""A sweep's command line, checked before its first job: a typo is answered at once, and nothing is created."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Glob, Override
from omegaconf import DictConfig, OmegaConf, open_dict

from gradloop.config.check import check_config
from gradloop.config.compose import compose_config, parse_overrides
from gradloop.config.conf_folder import conf_folder
from gradloop.config.not_done import refuse_not_done
from gradloop.config.wording import no_such_choice
from gradloop.errors import ConfigError
from gradloop.runs.planning import allow_in_sweep, allowed_by_name

NOT_COMPOSED = ("seeds", "resume")  # these speak to the sweeper


def check_sweep(overrides: list[str], config_dir: str | None, config_name: str) -> DictConfig:
    """Return the config of the sweep's first job; raise ConfigError if that, or any other single value, is wrong.

    The first job is composed and checked as a run is. Every further value is put into that config in turn; every
    further choice of a group is looked up.
    """
    parsed = parse_overrides(overrides)
    _refuse_what_is_the_sweeps(parsed)
    parsed = [
        o
        for o in parsed
        if o.key_or_group not in NOT_COMPOSED and not o.key_or_group.startswith("sweep.search_space.")
    ]
    first = [_first(o, config_dir) if o.is_sweep_override() else str(o.input_line) for o in parsed]
    allow = _allowed(parsed, config_dir)
    allow_in_sweep(allow)
    config, reference = compose_config(first, config_name=config_name, config_dir=config_dir)
    refuse_not_done(parsed, config, command="sweep")
    check_config(config, reference, allow)
    for override in parsed:
        if not override.is_sweep_override():
            continue
        key = override.key_or_group
        options = _options(key, config_dir)
        for line in list(_values(override, config_dir))[1:]:
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
    return config


def _allowed(parsed: list[Override], config_dir: str | None) -> tuple[str, ...]:
    """Return what the command line allows, all values of a sweep included."""
    lines: list[list[str]] = [
        list(_values(o, config_dir)) if o.is_sweep_override() else [str(o.input_line)] for o in parsed
    ]
    named = [line for each in lines for line in each if line.lstrip("+").startswith("allow=") or "._target_=" in line]
    return tuple(name for line in named for name in allowed_by_name(parse_overrides([line])))


def _refuse_what_is_the_sweeps(parsed: list[Override]) -> None:
    for override in parsed:
        key = override.key_or_group
        if key == "resume" and override.value() is not None:
            raise ConfigError(f"{override.input_line}: goes on with one run; -m takes sweep.resume=<sweep folder>")
        ours = key in ("seeds", "sweep") or (key.startswith("sweep.") and not key.startswith("sweep.search_space"))
        if ours and override.is_sweep_override():
            hint = f"; a list is {key}=[…]" if key != "sweep" else ""
            raise ConfigError(f"{override.input_line}: belongs to the sweep and can't be varied{hint}")


def _first(override: Override, config_dir: str | None) -> str:
    for line in _values(override, config_dir):
        return line
    raise ConfigError(f"{override.input_line}: holds no value to try")


def _values(override: Override, config_dir: str | None) -> Iterator[str]:
    """Yield the override once for each value of its sweep; for an interval, its two ends."""
    name = str(override.get_key_element())
    value: Any = override.value()
    if override.is_interval_sweep():
        # Hydra reads interval(8,64) as floats; the sweep draws whole numbers where the config holds one
        yield from (f"{name}={int(end) if end == int(end) else end}" for end in (value.start, value.end))
    elif isinstance(value, Glob):
        options = _options(override.key_or_group, config_dir)
        matching = value.filter(options)
        if not matching:
            no_group = f"{override.key_or_group} is no group of choices"
            told = f"matches none of {', '.join(options)}" if options else no_group
            raise ConfigError(f"{override.input_line}: {told}")
        yield from (f"{name}={option}" for option in matching)
    else:
        yield from (f"{name}={text}" for text in override.sweep_string_iterator())


def _options(key: str, config_dir: str | None) -> list[str]:
    """Return a group's choices, gradloop's and the user's own."""
    folders = [conf_folder() / key, *([Path(config_dir) / key] if config_dir is not None else [])]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
