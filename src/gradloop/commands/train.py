"""The main job, top to bottom: `gradloop-train data=… model=… optimizer.lr=…`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradloop.commands.command_line import command
from gradloop.process import collector_at_rest
from gradloop.runs.record import Record

if TYPE_CHECKING:
    from gradloop.runs.planning import Planned


def main() -> None:
    """Run the command `gradloop-train`."""
    command("train", run, sweep)


def train(overrides: list[str] | None = None) -> Record:
    """Do from Python what `gradloop-train <overrides>` does; return the run's record."""
    return run(list(overrides or []), None, "train")


def run(overrides: list[str], config_dir: str | None, config_name: str) -> Record:
    """Compose, check and run one config; or go on with a run that was stopped."""
    from gradloop.runs.planning import plan

    planned = plan(overrides, config_dir, config_name)
    return fit_and_test(planned)


def sweep(overrides: list[str], config_dir: str | None, config_name: str) -> None:
    """Run a sweep, which `-m` asks for."""
    from gradloop.sweeps.sweep import run_sweep

    run_sweep(overrides, config_dir, config_name)


def fit_and_test(planned: Planned) -> Record:
    """Run what was planned, with the libraries imported in less time."""
    with collector_at_rest():
        from gradloop.training.fit import run as run_planned
    return run_planned(planned)


if __name__ == "__main__":  # by its own name: whoever looks the job up finds it there
    from gradloop.commands.train import main as command_main

    command_main()
