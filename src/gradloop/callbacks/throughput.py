"""How fast the training is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.throughput import measure_flops
from lightning.pytorch.callbacks import ThroughputMonitor


class Throughput(ThroughputMonitor):
    """Lightning's ThroughputMonitor: samples, batches and floating-point operations a second, once an epoch.

    window: batches over which the rates are taken.
    """

    def __init__(self, *, window: int) -> None:
        super().__init__(batch_size_fn=lambda batch: len(batch[1]), window_size=window)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        network = deepcopy(pl_module.network).to("meta")  # shapes only: nothing is computed, no random number drawn
        blank = torch.empty(trainer.datamodule.batch_size, *trainer.datamodule.input_shape, device="meta")
        try:
            pl_module.flops_per_batch = measure_flops(network, lambda: network(blank), lambda out: out.sum())
        except (NotImplementedError, RuntimeError):  # not every operation runs on shapes alone
            pl_module.flops_per_batch = None

    def _compute(self, trainer: pl.Trainer, iter_num: int | None = None) -> None:
        stage = trainer.state.stage
        assert stage is not None
        if stage.value == "train" and trainer.is_last_batch:
            rates = self._throughputs[stage].compute()
            rates = {f"throughput/{name}": value for name, value in rates.items() if name.endswith("_per_sec")}
            for logger in trainer.loggers:
                logger.log_metrics(rates, step=trainer.global_step)
