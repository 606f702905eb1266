"""How a sweep begins: its command line, checked; its folder, new or to go on with; its seeds and folds."""

import contextlib
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf

from gradloop.config.check import allowed_by_name, checked
from gradloop.config.compose import compose_config
from gradloop.config.conf_folder import choices_of
from gradloop.config.idle import refuse_idle
from gradloop.config.overrides import parse_overrides
from gradloop.config.rules import is_whole
from gradloop.config.wording import no_such_choice
from gradloop.errors import CheckpointError, ConfigError
from gradloop.runs.finding import SWEEP_FILE, last_sweep
from gradloop.runs.folder import check_own, check_own_place, check_writable, claim_folder
from gradloop.sweeps.composing import Composer, idle_everywhere
from gradloop.sweeps.engines import check_engine_name
from gradloop.sweeps.search_space import NOT_VARIED, PREFIX, Space, draw, given_space, listed, plain_key, texts
from gradloop.sweeps.sweep_folder import FOLD, SEED, Sweep, read_sweep

LAST_SEED = 2**32 - 1
NOT_COMPOSED = ("seeds", "resume")  # these speak to the sweep
TARGET = "._target_="
LOCK = ".sweep.lock"


def check_sweep(overrides: list[str], config_dir: str | None, config_name: str) -> tuple[DictConfig, tuple[str, ...]]:
    """Return the sweep's own config, and what its command line allows; raise ConfigError for any wrong value.

    A run of its first values is checked, and one for every further value of a key; every further choice of a group
    is looked up. The sweep's own config has no value of what is varied, but for the first choice of a group.
    """
    every = parse_overrides(overrides)
    for override in every:
        _refuse_varied(override)
    parsed = [_of_a_run(o) for o in every if o.key_or_group not in NOT_COMPOSED]
    parsed = [o for o in parsed if not o.key_or_group.startswith(PREFIX)]
    tried = [_lines(override, config_dir) for override in parsed]
    first = [lines[0] for lines in tried]
    naming = [line for lines in tried for line in lines if line.lstrip("+").startswith("allow=") or TARGET in line]
    allow = allowed_by_name(parse_overrides(naming))
    config, values = checked(first, config_dir, config_name, allow, asked=parsed, command="sweep", idle=False)
    others = [[*first[:place], line, *first[place + 1 :]] for place, lines in enumerate(tried) for line in lines[1:]]
    refuse_idle(parsed, idle_everywhere(values, parsed, others, Composer(config_dir, config_name, allow)))
    check_engine_name(config.hydra.runtime.choices.get("hydra/launcher"))  # a YAML file may have named it
    typed = {override.key_or_group for override in parsed}
    fixed = [o for o in every if not o.is_sweep_override() or choices_of(o.key_or_group, config_dir)]
    own = [_lines(override, config_dir)[0] for override in fixed]
    config, _ = compose_config(own, config_name=config_name, config_dir=config_dir)
    wanted, base = _wanted_seeds(config), config.get("seed") or 0
    if is_whole(wanted, 1) and base + wanted > LAST_SEED + 1:
        raise ConfigError(f"seeds={wanted}: from seed={base} on; seeds end at {LAST_SEED}")
    given = [o for o in _given(config) if plain_key(o.key_or_group) not in typed]
    tried += [["", *_lines(override, config_dir)] for override in given]
    for place, override in enumerate([*parsed, *given]):
        key, options = override.key_or_group, choices_of(override.key_or_group, config_dir)
        for line in tried[place][1:]:
            value = parse_overrides([line])[0].value()
            if not options:
                one = [*first[:place], line, *first[place + 1 :]]
                checked(one, config_dir, config_name, allow, asked=[], command="sweep")
            elif isinstance(value, str) and value not in options:
                raise ConfigError(no_such_choice(key, value, options))
    return config, allow


def _given(config: DictConfig) -> list[Override]:
    """Return that space as overrides, but for what can't be read: who takes the space in says so."""
    found = []
    for key, text in given_space(config).items():
        with contextlib.suppress(ConfigError):
            found += [listed(override) for override in parse_overrides([f"{key}={text}"])]
    return found


