"""The life of a run: train, test, record."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.model_summary import summarize

from gradloop.callbacks.attributes import Attributes, give_layers, is_own
from gradloop.callbacks.hook import Hook
from gradloop.callbacks.pruning import Pruning
from gradloop.callbacks.restored import LoadOwn, Restored, check_weights, first_error
from gradloop.callbacks.stop_on_signal import StopOnSignal
from gradloop.callbacks.tensorboard_logger import TensorBoard
from gradloop.callbacks.tracker import Tracker
from gradloop.config.overrides import to_paste
from gradloop.config.own_module import target_of
from gradloop.config.targets import targets
from gradloop.data.data_checks import blank
from gradloop.errors import ConfigError, DivergedError, said
from gradloop.process import SESSION, is_second, tell
from gradloop.runs.planning import Config
from gradloop.runs.record import Record
from gradloop.runs.run import Run, outcome
from gradloop.runs.screen import closing, facts, lesson, no_pages, tensorboard_command
from gradloop.streams import fitted, paragraphs
from gradloop.training.beginning import check_data, start_from, told
from gradloop.training.machine import keep_freed_pages
from gradloop.training.own_module import OwnModule
from gradloop.training.parts import Parts

log = logging.getLogger("gradloop")


class Ready(NamedTuple):
    """A run that can begin: built, and nothing of it on the disk."""

    parts: Parts
    restored: Restored
    stop: StopOnSignal


def get_ready(config: Config, folder: Path) -> Ready:
    """Build what a run needs; raise what refuses it."""
    restored, stop = Restored(), StopOnSignal()
    own = any(is_own(target) for _, target in targets(config.values))
    more = [restored, stop, *([Pruning()] if config.prunes else []), *([Attributes()] if own else [])]
    parts = Parts(config.values, config.allow, more, folder, config.checkpoint)
    source = config.values.get("init_from")
    if config.checkpoint is None and source is not None:
        parts.begun = start_from(parts.module, str(source))
    return Ready(parts, restored, stop)


def run(config: Config, folder: Path, ready: Ready | None = None) -> Record:
    """Train, test, and return the record. A new run's folder is made when nothing can be refused any more.

    ready: what `get_ready` has built from the same config, in this process.
    """
    started, checkpoint = time.time(), config.checkpoint
    parts, restored, stop = ready or get_ready(config, folder)
    known: Record = {**config.known, **parts.described()}  # written as the run begins: a kill leaves no time for it
    folder = config.folder(folder)
    if checkpoint is not None:
        if not parts.own:  # whose layers may be made in `setup`
            check_weights(folder, parts.module, checkpoint)
        check_data(folder, parts.data, checkpoint)
    with stop:
        given: Any = {"started": started, "allow": config.allow, "known": known}
        with Run(folder, config.values, config.overrides, **given) as this:
            # Lightning starts the other processes of a run by its command line: they share its folder and its seed
            tell(folder=str(folder), seed=config.values["seed"])
            parts.enter(this, checkpoint)
            if not is_second():
                begin(parts, this)
            try:
                with this.timed("fit", before=lambda: seconds_before(parts)):
                    if checkpoint is None:
                        fit(parts, None)
                    else:
                        with restored.of(folder):
                            fit(parts, str(this.checkpoints / "last.ckpt"))
                if config.values["test"] and can_test(parts):
                    with this.timed("test"):
                        test(parts, this)
            finally:
                if not parts.own:
                    parts.module.float()  # pictures are drawn in these, whatever numbers the run was trained in
                finish(parts, this)
        if parts.trainer.is_global_zero:
            say(this)
        return this.record


def begin(parts: Parts, run: Run) -> None:
    """Print what is known now that all is built, and where the run lives."""
    print(fitted(facts(run.record)))
    for line in told(parts.begun) if parts.begun else ():
        print(fitted(line))
    print(f"folder: {run.folder}")
    if any(not isinstance(logger, Tracker) for logger in run.loggers):
        print(f"curves: {tensorboard_command(run.folder)}")
    for logger in run.loggers:
        if isinstance(logger, Tracker):
            print(f"{logger.label}: {logger.where()}")
    if run.values.get("summary"):
        if not parts.own and not (parts.module.test_time_flip or parts.module.test_time_shift):  # one pass a sample
            parts.module.example_input_array = blank(1, parts.recipe["facts"])  # shapes and FLOPs of a sample
        print(summarize(parts.module, max_depth=3))
    sys.stdout.flush()


def fit(parts: Parts, resume_from: str | None) -> None:
    """Train; on divergence keep the last finite weights."""
    trainer, module = parts.trainer, parts.module
    if isinstance(trainer.accelerator, CPUAccelerator):
        keep_freed_pages()
    try:
        with first_error(trainer):
            trainer.fit(module, datamodule=parts.data, ckpt_path=resume_from, weights_only=True)
    except MisconfigurationException as error:
        if not parts.own:
            raise
        raise ConfigError(f"module: {' '.join(str(error).split())}") from error
    except ValueError as error:
        if "val_check_interval" not in str(error):  # Lightning's word for loaders that are not known before
            raise
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error
    except DivergedError:
        for callback in hooks(trainer):
            callback.diverged(trainer, module)
        raise


def can_test(parts: Parts) -> bool:
    """Whether there is a test; say what it lacks."""
    for part, method in ((parts.module, "test_step"), (parts.data, "test_dataloader")) if parts.own else ():
        if not is_overridden(method, part):
            print(f"no test: {type(part).__qualname__} has no {method}")
            return False
    return True


def test(parts: Parts, run: Run) -> None:
    """Evaluate the best weights on the test part, once."""
    for callback in parts.callbacks if run.best else ():
        if isinstance(callback, Attributes):
            callback.reset(parts.module)
    if run.best and parts.own:
        parts.trainer.callbacks.append(LoadOwn(run.folder, run.best[0].payload))
    elif run.best:
        parts.module.load_state_dict(run.best[0].payload["state_dict"])
        give_layers(parts.module, run.best[0].payload)
    with first_error(parts.trainer):
        logged = parts.trainer.test(parts.module, datamodule=parts.data, verbose=False)
    if parts.own:
        parts.tested = {name: value for metrics in logged for name, value in metrics.items()}
    else:
        parts.tested = {n: float(v) for n, v in parts.trainer.callback_metrics.items() if n.startswith("test/")}


def seconds_before(parts: Parts) -> float:
    """Return how long the run has trained already, in the runs that it goes on from."""
    found = next((callback for callback in parts.callbacks if isinstance(callback, OwnModule)), parts.module)
    return found.seconds_before


def finish(parts: Parts, run: Run) -> None:
    """Write the results into the record, and draw what there is to see."""
    trainer = parts.trainer
    run.sum_up({name: float(value) for name, value in parts.tested.items()})
    # values that the run found for itself and used in place of the config's
    if found := {key: value for callback in hooks(trainer) for key, value in callback.found.items()}:
        run.record["found"] = found
    well = sys.exception() is None  # an error of the run's own is all that is told
    for callback in hooks(trainer) if trainer.is_global_zero else ():
        try:
            callback.draw(trainer, parts.module, run.folder)
        except Exception as error:  # a picture must not end a run that has its results
            name = type(callback).__name__
            log.exception("%s could not draw", name)
            if well:
                print(f"warning: {name} could not draw: {said(error)}; see train.log", file=sys.stderr)
    for logger in run.loggers:
        logger.finalize("success")
        if isinstance(logger, Tracker):
            best = run.record.get("best") or {}
            logged = parts.tested if parts.own else ()  # by Lightning
            found = {k: v for k, v in run.record["metrics"].items() if k not in logged}
            results = {k if k.startswith("test/") else f"best/{k}": v for k, v in found.items()}
            logger.log_metrics(results, step=best.get("step"))
            logger.close(outcome(sys.exception())[0])
        elif isinstance(logger, TensorBoard):
            logger.close()


def hooks(trainer: Any) -> list[Hook]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Hook)]


def say(run: Run) -> None:
    """Print the results, what there is to look at, and the next command."""
    for line in closing(run.record, run.folder):
        print(line)
    own, place = target_of(run.values), os.path.relpath(run.folder)
    tried = (run.checkpoints / "best.ckpt").is_file()  # not so with debug=fast_dev_run
    session = any(name.startswith(SESSION) for name in run.allow)  # gone when a command is typed
    if tried and not session and (own is None or "test" in run.record["durations"]):
        follows = "explain" if own is None and no_pages(run.recipe["facts"]) is None else "evaluate"
        print("next:", to_paste(follows, "run", run.folder if place.startswith("..") else place, run.allow))
    if (run.folder / "lesson.png").is_file():
        paragraphs(lesson(run.record.get("experiment"), run.values.get("lang", "en")))
