"""The moments of a run that gradloop's own callbacks may see, besides Lightning's."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from gradloop.runs.run import Run


class Hook(pl.Callback):
    """A callback that lets the loop train several batches before it is asked again.

    Its batch hooks (`on_train_batch_start`, `on_train_batch_end`) then come every 50 ms. What must happen at every
    optimizer step belongs into `before_step` and `after_step`.

    run: what it is a part of. loop: where that stands (`epoch`, `batch`, `step`). Both are there once it trains.
    any_module: it needs nothing of gradloop's own module, and goes with a LightningModule of the user's, too.
    order: where it stands among a run's callbacks; those of others stand at 0.
    """

    run: Run
    loop: Any
    any_module = False
    order = 0
    monitor, mode = "", "min"  # of an own module, the metric may not be known yet

    found: dict[str, Any] = {}  # noqa: RUF012 - what the run found for itself; replaced, never changed

    @property
    def stops(self) -> bool:
        """Whether it may end the training where this epoch ends, by `trainer.should_stop`."""
        return False

    def follow(self, monitor: str, mode: str) -> None:
        """Take over what "best" means in this run: a metric, and `min` or `max`."""
        self.monitor, self.mode = monitor, mode

    def before_step(self, module: Any, loss: Tensor) -> None:
        """See the gradients of every step, before they are clipped. loss: the batch's, detached."""

    def after_step(self, module: Any) -> None:
        """See the weights after every step."""

    def between(self, trainer: pl.Trainer, module: Any) -> None:
        """Save, or stop: nothing of the batch before, or of the epoch, waits to be done."""

    def stopped(self, trainer: pl.Trainer, module: Any) -> None:
        """Save what must be: the run is stopped here, and goes on later."""

    def diverged(self, trainer: pl.Trainer, module: Any) -> None:
        """Save what must be: the run ends here, with weights or a loss that are no numbers."""

    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        """Draw into the run's folder, at its end."""

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.before_step(pl_module, torch.zeros(()) if self.loop.loss is None else self.loop.loss)


def gathered(mine: Any) -> list[Any]:
    """Return what each process of a run has, in their order. mine: plain data and tensors."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    every = [mine] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, move_data_to_device(mine, torch.device("cpu")))
    return every


def share_of(every: list[Any]) -> Any:
    """Return what belongs to this process of that."""
    return every[torch.distributed.get_rank() if len(every) > 1 else 0]


def agreed(trainer: pl.Trainer, value: int) -> int:
    """Return the largest value that any process of a run gives: what all of them have to do after the same batch."""
    if trainer.world_size == 1:
        return value
    largest = torch.tensor(value, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return int(largest)
