"""Modules without a training behind them, for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradloop.reports.predictions import Predictions
from gradloop.training.supervised import Supervised
from gradloop.training.task import TASKS


def small_module(network: nn.Module, task: str, input_shape: tuple[int, ...], num_outputs: int) -> Supervised:
    """Return a module as `gradloop.load` does: in eval mode, with its recipe."""
    loss: dict[str, Any] = {
        "multiclass": nn.CrossEntropyLoss(),
        "binary": nn.BCEWithLogitsLoss(),
        "multilabel": nn.BCEWithLogitsLoss(),
        "regression": nn.MSELoss(),
    }
    module = Supervised(network=network, task=TASKS[task](num_outputs), loss=loss[task])
    facts = {
        "input_shape": list(input_shape),
        "num_outputs": num_outputs,
        "task": task,
        "class_names": None,
        "input_names": None,
    }
    config = {"data": {}, "model": {"_target_": "gradloop.networks.linear.Linear", "bias": True}}
    module.recipe = {"config": config, "facts": facts, "preprocessing": {}}
    return module.eval()


def random_predictions(task: str, samples: int, *, classes: int = 3, seed: int = 0) -> Predictions:
    """Return predictions that are right more often than not."""
    generator = torch.Generator().manual_seed(seed)
    outputs = {"multiclass": classes, "binary": 1, "regression": 2}[task]
    module = small_module(nn.Identity(), task, (outputs,), outputs)
    scores = torch.randn(samples, outputs, generator=generator)
    noise = torch.randn(samples, outputs, generator=generator)
    targets: Tensor = {
        "multiclass": (scores + noise).argmax(1),
        "binary": (scores + noise > 0).float(),
        "regression": scores + noise,
    }[task]
    return Predictions(module, scores, targets, [f"sample {k}" for k in range(samples)])
