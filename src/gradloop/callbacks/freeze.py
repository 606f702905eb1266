"""Training some layers in some epochs only."""

from fnmatch import fnmatchcase

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BaseFinetuning
from torch import nn
from torch.optim import Optimizer

from gradloop.errors import ConfigError, did_you_mean

BATCH_NORM = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm


class Freeze(BaseFinetuning):
    """Freezes layers from the epoch `from_epoch` on, until the epoch `until_epoch` (null: for good).

    layers: patterns of the network's layers by name, as "stem" or "stages.0*"; null: every layer but the last one
    that has weights. The optimizer holds all weights from the start and skips those without a gradient.
    train_batch_norm: whether batch norm goes on all the same; without, it works with the statistics that it has.
    """

    any_module = False  # its layers are those of a network

    def __init__(
        self, *, layers: list[str] | None, from_epoch: int, until_epoch: int | None, train_batch_norm: bool
    ) -> None:
        super().__init__()
        if until_epoch is not None and until_epoch <= from_epoch:
            raise ConfigError(
                f"callbacks.freeze.from_epoch={from_epoch}: freezes nothing before until_epoch={until_epoch}"
            )
        if layers == []:
            raise ConfigError(
                "callbacks.freeze.layers=[]: freezes nothing; name layers, or null for all but the last"
            )
        self.layers = layers
        self.from_epoch, self.until_epoch = from_epoch, until_epoch
        self.train_batch_norm = train_batch_norm

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.world_size > 1 and (self.from_epoch > 0 or self.until_epoch is not None):
            raise ConfigError(
                f"callbacks.freeze.from_epoch={self.from_epoch}, until_epoch={self.until_epoch}: several processes "
                "average the gradients of what trains at the start; freeze for good (from_epoch=0, until_epoch=null)"
            )
        super().setup(trainer, pl_module, stage)

    def body(self, module: pl.LightningModule) -> list[nn.Module]:
        """Return the layers with weights of their own that are frozen, as the network registers them."""
        named = {name: m for name, m in module.network.named_modules() if list(m.parameters(recurse=False))}
        if self.layers is None:
            if len(named) == 1:
                raise ConfigError("callbacks.freeze: the network has one layer with weights, and the last is trained")
            return list(named.values())[:-1]
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in named):
                near = did_you_mean(pattern, list(named)) or f"; there are {', '.join(named)}"
                raise ConfigError(f"callbacks.freeze.layers={pattern}: the network has no such layer{near}")
        return [m for name, m in named.items() if any(fnmatchcase(name, pattern) for pattern in self.layers)]

    def freeze_before_training(self, module: pl.LightningModule) -> None:
        if module.trainer.state.fn == "fit":
            body = self.body(module)
            self.never = [w for layer in body for w in layer.parameters(recurse=False) if not w.requires_grad]
            if self.from_epoch == 0:
                self.fix(body, fixed=True)

    def finetune_function(self, module: pl.LightningModule, epoch: int, optimizer: Optimizer) -> None:
        now = self.from_epoch <= epoch and (self.until_epoch is None or epoch < self.until_epoch)
        body = self.body(module)
        self.fix(body, fixed=now)
        for layer in body:
            if isinstance(layer, BATCH_NORM) and not self.train_batch_norm:
                layer.train(not now)
        for weight in self.never:  # fixed by the network itself
            weight.requires_grad_(False)

    def fix(self, layers: list[nn.Module], *, fixed: bool) -> None:
        """Train the layers' own weights no more, or again: not those of layers inside them."""
        for layer in layers:
            norm = isinstance(layer, BATCH_NORM)
            for weight in layer.parameters(recurse=False):
                weight.requires_grad_(not fixed or (norm and self.train_batch_norm))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # a run resumed inside an epoch does not start that epoch again
        self.finetune_function(pl_module, trainer.current_epoch, trainer.optimizers[0])
