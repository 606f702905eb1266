"""Training the last layer before the others."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BaseFinetuning
from torch import nn
from torch.optim import Optimizer


class Freeze(BaseFinetuning):
    """Freezes every layer but the last one that has weights, until the epoch `until_epoch` (null: for good).

    The optimizer holds all weights from the start and skips those without a gradient. A network of one layer has
    nothing to freeze.
    """

    def __init__(self, *, until_epoch: int | None, train_batch_norm: bool) -> None:
        super().__init__()
        self.until_epoch = until_epoch
        self.train_batch_norm = train_batch_norm

    def body(self, module: pl.LightningModule) -> list[nn.Module]:
        """Return the layers before the last one, as the network registers them."""
        return [m for m in module.network.modules() if list(m.parameters(recurse=False))][:-1]

    def freeze_before_training(self, module: pl.LightningModule) -> None:
        if module.trainer.state.fn == "fit":
            self.freeze(self.body(module), train_bn=self.train_batch_norm)

    def finetune_function(self, module: pl.LightningModule, epoch: int, optimizer: Optimizer) -> None:
        if self.until_epoch is not None and epoch >= self.until_epoch:
            self.make_trainable(self.body(module))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # a run resumed inside an epoch does not start that epoch again
        self.finetune_function(pl_module, trainer.current_epoch, trainer.optimizers[0])
