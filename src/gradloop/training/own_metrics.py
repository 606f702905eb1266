"""Metrics of the user's own choice, from torchmetrics: built, tried and measured."""

import math
import re
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from gradloop.config.targets import locate, parameters
from gradloop.errors import ConfigError, said
from gradloop.training.task import Task
from gradloop.training.trials import name_of, target_shape

Values = dict[str, Any]
TRIED = 8  # samples


def metrics_of(build: Any, group: Values, facts: Values, task: Task) -> dict[str, Metric]:
    """Build the config's `metrics`; each is handed those of the data's facts that it asks for and are not given.

    Raises ConfigError, which names the key, for what is no `torchmetrics.Metric` and for one that does not measure
    such outputs: it is tried on a few samples.
    """
    found: dict[str, Metric] = {}
    for name, entry in group.items():
        if not entry:
            continue  # null switches it off
        key = f"metrics.{name}"
        if not re.fullmatch(r"\w[\w.-]*", str(name)):
            raise ConfigError(f"{key}: expected a name of letters, digits, '_', '.' and '-'")
        if name in (*task.metrics, "loss"):
            raise ConfigError(f"{key}: gradloop measures {name} itself; choose another name")
        named, _ = parameters(locate(f"{key}._target_", entry["_target_"], build.allow))
        count = facts["num_outputs"]
        known = {"task": task.name, "num_classes": max(2, count), "num_labels": count}
        given = {n: v for n, v in known.items() if n in named and entry.get(n) is None}
        if "task" in given and task.name == "regression":
            raise ConfigError(f"{key}._target_={entry['_target_']}: measures classes, and this data is regression")
        metric = build(key, {n: v for n, v in entry.items() if n not in given}, **given)
        metric.distributed_available_fn = lambda: False  # it is fed the outputs of all processes
        measure(key, metric, task, *_samples(facts))
        found[name] = metric
    return found


def measure(key: str, metric: Metric, task: Task, outputs: Tensor, targets: Tensor) -> float:
    """Return what a metric says of all outputs [N, ...] of a part; raise ConfigError, which names the key.

    It is fed what a person reads: probabilities and whole numbers (classes [N], answers [N] or [N, labels]), or
    values in the target's shape, [N] if there is one a sample.
    """
    answers, wanted = task.read(outputs.float()), targets
    if task.name == "multiclass" and wanted.is_floating_point():
        wanted = wanted.argmax(1)  # shares, of MixUp and CutMix
    if answers.ndim == 2 and answers.shape[1] == 1:
        answers, wanted = answers.squeeze(1), wanted.squeeze(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a class that a part lacks, say, every epoch
            metric.to(outputs.device).reset()
            metric.update(answers, wanted.float() if task.name == "regression" else wanted.long())
            value = metric.compute()
            metric.reset()
    except Exception as error:  # a metric raises what it likes
        raise ConfigError(f"{key}: {name_of(metric)} does not measure {task.name} data: {said(error)}") from error
    if not isinstance(value, Tensor | float | int) or (isinstance(value, Tensor) and value.numel() != 1):
        given = f"{value.numel()} numbers" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ConfigError(f"{key}: {name_of(metric)} gives {given}; expected one (average=macro?)")
    return float(value)


def _samples(facts: Values) -> tuple[Tensor, Tensor]:
    shape = (TRIED, *target_shape(facts))
    outputs = torch.linspace(-2, 2, math.prod(shape)).reshape(shape)
    if facts["task"] == "multiclass":
        return outputs, torch.arange(TRIED) % shape[1]
    return outputs, outputs.cos() if facts["task"] == "regression" else (outputs.cos() > 0).float()


def metric_states(module: nn.Module) -> dict[str, Any]:
    """Return copies of what the module's torchmetrics have seen so far."""
    copied = lambda state: [t.clone() for t in state] if isinstance(state, list) else state.clone()  # noqa: E731
    counted = lambda metric: {key: n for key, n in vars(metric).items() if type(n) is int}  # noqa: E731 - of updates
    return {
        name: {key: copied(state) for key, state in metric.metric_state.items()} | counted(metric)
        for name, metric in module.named_modules()
        if isinstance(metric, Metric)
    }


def put_metric_states(module: nn.Module, states: dict[str, Any]) -> None:
    for name, metric in module.named_modules():
        for key, state in states.get(name, {}).items():
            if isinstance(state, int):
                setattr(metric, key, state)
                continue
            to = [t.to(metric.device) for t in state] if isinstance(state, list) else state.to(metric.device)
            setattr(metric, key, to)
