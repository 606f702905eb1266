"""Finding the largest batch before the training, and the trial steps that finders take."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor, nn

from gradloop.callbacks.hook import Hook
from gradloop.errors import ConfigError


class BatchSizeFinder(Hook):
    """Doubles the batch until memory, data or `max_size` end it, and trains with the largest that fits.

    mode: power (a power of two times init_size) or binsearch (then bisects). steps_per_trial: steps that a copy of
    the network takes with each size.
    """

    def __init__(self, *, mode: str, init_size: int, max_size: int, steps_per_trial: int) -> None:
        if not 1 <= init_size <= max_size:
            raise ConfigError(
                f"callbacks.batch_size_finder.init_size={init_size}: expected 1 to max_size ({max_size})"
            )
        self.mode, self.init_size, self.max_size, self.steps = mode, init_size, max_size, steps_per_trial

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        if trainer.world_size > 1:
            raise ConfigError("callbacks=batch_size_finder: searches on one device only; use trainer.devices=1")
        if stage != "fit" or trainer.fast_dev_run:
            return
        self.trainer, self.module = trainer, pl_module
        if trainer.ckpt_path is None:  # a run that goes on has found its size already
            self._use(self._search(min(self.max_size, len(trainer.datamodule.splits["train"]))))

    def _use(self, size: int) -> None:
        self.found = {"data.batch_size": size}
        self.trainer.datamodule.batch_size = size
        self.module.loop.plan(self.trainer, self.trainer.datamodule)

    def _search(self, limit: int) -> int:
        size = min(self.init_size, limit)
        if not self._fits(size):
            raise ConfigError(f"callbacks.batch_size_finder.init_size={size}: does not fit into memory")
        while size < limit and self._fits(min(2 * size, limit)):
            size = min(2 * size, limit)
        if self.mode == "binsearch" and size < limit:
            low, high = size, min(2 * size, limit)  # low fits, high does not
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self._fits(middle) else (low, middle)
            size = low
        return size

    def _fits(self, size: int) -> bool:
        trainer, module = self.trainer, self.module
        device, before = trainer.strategy.root_device, trainer.datamodule.batch_size
        trainer.datamodule.batch_size = size
        try:
            network, loss_of = deepcopy(module.network).to(device), deepcopy(module.loss)
            network = trainer.precision_plugin.convert_module(network)  # as it will be
            loss_of = loss_of.to(device) if isinstance(loss_of, nn.Module) else loss_of
            optimizer = trial_optimizer(module, network, loss_of)
            batches = trial_batches(trainer)
            with torch.random.fork_rng():
                for _ in range(self.steps):
                    trial_step(trainer, network, loss_of, optimizer, next(batches))
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or is_oom_error(error)):
                raise
            return False
        finally:
            trainer.datamodule.batch_size = before
            garbage_collection_cuda()
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["found"]:
            self._use(state_dict["found"]["data.batch_size"])


def trial_batches(trainer: pl.Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield training batches, epoch after epoch, on the device that trains."""
    batches, epoch = trainer.datamodule.train_batches(), 0
    while True:
        for batch in batches.rest(epoch, 0):
            yield tuple(tensor.to(trainer.strategy.root_device) for tensor in batch)
        epoch += 1


def trial_optimizer(module: Any, network: nn.Module, loss_of: Any) -> torch.optim.Optimizer:
    """Build the run's optimizer for copies of its network and loss."""
    return module.optimizer_factory(
        nn.ModuleList(p for p in (network, loss_of) if isinstance(p, nn.Module)).parameters()
    )


def trial_step(trainer: pl.Trainer, network: nn.Module, loss_of: Any, optimizer: Any, batch: Any) -> float:
    """Take one optimizer step; return the loss before it."""
    batch = trainer.precision_plugin.convert_input(batch)
    with trainer.precision_plugin.forward_context():
        outputs = network(batch[0])
        loss = loss_of(outputs.to(torch.promote_types(outputs.dtype, torch.float32)), batch[1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())
