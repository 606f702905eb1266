"""Finding the largest batch before the training, and the trial steps that finders take."""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import nn

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
        self.check: Callable[[], None] = lambda: None  # refuses a size with which the run's limits leave no batch

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
        self.check()
        self.module.loop.plan(self.trainer, self.trainer.datamodule)

    def _search(self, limit: int) -> int:
        size = min(self.init_size, limit)
        if not self._fits(size):
            raise ConfigError(f"callbacks.batch_size_finder.init_size={size}: does not fit into memory")
        while size < limit and self._fits(min(2 * size, limit)):
            size = min(2 * size, limit)
        if self.mode == "binsearch" and size < limit:  # twice as many do not fit
            size += bisect_left(range(size + 1, min(2 * size, limit)), True, key=lambda more: not self._fits(more))
        return size

    def _fits(self, size: int) -> bool:
        data = self.trainer.datamodule
        before, data.batch_size = data.batch_size, size
        try:
            _, losses = trial(self.trainer, self.module)
            with torch.random.fork_rng():
                for _ in range(self.steps):
                    next(losses)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            key = "callbacks.batch_size_finder.init_size"
            raise ConfigError(f"{key}={size}: batch norm can't train on one sample; take 2 or more") from error
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or is_oom_error(error)):
                raise
            return False
        finally:
            data.batch_size = before
            garbage_collection_cuda()
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["found"]:
            self._use(state_dict["found"]["data.batch_size"])


def trial(trainer: pl.Trainer, module: Any) -> tuple[torch.optim.Optimizer, Iterator[float]]:
    """Return the run's optimizer for copies of its network and loss, and their losses on the training batches.

    To ask for the next loss is to take a step, of as many batches as the run's steps have, on the device that trains,
    epoch after epoch.
    """
    precision, device = trainer.precision_plugin, trainer.strategy.root_device
    network, loss_of = deepcopy(module.network), deepcopy(module.loss)
    parts = nn.ModuleList(part for part in (network, loss_of) if isinstance(part, nn.Module)).to(device)
    precision.convert_module(network)  # as it will be; a loss has 32 bits or more
    if isinstance(loss_of, nn.Module):
        loss_of.to(torch.promote_types(next(network.parameters()).dtype, torch.float32))
    optimizer = module.optimizer_factory(parts.parameters())

    def losses() -> Iterator[float]:
        epochs, count = map(trainer.datamodule.train_batches().rest, itertools.count(), itertools.repeat(0)), 0
        accumulate, mean = module.loop.accumulate, 0.0
        for inputs, targets in itertools.chain.from_iterable(epochs):
            inputs, targets = precision.convert_input((inputs.to(device), targets.to(device)))
            with precision.forward_context():
                outputs = network(inputs)
                loss = loss_of(outputs.to(torch.promote_types(outputs.dtype, torch.float32)), targets)
            (loss / accumulate).backward()
            count, mean = count + 1, mean + float(loss.detach()) / accumulate
            if count % accumulate:
                continue
            if module.loop.clip:
                algorithm = GradClipAlgorithmType(module.loop.clip_algorithm or "norm")
                precision.clip_gradients(optimizer, module.loop.clip, algorithm)
            optimizer.step()
            optimizer.zero_grad()
            yield mean
            mean = 0.0

    return optimizer, losses()
