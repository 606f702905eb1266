"""The main job, top to bottom: `gradloop-train data=… model=… optimizer.lr=…`."""

from __future__ import annotations

import time
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
    """Train, test, record: the life of a run. Its folder is claimed when nothing can be refused any more."""
    values = planned.values
    started = time.time()
    with collector_at_rest():
        from gradloop.callbacks.restored import check_weights
        from gradloop.callbacks.stop_on_signal import StopOnSignal
        from gradloop.runs.recording import Recording
        from gradloop.training.run_parts import RunParts

    with StopOnSignal() as stop:
        parts = RunParts(
            values, stop, planned.allow
        )  # everything that may refuse does so here, before anything is created
        folder = planned.folder()
        if planned.checkpoint is not None:
            check_weights(folder, parts.module, planned.checkpoint)
        with Recording(folder, values, planned.overrides, started=started) as recording:
            recording.record |= parts.described()
            parts.enter(folder, planned.checkpoint)
            try:
                with parts.timed(recording.record, "fit"):
                    if planned.checkpoint is None:
                        parts.fit()
                    else:
                        with parts.restored.of(folder):
                            parts.fit()
                if values["test"]:
                    with parts.timed(recording.record, "test"):
                        parts.test()
            finally:
                parts.finish(recording.record)
        parts.say(recording.record)
        return recording.record


if __name__ == "__main__":  # by its own name: whoever looks the job up finds it there
    from gradloop.commands.train import main as command_main

    command_main()
