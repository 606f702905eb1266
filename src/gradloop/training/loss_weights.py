"""Weights of the classes in a loss, from `loss.weight`."""

from __future__ import annotations

from typing import Any

import torch

from gradloop.config.targets import parameters
from gradloop.errors import ConfigError
from gradloop.training.trials import name_of

Values = dict[str, Any]


def loss_weights(found: type, weight: Any, facts: Values, use: str) -> Values:
    """Return the loss's argument for the config's `loss.weight`: `weight`, or of yes and no `pos_weight`.

    use: what to choose instead, for the message.
    """
    if weight is None:
        return {}
    key, named = f"loss.weight={weight}", parameters(found)[0]
    if facts["task"] == "regression":
        raise ConfigError(f"{key}: weighs classes, and this data is regression; expected null")
    if isinstance(weight, int | float):
        if found.__module__.startswith("torch."):
            raise ConfigError(f"{key}: expected balanced, or a list of weights, one a class")
        return {"weight": weight}  # whatever a loss of the user's own calls so
    name = "weight" if facts["task"] == "multiclass" else "pos_weight"
    if name not in named:
        raise ConfigError(f"{key}: {name_of(found)} takes no {name}; {use}")
    weights, wanted = facts["class_weights"] if weight == "balanced" else weight, facts["num_outputs"]
    if len(weights) != wanted or not any(weights):
        what = {"multiclass": "one a class", "multilabel": "of a yes, one a label"}.get(facts["task"], "of a yes")
        raise ConfigError(f"{key}: expected {wanted} weight{'s' * (wanted > 1)}, {what}, not all 0")
    return {name: torch.tensor(weights, dtype=torch.float32)}
