"""What a task decides: its losses and metrics, what "best" means, how outputs are read."""

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, one_hot
from torchmetrics.functional import classification, regression

from gradloop.config.targets import parameters
from gradloop.errors import ConfigError

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
        """Return the named metrics (None: all that apply) of outputs [N, num_outputs] against targets.

        Where only one class is there, an AUROC says nothing, and is left out.
        """
        names = list(self.metrics) if names is None else names
        if outputs.device.type == "mps":  # which has no float64
            outputs, targets = outputs.cpu(), targets.cpu()
        if "auroc" not in names:
            return self._measure(outputs.float(), targets, names)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=NO_CLASS)
            found = self._measure(outputs.float(), targets, names)
            return {name: value for name, value in found.items() if name != "auroc" or not math.isnan(value)}

    @abstractmethod
    def _measure(self, outputs: Tensor, targets: Tensor, names: list[str]) -> dict[str, float]: ...

    @abstractmethod
    def read(self, outputs: Tensor) -> Tensor:
        """Turn raw outputs into what a person reads: probabilities or values, [N, num_outputs]."""

    def scores(self, outputs: Tensor) -> Tensor:
        """Return what ranks samples by each class or label, [N, num_outputs]: logits, for one."""
        return outputs

    def loss_weights(self, loss: type, weight: Any, facts: dict[str, Any], use: str) -> dict[str, Any]:
        """Return a loss's argument for the config's `loss.weight`: `weight`, or of yes and no `pos_weight`.

        facts: of the data; `class_weights` among them for `balanced`. use: what to choose instead, for the message.
        """
        if weight is None:
            return {}
        key = f"loss.weight={weight}"
        if self.name == "regression":
            raise ConfigError(f"{key}: weighs classes, and this data is regression; expected null")
        if isinstance(weight, int | float):
            if loss.__module__.startswith("torch."):
                raise ConfigError(f"{key}: expected balanced, or a list of weights, one a class")
            return {"weight": weight}  # whatever a loss of the user's own calls so
        name = "weight" if self.name == "multiclass" else "pos_weight"
        if name not in parameters(loss)[0]:
            raise ConfigError(f"{key}: {loss.__qualname__} takes no {name}; {use}")
        weights, wanted = facts["class_weights"] if weight == "balanced" else weight, self.num_outputs
        if len(weights) != wanted or not any(weights):
            what = {"multiclass": "one a class", "multilabel": "of a yes, one a label"}.get(self.name, "of a yes")
            raise ConfigError(f"{key}: expected {wanted} weight{'s' * (wanted > 1)}, {what}, not all 0")
        return {name: torch.tensor(weights, dtype=torch.float32)}


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
                classification.multiclass_auroc(_in_order(self.scores(outputs)), targets, average=None, **options),
                one_hot(targets.long(), self.num_outputs),
            ),
        }
        return {name: float(known[name]()) for name in names}

    def read(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def scores(self, outputs: Tensor) -> Tensor:
        """Log-odds `log p / (1 - p)` of each class, float64 [N, C]: probabilities near 1 are no ties in them."""
        logits = outputs.double()
        logs, top = logits.log_softmax(1), logits.argmax(1, keepdim=True)
        others = logits.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True)
        return (logs - torch.log1p(-logs.exp())).scatter(1, top, logits.gather(1, top) - others)


def ranks(scores: Tensor) -> Tensor:
    """Where each sample stands by each column, equal ones alike, from 0 on: int64 [N, C]."""
    return torch.stack([column.unique(return_inverse=True)[1] for column in scores.T], 1)


def _in_order(scores: Tensor) -> Tensor:
    """Ranks as shares of N, float64 [N, C]: torchmetrics takes what is not in 0 to 1 for logits, and makes ties."""
    return ranks(scores).double() / len(scores)


def _of_those_that_occur(values: Tensor, occurs: Tensor) -> Tensor:
    """Mean of the values of classes [C] that some samples have and some have not; NaN if there is none.

    occurs: 0 or 1, [N, C].
    """
    share = occurs.flatten(0, -2).float().mean(0)
    told = (share > 0) & (share < 1)
    return values[told].mean()


class Binary(Task):
    """Yes or no, one logit; targets float [N, 1] of 0 and 1. Metrics as for several classes, of class 1."""

    name = "binary"
    losses: ClassVar = {"bce_with_logits": "BCEWithLogitsLoss"}
    default_loss: ClassVar = {"_target_": "torch.nn.BCEWithLogitsLoss"}

    def _measure(self, outputs: Tensor, targets: Tensor, names: list[str]) -> dict[str, float]:
        given = (self.read(outputs).squeeze(1), targets.squeeze(1).long())
        known = {
            "accuracy": lambda: classification.binary_accuracy(*given, validate_args=False),
            "f1": lambda: classification.binary_f1_score(*given, validate_args=False),
            "auroc": lambda: _of_those_that_occur(
                classification.binary_auroc(_in_order(outputs)[:, 0], given[1], validate_args=False)[None], targets
            ),
        }
        return {name: float(known[name]()) for name in names}

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
                classification.multilabel_auroc(_in_order(outputs), given[1], labels, average=None, **options),
                given[1],
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
            "r2": lambda: r_squared(*given),
        }
        # one sample has no variance to explain
        return {name: float(known[name]()) for name in names if name != "r2" or len(targets) > 1}

    def read(self, outputs: Tensor) -> Tensor:
        return outputs


def r_squared(values: Tensor, targets: Tensor) -> Tensor:
    """Return `1 - SSE / SST`, the mean over the outputs, for [N, num_outputs]; 0 where all targets are the same and
    the values are not.

    In units of the targets' deviation from their mean: torchmetrics takes sums below 1e-4 for none.
    """
    values, targets = values.double(), targets.double()
    mean, std = targets.mean(0), targets.std(0, correction=0)
    std = std.where(std > 1e-12 * mean.abs(), 1.0)  # else rounding alone
    return regression.r2_score((values - mean) / std, (targets - mean) / std)


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
