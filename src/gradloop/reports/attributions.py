"""Which inputs made the score what it is: captum's methods on a gradloop module."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gradloop.errors import ConfigError
from gradloop.reports.predictions import Predictions
from gradloop.training.supervised import Supervised

AT_ONCE = 64  # inputs that captum puts through the network together


def require_captum() -> None:
    """Raise ConfigError where captum is not installed."""
    try:
        import captum.attr  # noqa: F401
    except ImportError as error:
        raise ConfigError("gradloop-explain needs captum: pip install 'gradloop[explain]'") from error


def score_function(module: Supervised) -> Callable[[Tensor], Tensor]:
    """Return inputs -> scores [B, C]: logits or values; for a binary task (-logit, logit), one column a class."""
    binary = module.recipe["facts"]["task"] == "binary"

    def scores(inputs: Tensor) -> Tensor:
        outputs = module(inputs)
        return torch.cat([-outputs, outputs], 1) if binary else outputs

    return scores


def columns_of(predictions: Predictions, rows: list[int], knobs: dict[str, Any]) -> Tensor:
    """Return which score of each sample is explained: int64 [len(rows)]."""
    if not predictions.is_classification:
        return torch.zeros(len(rows), dtype=torch.long, device=predictions.module.device)
    column = predictions.labels if knobs["target"] == "actual" else predictions.predicted
    return column[rows].to(predictions.module.device)


def saliency(module: Supervised, inputs: Tensor, columns: Tensor) -> Tensor:
    """|∂ score / ∂ input| (Simonyan et al. 2013, arXiv 1312.6034): [B, *input_shape], score units per input unit.

    columns: int64 [B], which of the scores (before softmax) to explain.
    """
    from captum.attr import Saliency

    return Saliency(score_function(module)).attribute(_leaf(inputs), target=columns).detach()


def integrated_gradients(module: Supervised, inputs: Tensor, columns: Tensor, *, steps: int) -> Tensor:
    """(x - x₀) · ∫₀¹ ∂ score(x₀ + α (x - x₀)) / ∂x dα (Sundararajan et al. 2017, arXiv 1703.01365).

    x₀ is the blank input 0: the mean picture or table row where the data is normalised. Over an input the values
    add up to score(x) - score(x₀), within the error of a Gauss-Legendre rule of so many steps.
    """
    from captum.attr import IntegratedGradients

    explained = IntegratedGradients(score_function(module)).attribute(
        _leaf(inputs), baselines=0, target=columns, n_steps=steps, internal_batch_size=max(AT_ONCE, len(inputs))
    )
    return explained.detach()


@torch.no_grad()
def occlusion(module: Supervised, pictures: Tensor, columns: Tensor, *, side: float) -> Tensor:
    """Fall of the score when a square is set to 0 (Zeiler & Fergus 2014, arXiv 1311.2901): [B, C, H, W].

    side: of the square, a share of the shorter edge. The square moves by a quarter of its side; where squares
    overlap, a pixel has the mean over those that hid it.
    """
    from captum.attr import Occlusion

    height, width = pictures.shape[-2:]
    square = max(1, round(side * min(height, width)))
    stride = max(1, square // 4)
    channels = pictures.shape[1]
    return Occlusion(score_function(module)).attribute(
        pictures,
        sliding_window_shapes=(channels, square, square),
        strides=(channels, stride, stride),
        target=columns,
        baselines=0,
        perturbations_per_eval=max(1, AT_ONCE // len(pictures)),
    )


def permutation_importance(
    score: Callable[[Tensor], float],
    inputs: Tensor,
    *,
    repeats: int,
    seed: int,
    groups: Sequence[Sequence[int]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Fall of the score when a column is shuffled over the samples (Breiman 2001): mean and std, [columns].

    score: inputs [N, F] -> a number, larger is better. repeats: shuffles of each column. groups: the features of each
    column, which are shuffled together; None: every feature is one.
    """
    generator = torch.Generator().manual_seed(seed)
    base = score(inputs)
    groups = groups or [[feature] for feature in range(inputs.shape[1])]
    falls = torch.empty(len(groups), repeats)
    for column, features in enumerate(map(list, groups)):
        shuffled = inputs.clone()
        for repeat in range(repeats):
            order = torch.randperm(len(inputs), generator=generator)
            shuffled[:, features] = inputs[order][:, features]
            falls[column, repeat] = base - score(shuffled)
    return falls.mean(1), falls.std(1, correction=0)


def _leaf(inputs: Tensor) -> Tensor:
    return inputs.detach().clone().requires_grad_()
