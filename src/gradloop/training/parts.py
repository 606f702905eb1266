"""The parts of a run, built from its checked config: data, module, trainer."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from gradloop.callbacks.hook import Hook
from gradloop.config.targets import locate, targets
from gradloop.errors import ConfigError
from gradloop.runs.checkpoint_io import CheckpointFiles
from gradloop.runs.labels import event_folder
from gradloop.runs.record import Record
from gradloop.runs.run import Run
from gradloop.runs.same_data import source_of
from gradloop.training.build import Builder, facts_of
from gradloop.training.machine import quiet_libraries, resolve_precision, set_threads
from gradloop.training.places import check_loggers, check_places, check_trainer, move_into
from gradloop.training.trials import check_monitor, try_steps

RISING = ("accuracy", "f1", "auroc", "r2")  # metrics of which more is better
BY_LOOP = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")  # not the Trainer's business


class Parts:
    """Data, module and trainer of a checked config. Building them refuses what can't run, and creates nothing.

    allow: the user's own names from the command line. more: callbacks besides the config's.
    """

    def __init__(self, values: dict[str, Any], allow: tuple[str, ...], more: list[pl.Callback]) -> None:
        started = time.time()
        quiet_libraries()
        self.values = values
        self.build = Builder(allow)
        for key, target in targets(values):  # all of them, before the first is called
            if target is not None:
                locate(key, target, allow)
        self.callbacks = [*self.build.named("callbacks", values["callbacks"] or {}), *more]
        self.trainer = self._trainer(Path.cwd(), CheckpointFiles())
        check_trainer(self.trainer, Path())
        self.data = self.build.data(values["data"], values["seed"])
        self.data.check()
        facts = facts_of(self.data)
        self.module = self.build.module(values, self.data, facts)
        self.monitor, self.mode = self._monitor()
        for callback in self.callbacks:
            if isinstance(callback, Hook):
                callback.follow(self.monitor, self.mode)
        weights = sum(p.numel() for p in self.module.parameters())
        self.threads = set_threads(values["threads"], weights=weights, batch_size=self.data.batch_size)
        check_loggers(self.build, values["logger"] or {})  # built later, in the run's folder
        self.module.monitored = self.monitor
        self.data.setup("fit")
        initialize: Any = getattr(self.module.network, "initialize", None)
        if initialize is not None and hasattr(self.data, "sample"):
            initialize(self.data.sample(5_000))  # layers that are set from the data; a checkpoint has them
        try_steps(self.module, self.data, values, self.trainer.world_size)
        self.module.recipe = {"config": values, "facts": facts, "preprocessing": self.data.preprocessing()}
        self.durations = {"setup": time.time() - started}

    def enter(self, run: Run, checkpoint: dict[str, Any] | None) -> None:
        """Let trainer, loggers and callbacks write into the run's folder. checkpoint: what it goes on from."""
        self.module.run = run
        self.trainer = self._trainer(run.folder, CheckpointFiles(run.folder, checkpoint))
        self.module.loop.plan(self.trainer, self.data.batches_an_epoch(self.trainer.world_size))
        move_into(run.folder, self.trainer)
        if (events := event_folder(run.folder)).is_dir():  # of an earlier attempt
            from gradloop.callbacks.tensorboard_logger import rewind_event_files

            known = checkpoint["gradloop"].get("event_files", {}) if checkpoint else {}
            rewind_event_files(events, known)
        place = {"save_dir": str(run.folder)}
        run.loggers = self.build.named("logger", {name: e and e | place for name, e in self.values["logger"].items()})
        check_places("logger", run.loggers, run.folder)
        self.trainer.loggers = run.loggers

    def _trainer(self, folder: Path, files: CheckpointFiles) -> pl.Trainer:
        settings = {name: value for name, value in self.values["trainer"].items() if name not in BY_LOOP}
        check_devices(settings)
        settings["precision"] = resolve_precision(settings)
        try:
            return self.build(
                "trainer",
                settings,
                callbacks=list(self.callbacks),
                default_root_dir=str(folder),
                logger=False,
                plugins=[files],
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
        except MisconfigurationException as error:
            raise ConfigError(f"trainer: {str(error).splitlines()[0]}") from error

    def _monitor(self) -> tuple[str, str]:
        """Return what "best" means: the metric and its direction; refuse one that is never measured."""
        part = "val" if self.trainer.limit_val_batches else "train"
        metrics = ("loss", *(self.module.epoch_metrics or []))
        measured = [f"{p}/{metric}" for p in dict.fromkeys((part, "train")) for metric in metrics]
        monitor = self.values["monitor"] or f"{part}/{self.module.task.monitor}"
        check_monitor("monitor", monitor, measured)
        for name, entry in (self.values["callbacks"] or {}).items():
            if entry and isinstance(entry.get("monitor"), str):
                check_monitor(f"callbacks.{name}.monitor", entry["monitor"], measured)
        mode = self.values["monitor_mode"]
        if mode is None:
            mode = "max" if monitor.endswith(RISING) else "min"
        if mode not in ("max", "min"):
            raise ConfigError(f"monitor_mode={mode}: expected max or min")
        return monitor, mode

    def described(self) -> Record:
        """Return what the record says of the parts."""
        weights = list(self.module.parameters())
        return {
            "task": self.data.task,
            "monitor": {"metric": self.monitor, "mode": self.mode},
            "durations": self.durations,
            "model": {
                "parameters": sum(p.numel() for p in weights),
                "trainable": sum(p.numel() for p in weights if p.requires_grad),
            },
            "data": {
                **self.module.recipe["facts"],
                "fingerprint": self.data.fingerprint(),
                "source": source_of(self.values["data"]),
                "samples": {part: len(split) for part, split in self.data.splits.items()},
                **({"folds": {"folds": self.data.folds, "fold": self.data.fold}} if self.data.folds else {}),
            },
            "devices": {
                "accelerator": type(self.trainer.accelerator).__name__,
                "processes": self.trainer.world_size,
                "threads": self.threads,
                "precision": self.trainer.precision,
            },
        }


def check_devices(settings: dict[str, Any]) -> None:
    """Refuse a device that this machine lacks."""
    accelerator, devices = settings.get("accelerator"), settings.get("devices")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("accelerator=gpu: torch sees no GPU here; use accelerator=cpu, or accelerator=auto")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("accelerator=mps: this machine has none; use accelerator=cpu, or accelerator=auto")
    most = max(2, os.cpu_count() or 1)
    if isinstance(devices, int) and devices > most and not torch.cuda.is_available():
        raise ConfigError(f"trainer.devices={devices}: more processes than this machine has cores ({most})")
