"""What a task decides: its losses and metrics, what "best" means, how outputs are read."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import l1_loss, one_hot
from torchmetrics.functional import classification, regression

NO_CLASS = ".*(No positive|No negative|scores for one or more).*"


class Task(ABC):
    """One kind of targets. num_outputs: numbers that the network gives a sample.

    monitor: the metric that says which epoch is best.
    epoch_metrics: measured every epoch by default; the test measures all of `metrics`.
    losses: the loss group's choices that fit, and the classes behind them. default_loss: what `loss=auto` is.
    """

    name: ClassVar[str]
    monitor: ClassVar[str] = "accuracy"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "auroc")
    epoch_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    losses: ClassVar[dict[str, str]]
    default_loss: ClassVar[dict[str, Any]]

    def __init__(self, num_outputs: int) -> None:
        self.num_outputs = num_outputs

    def measure(self, outputs: Tensor, targets: Tensor, names: list[str] | None) -> dict[str, float]:
        """Return the named metrics (None: all that apply) of outputs [N, num_outputs] against targets."""
        names = list(self.metrics) if names is None else names
        if "auroc" not in names:
            return self._measure(outputs.float(), targets, names)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=NO_CLASS)
            return self._measure(outputs.float(), targets, names)

    @abstractmethod
    def _measure(self, outputs: Tensor, targets: Tensor, names: list[str]) -> dict[str, float]: ...

    @abstractmethod
    def read(self, outputs: Tensor) -> Tensor:
        """Turn raw outputs into what a person reads: probabilities or values, [N, num_outputs]."""


class Multiclass(Task):
    """One of C classes, a logit for each; targets int64 [N], or shares [N, C] where MixUp or CutMix mixed them.

    Metrics: accuracy (share of right answers), f1 (harmonic mean of precision and recall, mean over classes),
    auroc (area under the ROC curve, one class against the rest, mean over the classes that occur).
    """

    name = "multiclass"
    losses: ClassVar = {"cross_entropy": "CrossEntropyLoss"}
    default_loss: ClassVar = {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.0}

    def _measure(self, outputs: Tensor, targets: Tensor, names: list[str]) -> dict[str, float]:
        if targets.is_floating_point():
            targets = targets.argmax(1)  # [N, C] shares -> [N] the larger share's class
        given = (self.read(outputs), targets)
        options: dict[str, Any] = {"num_classes": self.num_outputs, "validate_args": False}
        known = {
            "accuracy": lambda: classification.multiclass_accuracy(*given, average="micro", **options),
            "f1": lambda: classification.multiclass_f1_score(*given, **options),
            "auroc": lambda: _of_those_that_occur(
                classification.multiclass_auroc(*given, average=None, **options),
                one_hot(targets.long(), self.num_outputs),
            ),
        }
        return {name: float(known[name]()) for name in names}

    def read(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)


def _of_those_that_occur(values: Tensor, occurs: Tensor) -> Tensor:
    """Mean of the values of classes [C] that some samples have and some have not; of all, if there is none.

    occurs: 0 or 1, [N, C].
    """
    share = occurs.flatten(0, -2).float().mean(0)
    told = (share > 0) & (share < 1)
    return (values[told] if told.any() else values).mean()


class Binary(Task):
    """Yes or no, one logit; targets float [N, 1] of 0 and 1. Metrics as for several classes, of class 1."""

    name = "binary"
    losses: ClassVar = {"bce_with_logits": "BCEWithLogitsLoss"}
    default_loss: ClassVar = {"_target_": "torch.nn.BCEWithLogitsLoss"}

    def _measure(self, outputs: Tensor, targets: Tensor, names: list[str]) -> dict[str, float]:
        given = (self.read(outputs).squeeze(1), targets.squeeze(1).long())
        known = {
            "accuracy": classification.binary_accuracy,
            "f1": classification.binary_f1_score,
            "auroc": classification.binary_auroc,
        }
        return {name: float(known[name](*given, validate_args=False)) for name in names}

    def read(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()


class Multilabel(Binary):
    """Several yes-or-no labels a sample, a logit for each; targets float [N, L] of 0 and 1.

    Metrics: accuracy (share of right answers over all labels), exact_match (share of samples with every label right),
    f1 (mean over labels) and auroc (mean over the labels that occur, and are not everywhere).
    """

    name = "multilabel"
    metrics = ("accuracy", "exact_match", "f1", "auroc")

    def _measure(self, outputs: Tensor, targets: Tensor, names: list[str]) -> dict[str, float]:
        given, options = (self.read(outputs), targets.long()), {"validate_args": False}
        labels = self.num_outputs
        known = {
            "accuracy": lambda: classification.multilabel_accuracy(*given, labels, average="micro", **options),
            "exact_match": lambda: classification.multilabel_exact_match(*given, labels, **options),
            "f1": lambda: classification.multilabel_f1_score(*given, labels, **options),
            "auroc": lambda: _of_those_that_occur(
                classification.multilabel_auroc(*given, labels, average=None, **options), given[1]
            ),
        }
        return {name: float(known[name]()) for name in names}


class Regression(Task):
    """Real values; targets float [N, num_outputs], or dense: values at each place, [N, *target_shape].

    Metrics: mae `mean |ŷ - y|`, rmse `√ mean (ŷ - y)²` (both in the target's unit), r2 `1 - SSE / SST`.
    """

    name, monitor = "regression", "loss"
    metrics = ("mae", "rmse", "r2")
    epoch_metrics = ("mae",)
    losses: ClassVar = {"mse": "MSELoss", "l1": "L1Loss", "huber": "HuberLoss"}
    default_loss: ClassVar = {"_target_": "torch.nn.MSELoss"}

    def _measure(self, outputs: Tensor, targets: Tensor, names: list[str]) -> dict[str, float]:
        if outputs.ndim > 2:  # over all places, channels and samples
            outputs, targets = outputs.flatten(), targets.flatten()
        given = (outputs, targets.float())
        known = {
            "mae": lambda: l1_loss(*given),  # the bits of torchmetrics' in fewer calls: an epoch may be one step
            "rmse": lambda: regression.mean_squared_error(*given, squared=False),
            "r2": lambda: regression.r2_score(*given),
        }
        # one sample has no variance to explain
        return {name: float(known[name]()) for name in names if name != "r2" or len(targets) > 1}

    def read(self, outputs: Tensor) -> Tensor:
        return outputs


TASKS: dict[str, type[Task]] = {task.name: task for task in (Multiclass, Binary, Multilabel, Regression)}


def task_of(facts: dict[str, Any]) -> Task:
    """Return the task of data with such facts."""
    return TASKS[facts["task"]](facts["num_outputs"])


def single_line(network: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return the weight and bias of a network that is one line `y = w x + b`; None for any other."""
    for layer in (network, *network.children()):
        if isinstance(layer, nn.Linear) and layer.weight.numel() == 1 and layer.bias is not None:
            return (layer.weight, layer.bias) if len(list(network.parameters())) == 2 else None
    return None
