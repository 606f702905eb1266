"""Regression: real-valued targets."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchmetrics.functional import regression as functional

from gradloop.training.supervised import Supervised


class Regression(Supervised):
    """Fits real values [B, num_outputs].

    Metrics: mae `mean |ŷ - y|`, rmse `√ mean (ŷ - y)²` (both in the target's unit), r2 `1 - SSE / SST`.
    """

    monitor, monitor_mode = "loss", "min"
    available_metrics = ("mae", "rmse", "r2")

    def __init__(self, *, num_outputs: int, **parts: Any) -> None:
        super().__init__(**parts)
        self.num_outputs = num_outputs
        self.line = single_line(self.network)

    def on_train_epoch_end(self) -> None:
        if self.line is not None:  # two numbers are cheap to keep, and show the way over the loss surface
            weight, bias = self.line
            self.row |= {"weight": weight.item(), "bias": bias.item()}
        super().on_train_epoch_end()

    def metrics(self, outputs: Tensor, targets: Tensor, names: list[str] | None) -> dict[str, float]:
        measured = {}
        for name in self.available_metrics if names is None else names:
            if name == "r2" and len(targets) < 2:
                continue  # one sample has no variance to explain
            measured[name] = float(self._metric(name, outputs.float(), targets.float()))
        return measured

    def _metric(self, name: str, outputs: Tensor, targets: Tensor) -> Tensor:
        if name == "mae":
            return functional.mean_absolute_error(outputs, targets)
        if name == "rmse":
            return functional.mean_squared_error(outputs, targets, squared=False)
        return functional.r2_score(outputs, targets)

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs


def single_line(network: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return the weight and bias of a network that is one line `y = w x + b`; None for any other."""
    layers = [network, *network.children()]
    parameters = list(network.parameters())
    for layer in layers:
        if isinstance(layer, nn.Linear) and layer.weight.numel() == 1 and layer.bias is not None:
            return (layer.weight, layer.bias) if len(parameters) == 2 else None
    return None
