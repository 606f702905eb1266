"""How a sweep begins: its folder, new or to go on with; its search space from YAML; its seeds."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from gradloop.errors import CheckpointError, ConfigError
from gradloop.runs.folder import check_own, check_writable, claim_folder
from gradloop.sweeps.search_space import plain_key
from gradloop.sweeps.sweep_folder import FOLD, SEED, SWEEP_FILE, Sweep, as_text, read_sweep


def open_sweep(config: Any, options: dict[str, Any], given: list[str], command: str) -> Sweep:
    """Make a sweep's folder, or find the one to go on with. given: options that a run needs as well.

    command: what was typed."""
    folder = Path(str(config.hydra.sweep.dir)).absolute()
    resume = options.get("resume")
    if resume is None:
        check_writable(folder)
        folder = claim_folder(folder)
        return Sweep(folder, folder.name, options["method"], command, [], options=given, started=time.time())
    if resume == "last":
        sweeps = [file.parent for file in folder.parent.glob(f"*/{SWEEP_FILE}")]
        if not sweeps:
            raise CheckpointError(f"sweep.resume=last: no sweep in {folder.parent}")
        folder = max(sweeps, key=lambda path: read_sweep(path).started)
    else:
        folder = Path(str(resume)).absolute()
        if not (folder / SWEEP_FILE).is_file():
            raise CheckpointError(f"sweep.resume={resume}: no sweep there (no {SWEEP_FILE})")
    check_own(folder)
    sweep = read_sweep(folder)
    if sweep.method != options["method"]:
        raise ConfigError(f"sweep.resume={resume}: that sweep chose its settings by sweep.method={sweep.method}")
    return sweep


def seeds_of(
    config: Any, options: dict[str, Any], fixed: list[str], space: dict[str, Any], sweep: Sweep
) -> tuple[list[int] | None, list[str]]:
    """Return the seeds that every setting runs with (None: those of the command line), and the fixed overrides.

    Without a seed, one is drawn for all runs: settings that differ in their seeds too could not be told apart.
    """
    wanted = options.get("seeds")
    wanted = config.get("seeds") if wanted is None else wanted
    seed_varies = any(plain_key(key) == SEED for key in space)
    base = config.get(SEED) if not seed_varies else None
    if base is None and not seed_varies:
        base = secrets.randbelow(2**32 - 2**16) if sweep.seed is None else sweep.seed
    sweep.seed = base
    without = [text for text in fixed if plain_key(text.split("=", 1)[0]) != SEED]
    if wanted is None:
        return None, fixed if seed_varies else [*without, f"{SEED}={base}"]
    if seed_varies:
        raise ConfigError("seeds: the command line varies seed itself; give one of the two")
    if isinstance(wanted, list) and wanted and all(isinstance(s, int) for s in wanted):
        return list(dict.fromkeys(wanted)), without
    if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted >= 1:
        return [base + number for number in range(wanted)], without  # type: ignore[operator]
    raise ConfigError(f"seeds={wanted}: expected how many (1 or more), or a list of seeds")


def folds_of(config: Any, space: dict[str, Any]) -> int | None:
    """Return on how many folds every setting runs; None where there are none, or the command line names the fold."""
    named = config.data.get("fold") is not None or any(plain_key(key) == FOLD for key in space)
    return None if named else config.get("folds")


def flat_space(space: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"optimizer": {"lr": "1,2"}}` and `{"optimizer.lr": "1,2"}` -> `{"optimizer.lr": "1,2"}`"""
    flat: dict[str, str] = {}
    for key, value in space.items():
        if isinstance(value, dict):
            flat |= flat_space(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else as_text(value)
    return flat
