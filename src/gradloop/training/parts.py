"""The parts of a run, built from its checked config: data, module, trainer."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden

from gradloop.callbacks.attributes import is_own
from gradloop.callbacks.batch_size_finder import BatchSizeFinder
from gradloop.callbacks.freeze import Freeze
from gradloop.callbacks.hook import Hook
from gradloop.callbacks.throughput import Throughput
from gradloop.callbacks.tracker import Tracker
from gradloop.config.own_module import target_of
from gradloop.config.targets import locate, targets
from gradloop.data.batches import limited_parts
from gradloop.data.data_module import DataModule
from gradloop.errors import ConfigError
from gradloop.process import is_second
from gradloop.runs.checkpoint_io import CheckpointFiles
from gradloop.runs.labels import event_folder, has_direction, mode_of
from gradloop.runs.record import Record
from gradloop.runs.run import Run
from gradloop.training.beginning import described_data
from gradloop.training.build import Builder, facts_of
from gradloop.training.callback_checks import check_averages, check_callbacks
from gradloop.training.kinds import is_set_from_data, set_from_data
from gradloop.training.loop.logged import Logged
from gradloop.training.loop.loop import SeedFirst
from gradloop.training.loop.own_loop import OwnLoop
from gradloop.training.loop.position import Position
from gradloop.training.machine import check_devices, precision_of, quiet_libraries, set_threads
from gradloop.training.optimizing import direction
from gradloop.training.own_module import OwnModule
from gradloop.training.places import check_loggers, check_places, check_trainer, in_place, move_into
from gradloop.training.trials import check_monitor, try_steps

BY_LOOP = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")  # not the Trainer's business


class Parts:
    """Data, module and trainer of a checked config. Building them refuses what can't run, and creates nothing.

    allow: the user's own names from the command line. more: callbacks besides the config's. place: where the run is
    to lie, if it is known. checkpoint: what it goes on from.
    """

    def __init__(
        self,
        values: dict[str, Any],
        allow: tuple[str, ...],
        more: list[pl.Callback],
        place: Path | None = None,
        checkpoint: dict[str, Any] | None = None,
    ) -> None:
        started = time.time()
        quiet_libraries()
        self.values = values
        self.build = Builder(allow)
        for key, target in targets(values):  # all of them, before the first is called
            if target is not None:
                locate(key, target, allow)
        self.own = target_of(values) is not None  # a LightningModule of the user's own
        named = self.build.named("callbacks", values["callbacks"] or {})
        if checkpoint is not None:  # what was found is in it
            named = [callback for callback in named if not isinstance(callback, pl.callbacks.LearningRateFinder)]
        if not self.own and any(not isinstance(callback, Hook) for callback in named):  # others': they draw, and log
            named = [SeedFirst(), *named, Logged()]
        named += more
        self.callbacks = sorted(named, key=lambda each: each.order if isinstance(each, Hook) else 0)
        check_averages(self.callbacks)
        check_callbacks(self.callbacks, own=self.own)
        self.place = place or Path.cwd()
        self.trainer = self._trainer()
        check_trainer(self.trainer, Path())
        finders = [each for each in self.callbacks if isinstance(each, BatchSizeFinder)]
        self.data = self.build.data(values["data"], values["seed"], own=self.own)
        if isinstance(self.data, DataModule):
            self.data.limited = limited_parts(values["trainer"])
            self.data.size_is_found = bool(finders)
            if checkpoint is not None:
                self.data.take_over(checkpoint["gradloop"]["recipe"]["preprocessing"])
            self.data.check()
        facts = facts_of(self.data)
        if facts and values["loss"].get("weight") == "balanced" and facts["task"] != "regression":
            self.data.setup("fit")
            facts["class_weights"] = self.data.class_weights()
        self.module: Any
        self.loop: Position
        if self.own:
            self._check_callbacks()
            self.module = self.build.own_module(values, facts)
            if isinstance(self.data, DataModule):
                self.data.copies = True
            exact = isinstance(self.data, DataModule) and not is_overridden("train_dataloader", self.data, DataModule)
            self.loop = OwnLoop(self.module, seed=values["seed"], exact=exact)
            self.monitor = values["monitor"] or ""
            self.mode = values["monitor_mode"] or (mode_of(self.monitor) if has_direction(self.monitor) else "")
            self.callbacks.insert(0, OwnModule(self.monitor, self.mode))
            self.trainer.callbacks.insert(0, self.callbacks[0])
        else:
            self.module = self.build.module(values, self.data, facts)
            for callback in self.callbacks:
                if isinstance(callback, Freeze):
                    callback.body(self.module)  # a mistake in its layers shows before anything is created
            self.loop = self.module.loop
            codes = [*map(type, self.module.modules()), self.module.loss]
            self.data.copies = any(is_own(code.__module__) for code in codes)  # which may write into a batch
            self.monitor, self.mode = self._monitor()
            self.module.monitored = self.monitor
        for callback in self.callbacks if self.monitor else ():
            if isinstance(callback, Hook):
                callback.follow(self.monitor, self.mode)
        weights = sum(p.numel() for p in self.module.parameters())
        # of batches that nobody knows, all that is known is that they may be large
        size = self.data.batch_size if facts else 2**20
        self.threads = set_threads(values["threads"], weights=weights, batch_size=size)
        check_loggers(self.build, values["logger"] or {})  # built later, in the run's folder
        if isinstance(self.data, DataModule):
            self.data.setup("fit")
        if not self.own and is_set_from_data(self.module.network):  # a checkpoint has these layers
            set_from_data(self.module.network, self.data.sample(5_000))
        if facts:
            tried = partial(try_steps, self.module, self.data, values, self.trainer.world_size)
            tried()
            for finder in finders:
                finder.check = tried
        preprocessing = self.data.preprocessing() if facts else {}
        self.recipe = {"config": values, "facts": facts, "preprocessing": preprocessing}
        if isinstance(self.data, DataModule):
            self.recipe["data"] = self.data.sums()
        if not self.own:
            self.module.recipe = self.recipe
        self.tested: dict[str, float] = {}
        self.begun: dict[str, Any] = {}  # what was taken of another run's weights
        self.durations = {"setup": time.time() - started}

    def _check_callbacks(self) -> None:
        """Refuse callbacks that need gradloop's own training."""
        for name, entry in (self.values["callbacks"] or {}).items():
            for callback in self.callbacks if entry else ():
                kind = f"{type(callback).__module__}.{type(callback).__qualname__}"
                ours = isinstance(callback, Hook | Freeze | Throughput) and kind == entry["_target_"]
                if ours and not callback.any_module:
                    raise ConfigError(
                        f"callbacks.{name}: {type(callback).__name__} needs a network that gradloop trains, and "
                        f"module._target_={target_of(self.values)} trains itself; Lightning's callbacks go with it"
                    )

    def enter(self, run: Run, checkpoint: dict[str, Any] | None) -> None:
        """Let trainer, loggers and callbacks write into the run's folder. checkpoint: what it goes on from."""
        run.recipe = self.recipe
        if not self.own:
            self.module.run = run
        for callback in self.callbacks:
            if isinstance(callback, Hook):
                callback.run, callback.loop = run, self.loop
        if run.folder != self.place:  # another run took it meanwhile
            self.place, self.trainer = run.folder, self._trainer()
        self.trainer.strategy.checkpoint_io = CheckpointFiles(run.folder, checkpoint)
        if isinstance(self.data, DataModule):
            self.data.loop = self.loop
            self.loop.plan(self.trainer, self.data)
        move_into(run.folder, self.trainer)
        if (events := event_folder(run.folder)).is_dir():  # of an earlier attempt
            from gradloop.runs.event_file import rewind_event_files

            known = checkpoint["gradloop"].get("event_files", {}) if checkpoint else {}
            rewind_event_files(events, known)
        run.loggers = self.build.named("logger", in_place(self.values["logger"], str(run.folder), self.build))
        check_places("logger", run.loggers, run.folder)
        for logger in run.loggers:
            if isinstance(logger, Tracker) and not is_second():
                logger.begin(run)
        self.trainer.loggers = run.loggers

    def _trainer(self) -> pl.Trainer:
        settings = dict(self.values["trainer"])
        if target_of(self.values) is None:
            settings = {name: value for name, value in settings.items() if name not in BY_LOOP} | {
                "log_every_n_steps": 1,
                "use_distributed_sampler": False,
            }
        check_devices(settings)
        precision = precision_of(settings, own=target_of(self.values) is not None)
        settings.pop("precision")
        try:
            return self.build(
                "trainer",
                settings,
                **precision,
                callbacks=list(self.callbacks),
                default_root_dir=str(self.place),
                logger=False,
                num_sanity_val_steps=0,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
        except MisconfigurationException as error:
            raise ConfigError(f"trainer: {str(error).splitlines()[0]}") from error

    def _monitor(self) -> tuple[str, str]:
        """Return what "best" means: the metric and its direction; refuse one that is never measured."""
        part = "val" if self.trainer.limit_val_batches else "train"
        metrics = ("loss", *(self.module.epoch_metrics or []), *self.module.own_metrics)
        measured = [f"{p}/{metric}" for p in dict.fromkeys((part, "train")) for metric in metrics]
        monitor = self.values["monitor"] or f"{part}/{self.module.task.monitor}"
        check_monitor("monitor", monitor, measured)
        for name, entry in (self.values["callbacks"] or {}).items():
            if entry and isinstance(entry.get("monitor"), str):
                check_monitor(f"callbacks.{name}.monitor", entry["monitor"], measured)
        return monitor, direction(self.values, self.module.task, self.module.own_metrics)

    def described(self) -> Record:
        """Return what the record says of the parts."""
        weights = list(self.module.parameters())
        return {
            "task": self.recipe["facts"].get("task"),
            "module": target_of(self.values),
            "resume": "exact"
            if self.loop.exact
            else "by Lightning: of an epoch, as many batches as were left, drawn anew",
            "monitor": {"metric": self.monitor, "mode": self.mode},
            "higher_is_better": {
                name: metric.higher_is_better
                for name, metric in (() if self.own else self.module.own_metrics.items())
                if metric.higher_is_better is not None
            },
            "durations": self.durations,
            **({"init_from": self.begun} if self.begun else {}),
            "model": {
                "parameters": sum(p.numel() for p in weights),
                "trainable": sum(p.numel() for p in weights if p.requires_grad),
            },
            "data": described_data(self.recipe["facts"], self.values, self.data),
            "devices": {
                "accelerator": type(self.trainer.accelerator).__name__,
                "processes": self.trainer.world_size,
                "threads": self.threads,
                "precision": self.trainer.precision,
            },
        }
