"""LightningModules of a user's that make layers late, keep less than they hold, or forget something."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn


class Digits(pl.LightningModule):
    """Logs losses and a test accuracy; what comes after `features` is a subclass's."""

    def __init__(self) -> None:
        super().__init__()
        self.net: Any = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def shared_step(self, batch: Any, stage: str) -> Tensor:
        inputs, targets = batch
        outputs = self.net(inputs)
        loss = nn.functional.cross_entropy(outputs, targets)
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True)
        if stage == "test":
            self.log("test_acc", (outputs.argmax(1) == targets).float().mean())
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        return self.shared_step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.shared_step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.shared_step(batch, "test")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class FromCheckpoint(Digits):
    """The head's size is in the checkpoint: Lightning calls the hook before it loads weights."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["classes"] = self.net[1].out_features

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.net[1] = nn.Linear(64, checkpoint["classes"])


class InSetup(Digits):
    def __init__(self) -> None:
        super().__init__()
        self.net = None

    def setup(self, stage: str) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class InConfigureModel(Digits):
    def __init__(self) -> None:
        super().__init__()
        del self.net[1]

    def configure_model(self) -> None:
        if len(self.net) == 1:
            self.net.append(nn.Linear(64, 10))


class Partial(Digits):
    """A frozen part that is in no checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.strict_loading = False

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {name: w for name, w in super().state_dict(*args, **kwargs).items() if not name.startswith("frozen")}


class ByHand(Digits):
    """Lightning's own way to step a schedule under manual optimization: with an epoch's last batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.shared_step(batch, "train"))
        optimizer.step()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]


class NoReturn(Digits):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.shared_step(batch, "train")
