"""How fast the training is."""

import time
from contextlib import suppress
from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import throughput

from gradloop.data.data_checks import blank


class Throughput(pl.Callback):
    """Samples, batches and floating-point operations a second, once an epoch; validation takes no part.

    window: batches over which the rates are taken.
    """

    any_module = False  # it counts the operations of a network

    def __init__(self, *, window: int) -> None:
        self.window = window

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        network = deepcopy(pl_module.network).to("meta")  # shapes only: nothing is computed, no random number drawn
        inputs = blank(trainer.datamodule.batch_size, pl_module.recipe["facts"], device="meta")
        self.operations: int | None = None  # a batch
        with suppress(Exception):  # not every operation runs on shapes alone
            self.operations = throughput.measure_flops(network, lambda: network(inputs), lambda out: out.sum())
        self.size, batches = trainer.datamodule.batch_size, pl_module.loop.length * (trainer.max_epochs or 1)
        # a run of fewer batches has rates, too
        window = max(2, min(self.window, batches))
        self.rates = throughput.Throughput(world_size=trainer.world_size, window_size=window)
        self.began = self.newest = time.perf_counter()
        self.batches = self.samples = 0
        self.waiting = False

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        if not trainer.is_global_zero:
            return
        if pl_module.device.type == "cuda":  # what was ordered is not done yet
            torch.cuda.synchronize()
        self.newest, self.batches, self.samples = time.perf_counter(), self.batches + 1, self.samples + len(batch[1])
        self.rates.update(
            time=self.newest - self.began,
            batches=self.batches,
            samples=self.samples,
            flops=self.operations and round(self.operations * len(batch[1]) / self.size),
        )
        self.waiting = True
        if trainer.is_last_batch:
            self._log(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.waiting:  # the last epoch was cut short
            self._log(trainer)

    def _log(self, trainer: pl.Trainer) -> None:
        self.waiting = False
        rates = {f"throughput/{n}": v for n, v in self.rates.compute().items() if n.endswith("_per_sec")}
        for logger in trainer.loggers:
            logger.log_metrics(rates, step=trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            now = time.perf_counter()
            self.began, self.newest = self.began + now - self.newest, now
