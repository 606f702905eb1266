"""Composing a config with Hydra: the files that the groups choose, and single values on top."""

import contextlib
import os
import pickle
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from gradloop.config.conf_folder import choices_of, conf_folder, own_main
from gradloop.config.not_done import check_hydra_node
from gradloop.config.overrides import parse_overrides, quoted
from gradloop.config.own_files import without_own_files
from gradloop.config.wording import explain, no_such_choice, no_such_key
from gradloop.errors import ConfigError

# Hydra 1.3 wants to be told how old the program is; 1.4 warns who tells it
VERSION: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
NO_GROUPS = ("evaluate", "explain", "list")  # configs without a group to choose from: `sweep` is a key of theirs
_composed: dict[tuple[Any, ...], tuple[bytes, DictConfig]] = {}


def compose_config(
    overrides: Sequence[str], *, config_name: str = "train", config_dir: str | None = None
) -> tuple[DictConfig, DictConfig]:
    """Return (config, reference): the composed config, and the same without the overrides of single values.

    The reference holds what gradloop's YAML files say; its values are the types that an override, and a user's own
    file, has to match.
    Both carry Hydra's own node. Raises ConfigError.
    """
    parsed = parse_overrides(overrides)
    if config_dir == "":
        raise ConfigError("--config-dir=: expected a folder")
    if config_dir is not None and not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir={config_dir}: no such folder")
    callers = GlobalHydra.instance().hydra  # of a program that composes configs of its own
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), job_name="train", **VERSION):
            groups: list[Override] = []
            values: list[Override] = []
            for override in parsed:
                key = override.key_or_group
                own = config_name in NO_GROUPS and not key.startswith("hydra")
                options = [] if own else group_options(key, config_dir)
                _check_choice(override, options)
                several = isinstance(override.value(), dict)  # single values, of a group
                (groups if options and not several else values).append(override)
            chosen, reference = _files(config_name, config_dir, tuple(str(o.input_line) for o in groups))
        config = _with_values(pickle.loads(chosen), parsed, values)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.name}:{mark.line + 1}" if mark else "a YAML file"
        raise ConfigError(f"{place}: no YAML: {error.problem or error.context}") from error
    except KeyError as error:  # Hydra looks the names up in os.environ
        raise ConfigError(f"hydra.job.env_copy=[{error.args[0]}]: the environment has no such variable") from error
    finally:
        GlobalHydra.instance().hydra = callers
    check_hydra_node(config)
    return config, reference


def group_options(group: str, config_dir: str | None = None) -> list[str]:
    """Return a group's choices, gradloop's, the user's own and Hydra's; none: it is no group. Hydra has to be on."""
    if "." in group or not group:
        return []
    theirs = group.startswith("hydra/") and group != "hydra/launcher"  # engines are gradloop's own
    hydras = GlobalHydra.instance().config_loader().get_group_options(group) if theirs else ()
    return sorted({*choices_of(group, config_dir), *hydras})


def _files(config_name: str, config_dir: str | None, groups: tuple[str, ...]) -> tuple[bytes, DictConfig]:
    """Compose (config, reference) from the files alone, or take them from a moment ago: a sweep asks in each job.

    The config is pickled: that is the quickest copy of one.

    Hydra looks into the user's folder after ours, so that it can't replace a file: one of the same name is refused.
    """
    files: list[Path] = []
    lines = list(groups)
    main = own_main(config_name, config_dir)
    if config_dir is not None:
        own = Path(config_dir).absolute()
        files = [path for pattern in ("*.yaml", "*/*.yaml", "*/*/*.yaml") for path in own.glob(pattern)]
        for path in files:
            ours = conf_folder() / path.relative_to(own)
            if ours.is_file() and ours.read_bytes() != path.read_bytes():
                raise ConfigError(f"{path}: gradloop has a file of that name, which yours can't replace; rename it")
        lines.append(f"hydra.searchpath=[{quoted(f'file://{own}')}]")
    key = (config_name, *lines, len(files), max((path.stat().st_mtime_ns for path in files), default=0))
    if key not in _composed:
        with _offered(config_name, main):
            chosen = reference = compose(config_name, lines, return_hydra_config=True)
        if config_dir is not None:
            OmegaConf.set_readonly(chosen.hydra, False)
            chosen.hydra.searchpath = []
            reference = without_own_files(chosen, config_name)
        _composed[key] = pickle.dumps(chosen), reference
    return _composed[key]