def _of_a_run(override: Override) -> Override:
    """What a run is given of `sweep.search_space.optimizer.lr=1,2`: `optimizer.lr=1,2`."""
    line = str(override.input_line).lstrip("+")
    if not (line.startswith(PREFIX) and override.is_sweep_override()):
        return override
    return parse_overrides([line.removeprefix(PREFIX)])[0]


def _refuse_varied(override: Override) -> None:
    """Refuse several values where a sweep takes one, and what only a single run takes."""
    key = override.key_or_group
    if key == "resume" and override.value() is not None:
        raise ConfigError(f"{override.input_line}: goes on with one run; -m takes sweep.resume=<sweep folder>")
    ours = key in NOT_VARIED or (key.startswith("sweep.") and not key.startswith("sweep.search_space"))
    if (ours or key == "hydra/launcher") and override.is_sweep_override():
        hint = f"; a list is {key}=[…]" if key not in ("folds", "output_dir", "sweep", "hydra/launcher") else ""
        raise ConfigError(f"{override.input_line}: belongs to the sweep and can't be varied{hint}")
    if key == "hydra/launcher":
        check_engine_name(override.value())


def _lines(override: Override, config_dir: str | None) -> list[str]:
    """Return the override once for each value of its sweep; for an interval, its two ends."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    name = str(override.get_key_element())
    value: Any = override.value()
    if override.is_interval_sweep():
        # Hydra reads interval(8,64) as floats; the sweep draws whole numbers where the config holds one
        if not all(map(math.isfinite, (value.start, value.end))):
            raise ConfigError(f"{override.input_line}: expected bounds that are finite")
        return [f"{name}={int(end) if end == int(end) else end}" for end in (value.start, value.end)]
    lines = [f"{name}={text}" for text in texts(override, config_dir)]
    if not lines:
        raise ConfigError(f"{override.input_line}: holds no value to try")
    return lines


def folder_of(config: Any, options: dict[str, Any]) -> Path:
    """Make a sweep's folder, or find the one to go on with."""
    folder = Path(str(config.hydra.sweep.dir)).absolute()
    resume = options.get("resume")
    if resume is None:
        check_own_place("hydra.sweep.dir", str(config.hydra.sweep.dir), "sweep")
        check_writable(folder)
        return claim_folder(folder)
    if resume == "last":
        folder = last_sweep("sweep.resume", folder.parent)
    else:
        folder = Path(str(resume)).absolute()
        if not (folder / SWEEP_FILE).is_file():
            raise CheckpointError(f"sweep.resume={resume}: no sweep there (no {SWEEP_FILE})")
    check_own(folder)
    return folder


def _opened(folder: Path, options: dict[str, Any], given: list[str], command: str) -> Sweep:
    """Return what is known of a sweep, or begin it. Its lock is held: another process may have changed its plan."""
    if (resume := options.get("resume")) is None:
        return Sweep(folder, folder.name, options["method"], command, [], options=given, started=time.time())
    sweep = read_sweep(folder)
    if sweep.method != options["method"]:
        raise ConfigError(f"sweep.resume={resume}: that sweep chose its settings by sweep.method={sweep.method}")
    return sweep


