"""What the commands about finished runs share: their checked values, and the run that these name."""

from pathlib import Path
from typing import Any

from gradloop.errors import CheckpointError, ConfigError

Values = dict[str, Any]


def values_of(
    command: str, overrides: list[str], config_dir: str | None, config_name: str
) -> tuple[Values, tuple[str, ...]]:
    """Return a command's values, composed and checked, and the names of the user's own code that it allows."""
    from gradloop.config.check import allowed_by_name, check_config
    from gradloop.config.compose import compose_config
    from gradloop.config.conf_folder import read_choice
    from gradloop.config.not_done import refuse_not_done
    from gradloop.config.overrides import parse_overrides, refuse_sweep

    parsed = parse_overrides(overrides)
    refuse_sweep(parsed, f"gradloop {command} takes one")
    allow = allowed_by_name(parsed)
    config, reference = compose_config(overrides, config_name=config_name, config_dir=config_dir)
    for key in read_choice("", command) if config_name != command else ():
        if key not in config:
            raise ConfigError(f"--config-name={config_name}: has no '{key}', which gradloop {command} asks for")
    refuse_not_done(parsed, config, command=command)
    return check_config(config, reference, allow, checks_name=False), allow


def chosen_run(values: Values) -> Path:
    """Return the run of `run=<folder>|last`, or the best run of `sweep=<folder>|last`."""
    from gradloop.runs.finding import last_sweep, run_folder

    run, sweep = values["run"], values["sweep"]
    if (run is None) == (sweep is None):
        what = "give one with run=<run folder>, run=last, or sweep=<sweep folder>|last for its best"
        raise ConfigError(f"'run' has no value: {what}" if run is None else f"run={run} and sweep={sweep}: {what}")
    root = Path(str(values["output_dir"]))
    if run is not None:
        return last_run(root) if run == "last" else run_folder("run", str(run))
    return best_of(last_sweep("sweep", root / "sweeps") if sweep == "last" else Path(str(sweep)))


def last_run(root: Path) -> Path:
    """Return the run that was started last, alone or in a sweep."""
    from gradloop.runs.finding import last_of

    return last_of("run", [root / "train", *(path for path in (root / "sweeps").glob("*") if path.is_dir())])


def best_of(folder: Path) -> Path:
    """Return the folder of a sweep's best run."""
    from gradloop.sweeps.results.leaderboard import best_run, leaderboard
    from gradloop.sweeps.sweep_folder import read_sweep

    if not folder.is_dir():
        raise CheckpointError(f"sweep={folder}: no such sweep folder")
    board = leaderboard(read_sweep(folder))
    if (job := best_run(board)) is None:
        raise CheckpointError(f"sweep={folder}: no run of it has ended well")
    print(f"the best run of {folder}: {board.sweep.job_folder(job)}")
    return board.sweep.job_folder(job)
