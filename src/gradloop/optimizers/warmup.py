"""A warm-up in front of any schedule."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Warmup(LRScheduler):
    """Rate `lr · min(1, (t + 1) / (steps + 1))` before step t = 0, 1, …, then another schedule (arXiv 1706.02677).

    torch's SequentialLR can't do it: it counts one unit for all of its schedules, and takes no ReduceLROnPlateau.

    steps: optimizer steps, 1 or more. `then` begins after them, be it counted in steps or in epochs.
    then: optimizer -> the scheduler that follows; None for a constant rate. lr is where that one begins.
    """

    def __init__(self, optimizer: Optimizer, *, steps: int, then: Callable[[Optimizer], Any] | None) -> None:
        # nothing of LRScheduler's own beginning: it would take a first step
        self.optimizer, self.steps, self.last_epoch = optimizer, steps, 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.then = None if then is None else then(optimizer)
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._put()

    @property
    def warming(self) -> bool:
        return self.last_epoch < self.steps

    def _put(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * min(1.0, (self.last_epoch + 1) / (self.steps + 1))

    def step(self, epoch: Any = None) -> None:
        """Warm up by one optimizer step more; what follows the warm-up is stepped by itself."""
        self.last_epoch += 1
        self._put()

    def get_last_lr(self) -> list[float | Tensor]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        then = None if self.then is None else self.then.state_dict()
        return {"last_epoch": self.last_epoch, "rates": self.rates, "then": then}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_epoch, self.rates = state_dict["last_epoch"], list(state_dict["rates"])
        if self.then is not None:
            self.then.load_state_dict(state_dict["then"])
