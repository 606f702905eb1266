"""The main job, top to bottom: `gradloop-train data=… model=… optimizer.lr=…`."""

from __future__ import annotations

import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gradloop.config.command_line import command
from gradloop.importing import collector_at_rest
from gradloop.runs.record import Record

if TYPE_CHECKING:
    from gradloop.config.one_run import Planned


def main() -> None:
    """Run the command `gradloop-train`."""
    command("train", run, sweep_job)


def train(overrides: list[str] | None = None) -> Record:
    """Do from Python what `gradloop-train <overrides>` does; return the run's record."""
    return run(list(overrides or []), None, "train")


def run(overrides: list[str], config_dir: str | None, config_name: str) -> Record:
    """Compose, check and run one config; or go on with a run that was stopped."""
    from gradloop.config.one_run import plan

    planned = plan(overrides, config_dir, config_name)
    return fit_and_test(planned)


def sweep_job(config: Any) -> Record:
    """Run one job of a sweep; Hydra has composed its config and made its folder."""
    from gradloop.config.one_run import plan_job

    planned = plan_job(config)
    return fit_and_test(planned)


def fit_and_test(planned: Planned) -> Record:
    """Train, test, record: the life of a run. Its folder is claimed when nothing can be refused any more."""
    values = planned.values
    started = time.time()
    with collector_at_rest():
        from gradloop.callbacks.stop_on_signal import StopOnSignal
        from gradloop.run_parts import RunParts
        from gradloop.runs.recording import Recording

    with StopOnSignal() as stop:
        parts = RunParts(
            values, stop, planned.allow
        )  # everything that may refuse does so here, before anything is created
        folder = planned.folder()
        with Recording(folder, values, planned.overrides, started=started) as recording:
            recording.record |= parts.described()
            parts.enter(folder, planned.checkpoint)
            try:
                with parts.timed(recording.record, "fit"):
                    parts.fit()
                if values["test"]:
                    with parts.timed(recording.record, "test"):
                        parts.test()
            finally:
                parts.finish(recording.record)
        parts.say(recording.record)
        return recording.record


class _Callable(ModuleType):
    def __call__(self, overrides: list[str] | None = None) -> Record:
        return train(overrides)


sys.modules[__name__].__class__ = _Callable  # `gradloop.train` names this module: let it be called as well


if __name__ == "__main__":  # python -m gradloop.train
    from gradloop.train import main as command_main  # by its own name: a sweep's workers look the job up by it

    command_main()
