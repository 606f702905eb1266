"""Averaged weights: what is validated, kept as best and tested in place of the trained ones."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gradloop.callbacks.hook import Hook
from gradloop.errors import ConfigError, said

PREFIX = "network."  # of the module's weights; AveragedModel's own is "module."


class Averaging(Hook):
    """Keeps an average of the network's weights and batch-norm statistics, and validates and tests with it.

    In checkpoints the average is the `state_dict`, and the trained weights are the `current_model_state`, as in
    Lightning's WeightAveraging. The average has 32 bits at least: one of fewer would not move.
    """

    average: AveragedModel
    trained: dict[str, Tensor]  # while the average is in their place

    def mean(self, old: Tensor, new: Tensor, updates: Tensor | int) -> Tensor:
        """Return the average after one more update."""
        raise NotImplementedError

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            device = trainer.strategy.root_device
            try:
                self.average = AveragedModel(pl_module.network, device=device, avg_fn=self.mean, use_buffers=True)
            except Exception as error:  # whatever can't be copied raises what it likes
                kind = type(pl_module.network).__qualname__
                raise ConfigError(f"model: {kind} can't be copied, and so not be averaged: {said(error)}") from error
            if trainer.precision == "64-true":
                self.average.module.double()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Put the average in the trained weights' place."""
        average, weights = self.average.module.state_dict(), tensors_of(pl_module.network)
        self.trained = {name: weight.clone() for name, weight in weights.items()}
        for name, weight in weights.items():
            weight.copy_(average[name])

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for name, weight in tensors_of(pl_module.network).items():
            weight.copy_(self.trained[name])

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Put it there for good, after the last checkpoint, which has the trained weights to go on from."""
        Averaging.on_validation_epoch_start(self, trainer, pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        trained = checkpoint["current_model_state"] = checkpoint["state_dict"]
        average = self.average.module.state_dict()
        checkpoint["state_dict"] = trained | {PREFIX + name: weight for name, weight in average.items()}
        checkpoint["averaging_state"] = {"n_averaged": self.average.n_averaged}

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        network = {n.removeprefix(PREFIX): w for n, w in checkpoint["state_dict"].items() if n.startswith(PREFIX)}
        self.average.module.load_state_dict(network)
        self.average.n_averaged.copy_(checkpoint["averaging_state"]["n_averaged"])
        pl_module.load_state_dict(checkpoint["current_model_state"])


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Return weights and buffers by name, without the extra state that a layer may have."""
    return {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}


class EMA(Averaging):
    """Exponential moving average `w̄ ← d · w̄ + (1 - d) · w`, every `every_n_steps` optimizer steps.

    After n updates `d = min(decay, (1 + n) / (10 + n))`: a short run does not end as the mean of its beginning.
    """

    def __init__(self, *, decay: float, every_n_steps: int) -> None:
        self.decay, self.every_n_steps = decay, every_n_steps

    def mean(self, old: Tensor, new: Tensor, updates: Tensor | int) -> Tensor:
        if not old.is_floating_point():
            return new  # a counter, as batch norm has one
        return old.lerp(new.to(old.dtype), 1 - min(self.decay, (1 + int(updates)) / (10 + int(updates))))

    def after_step(self, module: Any) -> None:
        if (module.loop.step - 1) % self.every_n_steps == 0:
            self.average.update_parameters(module.network)


class SWA(Averaging):
    """Stochastic weight averaging (arXiv 1803.05407): the equal-weight mean over the ends of the last epochs.

    start: share of the epochs after which averaging begins; before, the average is the trained weights themselves.
    Lightning's older StochasticWeightAveraging puts the average in place after the last validation: it could never
    be the best. This one is validated in every epoch. Running statistics of batch norm are averaged as well.
    """

    def __init__(self, *, start: float) -> None:
        self.start = start

    def mean(self, old: Tensor, new: Tensor, updates: Tensor | int) -> Tensor:
        return old + (new - old) / (updates + 1) if old.is_floating_point() else new

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        assert trainer.max_epochs is not None
        loop = self.loop
        epochs = loop.steps(trainer.max_epochs, trainer.max_steps) / loop.steps_an_epoch
        self.first = int(self.start * epochs + 1e-9)  # 0.29 * 100 is 28.999…

    def after_step(self, module: Any) -> None:
        loop = module.loop
        if loop.epoch > self.first and (loop.at_epochs_end or loop.step == module.trainer.max_steps):
            self.average.update_parameters(module.network)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._begin(pl_module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._begin(pl_module)

    def _begin(self, module: Any) -> None:
        """Be the trained weights, until there is something to average: wherever a run is validated, or ends."""
        if self.loop.epoch <= self.first:
            self.average.n_averaged.zero_()  # the next update copies
            self.average.update_parameters(module.network)
