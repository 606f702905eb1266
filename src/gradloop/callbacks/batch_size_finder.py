"""Finding the largest batch before the training."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks

from gradloop.errors import ConfigError


class BatchSizeFinder(callbacks.BatchSizeFinder):
    """Lightning's BatchSizeFinder before the first step: doubles the batch until memory, data or `max_size` end it.

    mode: power (a power of two times init_size) or binsearch (then bisects). steps_per_trial: steps tried with each.
    """

    def __init__(self, *, mode: str, init_size: int, max_size: int, steps_per_trial: int) -> None:
        if mode not in self.SUPPORTED_MODES:
            raise ConfigError(f"callbacks.batch_size_finder.mode={mode}: expected power or binsearch")
        if not 1 <= init_size <= max_size:
            raise ConfigError(
                f"callbacks.batch_size_finder.init_size={init_size}: expected 1 to max_size ({max_size})"
            )
        super().__init__(mode=mode, init_val=init_size, steps_per_trial=steps_per_trial)
        self.max_size = max_size
        self.found: dict[str, int] = {}

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str | None = None) -> None:
        if trainer.world_size > 1:
            raise ConfigError("callbacks=batch_size_finder: searches on one device only; use trainer.devices=1")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.found and not trainer.fast_dev_run:  # a resumed run has found its size already
            self._search(trainer, pl_module)
        if self.found:
            trainer.datamodule.batch_size = self.found["data.batch_size"]
            trainer.fit_loop._combined_loader = None
            trainer.fit_loop.setup_data()
            trainer.strategy.setup_optimizers(trainer)  # a scheduler counts steps: there are fewer now

    def _search(self, trainer: pl.Trainer, module: Any) -> None:
        loop = trainer.fit_loop
        limit = min(self.max_size, len(trainer.datamodule.splits["train"]))
        # Lightning returns the size that reached its limit without having tried it: let it go one doubling further
        self._max_val = 2 * limit
        epochs, loop.max_epochs = loop.max_epochs, -1
        try:
            self.scale_batch_size(trainer, module)
        finally:
            loop.max_epochs = epochs
            loop.restarting = False
            loop.epoch_loop._several = None  # which batches callbacks must see is decided anew
            trainer.callback_metrics.clear()
            module.outputs.clear()
        assert self.optimal_batch_size is not None
        self.found = {"data.batch_size": min(self.optimal_batch_size, limit)}

    # what is found for training serves evaluation too
    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None: ...

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None: ...

    def on_predict_start(self, trainer: pl.Trainer, pl_module: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found = state_dict["found"]