@contextlib.contextmanager
def working_on(config: Any, options: dict[str, Any], given: list[str], command: str) -> Iterator[Sweep]:
    """Open a sweep, and be the one process that works on it; raise CheckpointError where another is.

    given: options that a run needs as well. command: what was typed.
    What is refused before it has a plan leaves no folder, nor those made for it.
    """
    there = [path for path in Path(str(config.hydra.sweep.dir)).absolute().parents if os.path.exists(path)]
    folder = folder_of(config, options)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        sweep = read_sweep(folder)
        study = f"sweep.storage={sweep.storage or '…'} sweep.study={sweep.study or '…'}"
        search = f"; to search with it, start a sweep of your own with {study}" if sweep.method == "optuna" else ""
        raise CheckpointError(f"{folder}: another process works on this sweep{search}") from None
    except OSError as error:
        raise CheckpointError(f"{folder / LOCK}: can't be locked: {error.strerror}") from error
    try:
        yield _opened(folder, options, given, command)
    finally:
        lock.release()
        if not (folder / SWEEP_FILE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            for path in [path for path in folder.parents if path not in there]:
                with contextlib.suppress(OSError):  # another run's folder is there by now
                    path.rmdir()


def _wanted_seeds(config: Any) -> Any:
    wanted, short = config.sweep.get("seeds"), config.get("seeds")
    if None not in (wanted, short) and wanted != short:
        raise ConfigError(f"seeds={short} and sweep.seeds={wanted}: give one of the two")
    wanted = short if wanted is None else wanted
    return list(wanted) if isinstance(wanted, ListConfig) else wanted


def seeds_of(
    config: Any, fixed: list[str], space: dict[str, Any], sweep: Sweep
) -> tuple[list[int] | None, list[str]]:
    """Return the seeds that every setting runs with (None: those of the command line), and the fixed overrides.

    Without a seed, one is drawn for all runs: settings that differ in their seeds too could not be told apart. The
    config gets it.
    """
    wanted = _wanted_seeds(config)
    seed_varies = any(plain_key(key) == SEED for key in space)
    base = config.get(SEED) if not seed_varies else None
    if base is None and not seed_varies:
        base = secrets.randbelow(2**32 - 2**16) if sweep.seed is None else sweep.seed
    if not seed_varies:
        config[SEED] = base
    if not sweep.jobs:  # one that goes on keeps that of its first command
        sweep.seed = base
    without = [text for text in fixed if plain_key(text.split("=", 1)[0]) != SEED]
    if wanted is None:
        return None, fixed if seed_varies else [*without, f"{SEED}={base}"]
    if seed_varies:
        raise ConfigError("seeds: the command line varies seed itself; give one of the two")
    if isinstance(wanted, list) and wanted and all(is_whole(s, 0) and s <= LAST_SEED for s in wanted):
        if typed := next((text for text in fixed if text not in without), None):
            raise ConfigError(f"{typed}: seeds={wanted} names the seeds; give one of the two")
        if not sweep.jobs:
            sweep.seed = None
        return list(dict.fromkeys(wanted)), without
    if isinstance(wanted, int) and is_whole(wanted, 1):
        return [base + number for number in range(wanted)], without  # type: ignore[operator]
    raise ConfigError(f"seeds={wanted}: expected how many (1 or more), or a list of seeds (0 to {LAST_SEED})")


def check_folds(config: Any, sweep: Sweep) -> None:
    """Refuse to go on with another number of folds: their runs would be repetitions of one setting."""
    data = [job.record.get("data") for job in sweep.jobs if job.record]
    had = {(each.get("folds") or {}).get("folds") for each in data if isinstance(each, dict) and "samples" in each}
    key = "folds" if config.get("folds") is not None else "data.folds"
    if had and (asked := OmegaConf.select(config, key)) not in had:
        before = ", ".join(str(count) for count in had)
        raise ConfigError(f"{key}={asked}: this sweep's runs have {key}={before}; start a new sweep")


def folds_of(config: Any, space: dict[str, Any]) -> int | None:
    """Return on how many folds every setting runs; None where there are none, or the command line names the fold."""
    named = config.data.get("fold") is not None or any(plain_key(key) == FOLD for key in space)
    return None if named else config.get("folds")


def first_of(space: Space, seeds: list[int] | None, folds: int | None) -> list[str]:
    """Return a point of the space, to see what a config of this sweep looks like."""
    point = draw(space, 1, seed=0)[0] if space else {}
    of_a_run = [*([f"{SEED}={seeds[0]}"] if seeds else []), *([f"{FOLD}=0"] if folds else [])]
    return [*(f"{key}={value.text}" for key, value in point.items()), *of_a_run]
