"""Classification: binary on one logit, multiclass on one logit a class."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor
from torchmetrics.functional import classification as functional

from gradloop.training.supervised import Supervised


class Classification(Supervised):
    """Softmax (or, with one output, logistic) regression on what the network computes.

    Metrics: accuracy (share of right answers), f1 (harmonic mean of precision and recall, mean over classes),
    auroc (area under the ROC curve, one class against the rest, mean over the classes that occur).
    """

    monitor, monitor_mode = "accuracy", "max"
    available_metrics = ("accuracy", "f1", "auroc")

    def __init__(self, *, num_outputs: int, **parts: Any) -> None:
        super().__init__(**parts)
        self.num_classes = max(2, num_outputs)
        self.binary = num_outputs == 1

    def metrics(self, outputs: Tensor, targets: Tensor, names: list[str] | None) -> dict[str, float]:
        if not self.binary and targets.is_floating_point():
            targets = targets.argmax(1)  # MixUp and CutMix: [B, C] shares -> [B] the larger share's class
        probabilities = self.predictions(outputs.float())
        if self.binary:
            probabilities, targets = probabilities.squeeze(1), targets.squeeze(1).long()
        measured = {}
        for name in self.available_metrics if names is None else names:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*(No positive|No negative|scores for one or more).*")
                measured[name] = float(self._metric(name, probabilities, targets))
        return measured

    def _metric(self, name: str, probabilities: Tensor, targets: Tensor) -> Tensor:
        if self.binary:
            metric = {
                "accuracy": functional.binary_accuracy,
                "f1": functional.binary_f1_score,
                "auroc": functional.binary_auroc,
            }[name]
            return metric(probabilities, targets, validate_args=False)
        options: dict[str, Any] = {"num_classes": self.num_classes, "validate_args": False}
        if name == "accuracy":
            return functional.multiclass_accuracy(probabilities, targets, average="micro", **options)
        if name == "f1":
            return functional.multiclass_f1_score(probabilities, targets, **options)
        return functional.multiclass_auroc(probabilities, targets, **options)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return probabilities: [B, 1] of class 1 if binary, else [B, C]."""
        return outputs.sigmoid() if self.binary else outputs.softmax(1)
