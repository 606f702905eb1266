"""The objects of one run, and what is done with them."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator

from gradloop.callbacks.checkpoints import Checkpoints, weights_finite
from gradloop.callbacks.divergence import growth
from gradloop.callbacks.hook import Hook
from gradloop.callbacks.restored import Restored
from gradloop.callbacks.stop_on_signal import StopOnSignal
from gradloop.config.targets import locate, targets
from gradloop.errors import ConfigError, DivergedError
from gradloop.runs.checkpoint_io import CheckpointFiles
from gradloop.runs.record import Record
from gradloop.runs.same_data import source_of
from gradloop.training.allocator import keep_freed_pages
from gradloop.training.build import Builder, facts_of
from gradloop.training.places import check_loggers, check_places, check_trainer, move_into
from gradloop.training.precision import resolve_precision
from gradloop.training.quiet import quiet_libraries
from gradloop.training.trials import check_monitor, try_steps

log = logging.getLogger("gradloop")
SMALL = 5_000_000  # multiply-adds a batch, about; below this, a second thread costs more than it gives


class RunParts:
    """Data, module and trainer of a checked config. Building them creates nothing on disk."""

    def __init__(self, values: dict[str, Any], stop: StopOnSignal, allow: tuple[str, ...]) -> None:
        started = time.time()
        quiet_libraries()
        self.values = values
        self.build = Builder(allow)
        for key, target in targets(values):  # all of them, before the first is called
            if target is not None:
                locate(key, target, allow)
        self.trainer = self._trainer(stop)
        check_trainer(self.trainer, Path())
        self.data = self.build.data(values["data"], values["seed"])
        self.data.check()
        facts = facts_of(self.data)
        self.module = self.build.module(values, self.data, facts)
        self.monitor, self.mode = self._monitor()
        for callback in self.trainer.callbacks:
            if isinstance(callback, Hook):
                callback.follow(self.monitor, self.mode)
        self.threads = self._set_threads()
        check_loggers(self.build, values["logger"] or {})  # built later, in the run's folder
        self.module.monitored = self.monitor
        self.data.setup("fit")
        initialize: Any = getattr(self.module.network, "initialize", None)
        if initialize is not None and hasattr(self.data, "sample"):
            initialize(self.data.sample(5_000))  # layers that are set from the data; a checkpoint has them
        try_steps(self.module, self.data, values, self.trainer.world_size)
        self.module.loop.plan(self.trainer, self.data.batches_an_epoch(self.trainer.world_size))
        self.module.recipe = {"config": values, "facts": facts, "preprocessing": self.data.preprocessing()}
        self.checkpoint: dict[str, Any] | None = None
        self.durations = {"setup": time.time() - started}

    def _trainer(self, stop: StopOnSignal) -> pl.Trainer:
        settings = dict(self.values["trainer"])
        accelerator = settings.get("accelerator")
        devices = settings.get("devices")
        if accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigError("accelerator=gpu: torch sees no GPU here; use accelerator=cpu, or accelerator=auto")
        if accelerator == "mps" and not torch.backends.mps.is_available():
            raise ConfigError("accelerator=mps: this machine has none; use accelerator=cpu, or accelerator=auto")
        cores = max(2, os.cpu_count() or 1)
        if isinstance(devices, int) and devices > cores and not torch.cuda.is_available():
            raise ConfigError(f"trainer.devices={devices}: more processes than this machine has cores ({cores})")
        settings["precision"] = resolve_precision(settings)
        for ours in ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"):
            settings.pop(ours, None)  # the module's loop does these
        self.restored = Restored()
        callbacks = [*self.build.named("callbacks", self.values["callbacks"] or {}), self.restored, stop]
        try:
            trainer = self.build(
                "trainer",
                settings,
                callbacks=callbacks,
                logger=False,
                plugins=[CheckpointFiles()],
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
        except MisconfigurationException as error:
            raise ConfigError(f"trainer: {str(error).splitlines()[0]}") from error
        return trainer

    def _monitor(self) -> tuple[str, str]:
        """Return what "best" means: the metric and its direction; refuse one that is never measured."""
        part = "val" if self.trainer.limit_val_batches else "train"
        metrics = ("loss", *(self.module.epoch_metrics or []))
        measured = [f"{p}/{metric}" for p in dict.fromkeys((part, "train")) for metric in metrics]
        monitor = self.values["monitor"] or f"{part}/{self.module.monitor}"
        check_monitor("monitor", monitor, measured)
        for name, entry in (self.values["callbacks"] or {}).items():
            if entry and isinstance(entry.get("monitor"), str):
                check_monitor(f"callbacks.{name}.monitor", entry["monitor"], measured)
        mode = self.values["monitor_mode"]
        if mode is None:
            mode = "max" if monitor.endswith(("accuracy", "f1", "auroc", "r2")) else "min"
        if mode not in ("max", "min"):
            raise ConfigError(f"monitor_mode={mode}: expected max or min")
        return monitor, mode

    def _set_threads(self) -> int:
        threads = self.values["threads"]
        if threads == "auto":
            weights = sum(p.numel() for p in self.module.parameters())
            cores = int(os.environ.get("GRADLOOP_CORES") or os.cpu_count() or 1)  # a sweep shares them out
            threads = 1 if weights * self.data.batch_size < SMALL else cores
        elif not isinstance(threads, int):
            raise ConfigError(f"threads={threads}: expected auto, or 1 or more")
        torch.set_num_threads(threads)
        return threads

    def described(self) -> Record:
        """Return what the record says of the parts."""
        return {
            "task": self.data.task,
            "monitor": {"metric": self.monitor, "mode": self.mode},
            "durations": self.durations,
            "model": {
                "parameters": sum(p.numel() for p in self.module.parameters()),
                "trainable": sum(p.numel() for p in self.module.parameters() if p.requires_grad),
            },
            "data": {
                **self.module.recipe["facts"],
                "fingerprint": self.data.fingerprint(),
                "source": source_of(self.values["data"]),
                "samples": {part: len(split) for part, split in self.data.splits.items()},
            },
            "devices": {
                "accelerator": type(self.trainer.accelerator).__name__,
                "processes": self.trainer.world_size,
                "threads": self.threads,
                "precision": self.trainer.precision,
            },
        }

    def enter(self, folder: Path, checkpoint: dict[str, Any] | None) -> None:
        """Move into the run's folder: loggers write from now on."""
        self.folder = folder
        # Lightning starts the other processes of a run by its command line: they share its folder and its seed
        os.environ["GRADLOOP_FOLDER"], os.environ["GRADLOOP_SEED"] = str(folder), str(self.values["seed"])
        self.checkpoint = checkpoint
        self.trainer._default_root_dir = str(folder)
        CheckpointFiles.folder = folder
        move_into(folder, self.trainer)
        if (folder / "tensorboard").is_dir():  # of an earlier attempt
            from gradloop.callbacks.tensorboard_logger import rewind_event_files

            rewind_event_files(
                folder / "tensorboard", (checkpoint or {"gradloop": {}})["gradloop"].get("event_files", {})
            )
        loggers = {name: entry and entry | {"save_dir": str(folder)} for name, entry in self.values["logger"].items()}
        self.trainer.loggers = self.build.named("logger", loggers)
        check_places("logger", self.trainer.loggers, folder)

    def fit(self) -> None:
        """Train; on divergence keep the last finite weights."""
        if isinstance(self.trainer.accelerator, CPUAccelerator):
            keep_freed_pages()
        resume_from = None
        if self.checkpoint is not None:
            CheckpointFiles.in_memory = self.checkpoint
            resume_from = str(self.folder / "checkpoints" / "last.ckpt")
        try:
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=resume_from, weights_only=True)
        except DivergedError:
            for callback in self.trainer.callbacks:
                if isinstance(callback, Checkpoints):
                    callback.save_best(self.trainer)
                    if not callback.best and weights_finite(self.module):
                        callback.save(self.trainer)
            raise

    def test(self) -> None:
        """Evaluate the best weights on the test part, once."""
        for callback in self.trainer.callbacks:
            if isinstance(callback, Checkpoints) and callback.best:
                self.module.load_state_dict(callback.best[0].payload["state_dict"])
        self.trainer.test(self.module, datamodule=self.data, verbose=False)

    def finish(self, record: Record) -> None:
        """Draw what there is to see, and write the results into the record."""
        record["metrics"] = dict(self.module.history[-1]) if self.module.history else {}
        for callback in self.trainer.callbacks:
            if isinstance(callback, Checkpoints) and callback.best:
                best = callback.best[0]
                record["best"] = {
                    "epoch": best.epoch,
                    "step": best.payload["global_step"],
                    "value": best.value if math.isfinite(best.value) else None,
                    "checkpoint": "checkpoints/best.ckpt",
                }
                record["metrics"] |= best.payload["gradloop"]["metrics"]
        for name in ("epoch", "step", "lr"):
            record["metrics"].pop(name, None)
        record["metrics"] |= {k: float(v) for k, v in self.trainer.callback_metrics.items() if k.startswith("test/")}
        record["epochs"] = len(self.module.history)
        if (warning := growth(self.module.history)) is not None:
            record["warning"] = warning
        found = [getattr(callback, "found", {}) for callback in self.trainer.callbacks]
        found = [callback.found for callback in self.trainer.callbacks if isinstance(callback, Hook)]
        if any(found):  # values that the run found for itself and used in place of the config's
            record["found"] = {key: value for one in found for key, value in one.items()}
        for callback in self.trainer.callbacks:
            if isinstance(callback, Hook) and self.trainer.is_global_zero:
                try:
                    callback.draw(self.trainer, self.module, self.folder)
                except Exception:  # a picture must not end a run that has its results
                    log.exception("%s could not draw", type(callback).__name__)
        for logger in self.trainer.loggers:
            logger.finalize("success")

    @contextlib.contextmanager
    def timed(self, record: Record, name: str) -> Iterator[None]:
        """Note how long the body takes: seconds, in the record's durations; a fit counts from its first start."""
        started = time.time()
        try:
            yield
        finally:
            before = self.module.seconds_before if name == "fit" else 0.0
            record["durations"][name] = before + time.time() - started

    def say(self, record: Record) -> None:
        """Print the results, the folder and the command that shows them."""
        if not self.trainer.is_global_zero:
            return
        width = max(map(len, record["metrics"]), default=0)
        for name, value in sorted(record["metrics"].items()):
            print(f"  {name:<{width}}  {value:.6g}")
        if "warning" in record:
            print(f"warning: {record['warning']}")
        print(f"folder: {self.folder}")
        if self.values["logger"]:
            print(f"curves: tensorboard --logdir '{self.folder}'")
