"""What an epoch has seen so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradloop.callbacks.hook import gathered, share_of


class Meter:
    """Collects losses, outputs and targets batch by batch; the metrics are computed once, at the end.

    Adding a batch keeps references and computes nothing: a metric object updated at each step costs a small
    model more than its training does.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.losses: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    @property
    def empty(self) -> bool:
        return not self.losses

    def to(self, device: torch.device) -> None:
        for seen in (self.losses, self.outputs, self.targets):
            seen[:] = [tensor.to(device) for tensor in seen]

    def add(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch: its mean loss [], outputs [B, ...] and targets [B, ...], all detached."""
        self.losses.append(loss)
        self.outputs.append(outputs)
        self.targets.append(targets)

    def gather(self, trainer: Any, stage: str) -> tuple[float, Tensor, Tensor]:
        """Return the mean loss over samples, all outputs and all targets: of every process, in the split's order."""
        several = trainer.world_size > 1
        if len(self.losses) == 1 and not several:
            return float(self.losses[0]), self.outputs[0], self.targets[0]
        losses = torch.stack(self.losses)
        losses = (losses.cpu() if losses.device.type == "mps" else losses).double()  # MPS has no float64
        sizes = torch.tensor([float(len(targets)) for targets in self.targets], device=losses.device).double()
        loss = (losses @ sizes) / sizes.sum()
        outputs, targets = torch.cat(self.outputs), torch.cat(self.targets)
        if several:
            loss = trainer.strategy.reduce(loss, reduce_op="mean")
            # process r holds the samples r, r + world_size, …: interleave them and drop the padding
            split = getattr(trainer.datamodule, "splits", {}).get(stage)
            size = None if split is None else len(split)
            gathered = trainer.strategy.all_gather(outputs), trainer.strategy.all_gather(targets)
            outputs, targets = (both.transpose(0, 1).flatten(0, 1)[:size] for both in gathered)
        return float(loss), outputs, targets

    def state(self) -> dict[str, Any] | list[Any]:
        """Return plain tensors for a checkpoint taken inside an epoch; of several processes, what each has seen."""
        mine: dict[str, Any] = {}
        if not self.empty:
            mine = {
                "losses": torch.stack(self.losses),
                "sizes": [len(targets) for targets in self.targets],
                "outputs": torch.cat(self.outputs),
                "targets": torch.cat(self.targets),
            }
        every = gathered(mine)
        return every if len(every) > 1 else mine

    @classmethod
    def from_state(cls, state: dict[str, Any] | list[Any]) -> Meter:
        meter = cls()
        if isinstance(state, list):
            state = dict(share_of(state))
        if state:
            meter.losses = list(state["losses"])
            meter.outputs = list(state["outputs"].split(state["sizes"]))
            meter.targets = list(state["targets"].split(state["sizes"]))
        return meter