@contextlib.contextmanager
def _offered(config_name: str, main: Any) -> Iterator[None]:
    """Let Hydra find a main config of the user's own: it looks for that before it knows of the user's folder."""
    store = ConfigStore.instance()
    before = deepcopy(store.repo) if main is not None else store.repo
    if main is not None:
        group, _, name = config_name.rpartition("/")
        store.store(name, main, group=group or None, provider="command-line")
    try:
        yield
    finally:
        store.repo = before  # where Hydra finds the file by itself, it may not be there twice


def _with_values(config: DictConfig, parsed: Sequence[Override], values: list[Override]) -> DictConfig:
    """Return the config with its single values, as Hydra puts them in.

    No file of a defaults list depends on a single value, so composing anew would give the same, 100 times slower.
    """
    OmegaConf.clear_cache(config)  # `now` is now
    OmegaConf.set_readonly(config.hydra, False)
    # what these take is known when their targets are: no key of theirs needs a +
    targets = [o.key_or_group for o in values if o.key_or_group.endswith("._target_")]
    open_keys = (*NAMED_BY_USERS, *(key.removesuffix("_target_") for key in targets))
    for override in values:
        try:
            _apply(override, config, open_keys)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{override.input_line}: {str(error).splitlines()[0]}") from error
    task = [o for o in parsed if not o.is_hydra_override()]
    with open_dict(config.hydra):
        config.hydra.runtime.cwd = os.getcwd()
        config.hydra.overrides.task = [o.input_line for o in task]
        config.hydra.overrides.hydra = [o.input_line for o in parsed if o.is_hydra_override()]
        if not OmegaConf.is_interpolation(config.hydra.job, "override_dirname"):  # Hydra 1.4 sees to it
            names = config.hydra.job.config.override_dirname
            shown = sorted(str(o.input_line) for o in task if o.key_or_group not in names.exclude_keys)
            config.hydra.job.override_dirname = names.item_sep.join(shown).replace("=", names.kv_sep)
    return config


NAMED_BY_USERS = ("metrics.", "optimizer.groups.", "module.")  # no file knows what comes after: it needs no +


def _apply(override: Override, config: DictConfig, open_keys: tuple[str, ...]) -> None:
    key, value, line = override.key_or_group, override.value(), str(override.input_line)
    if isinstance(value, dict):
        key = key.replace("/", ".")  # of a group
    if override.package is not None:
        raise ConfigError(f"{line}: '{key}' is no group of choices")
    there = None
    if override.is_delete() or override.is_add() or "extend_list(" in line:
        there = OmegaConf.select(config, key, throw_on_missing=False)
    if override.is_delete():
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        if not isinstance(node, DictConfig) or there is None:
            raise ConfigError(f"'{key}': {no_such_key(key, config)}")
        if value is not None and value != there:
            raise ConfigError(f"{line}: its value is {there}")
        with open_dict(node):
            del node[name]
        return
    if override.is_add() and there is not None and not isinstance(value, dict | list):
        raise ConfigError(f"{line}: there is one already; change it with {line.lstrip('+')}")
    if isinstance(there, ListConfig) and "extend_list(" in line and isinstance(value, list):  # of Hydra 1.4
        value = [*there, *value]
    try:
        added = override.is_add() or override.is_force_add() or key.startswith((*open_keys, "sweep.search_space"))
        OmegaConf.update(config, key, value, merge=True, force_add=added)
    except (ConfigAttributeError, ConfigKeyError) as error:
        known = OmegaConf.select(config, key)
        if isinstance(value, dict) and isinstance(known, DictConfig):  # one of several keys at once
            key = next((f"{key}.{name}" for name in value if name not in known), key)
        raise ConfigError(f"'{key}': {no_such_key(key, config)}") from error


def _check_choice(override: Override, options: Sequence[str]) -> None:
    """Refuse a group's choice that is not there: Hydra's own answers are many lines, or a traceback."""
    group = override.key_or_group
    if not options or override.is_delete() or override.is_sweep_override() or isinstance(override.value(), dict):
        return
    chosen = override.value()
    for name in chosen if isinstance(chosen, list) else [chosen]:
        if not isinstance(name, str):
            instead = f"; ~{group} takes it away" if group in ("experiment", "debug") else ""
            instead = f"; did you mean '{group}=none'?" if "none" in options and name is None else instead
            raise ConfigError(f"{override.input_line}: expected one of {', '.join(options)}{instead}")
        if name not in options and "/" not in name:
            raise ConfigError(no_such_choice(group, name, options))
