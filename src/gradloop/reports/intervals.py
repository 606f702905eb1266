"""How far a metric could be off because the test part is a sample: percentile bootstrap intervals."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from gradloop.reports.predictions import Predictions
from gradloop.seeds import stream_seed
from gradloop.training.task import ranks

AT_ONCE = 4_000_000  # weights in memory together

# (weights [B, N], how often each sample was drawn) -> the metric of each of the B resamples, [B]
Measure = Callable[[Tensor], Tensor]


def intervals(
    predictions: Predictions, *, resamples: int, confidence: float, seed: int
) -> dict[str, tuple[float, float]]:
    """Return {metric: (low, high)}: the middle `confidence` of the metric over the resamples (Efron 1979).

    A resample draws N of the N test samples with replacement. It says how the metric would vary with another test
    part of this size; not how it would vary with another training run. Metrics are vectorised over the resamples:
    each is a function of how often every sample was drawn. Where all resamples are alike, as with nothing but right
    answers, they say nothing: accuracy then has its score interval, and the others have none.
    """
    measures = measures_of(predictions)
    count = len(predictions)
    generator = torch.Generator().manual_seed(stream_seed(seed, "bootstrap"))
    found: dict[str, list[Tensor]] = {name: [] for name in measures}
    chunk = max(1, AT_ONCE // count)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = torch.randint(count, (rows, count), generator=generator)
        weights = torch.zeros(rows, count).scatter_add_(1, drawn, torch.ones(()).expand(rows, count))
        for name, measure in measures.items():
            found[name].append(measure(weights))
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    ends = {name: torch.cat(values).double().nanquantile(tails).tolist() for name, values in found.items()}
    found_ends = {name: (low, high) for name, (low, high) in ends.items() if low < high}
    if "accuracy" in ends and "accuracy" not in found_ends:  # every resample is the same: all right, or all wrong
        share = measures["accuracy"](torch.ones(1, count)).numpy()
        low, high = wilson(share, np.array([count]), confidence)
        found_ends["accuracy"] = float(low[0]), float(high[0])
    return found_ends


def wilson(shares: np.ndarray, counts: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the score interval of shares of so many samples each, all [N] (Wilson 1927).

    (p + z² / 2n ± z √(p (1 - p) / n + z² / 4n²)) / (1 + z² / n); the whole of 0 to 1 where n is 0.
    """
    z, n = NormalDist().inv_cdf((1 + confidence) / 2), np.maximum(counts, 1e-9)
    middle = (shares + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(shares * (1 - shares) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.where(counts > 0, middle - half, 0.0), np.where(counts > 0, middle + half, 1.0)


@torch.no_grad()
def measures_of(predictions: Predictions) -> dict[str, Measure]:
    """Return the metrics of the run's task as functions of the samples' weights.

    Weights of one each give what torchmetrics gives. The loss is left out where it is no mean over samples.
    """
    assert predictions.targets is not None
    losses = predictions.losses
    measures: dict[str, Measure] = {}
    whole = predictions.module.loss(predictions.outputs, predictions.targets)
    if torch.isclose(losses.mean(), whole, rtol=1e-4, atol=1e-6):
        measures["loss"] = mean_of(losses)
    if not predictions.is_classification:
        return measures | regression_measures(predictions.values, predictions.targets.float())
    scores = predictions.module.task.scores(predictions.outputs)
    if predictions.facts["task"] == "multilabel":
        is_label = predictions.targets.float()
        is_said = (predictions.module.predictions(predictions.outputs) > 0.5).float()
        right = (is_said == is_label).float().mean(1)
        measures["exact_match"] = mean_of((is_said == is_label).all(1).float())
        return measures | ranked(right, is_label, is_said, scores, all_count=True)
    right, labels = predictions.right.float(), predictions.labels
    classes = len(predictions.classes)
    is_label = torch.nn.functional.one_hot(labels, classes).float()
    is_said = torch.nn.functional.one_hot(predictions.predicted, classes).float()
    if predictions.facts["task"] == "binary":  # both are of class 1 alone
        is_label, is_said = is_label[:, 1:], is_said[:, 1:]
    return measures | ranked(right, is_label, is_said, scores)


def ranked(
    right: Tensor, is_label: Tensor, is_said: Tensor, scores: Tensor, *, all_count: bool = False
) -> dict[str, Measure]:
    """Return accuracy, f1 and auroc, means over C classes or labels. right: [N]; the others: [N, C].

    all_count: f1 is 0 for a label that is neither true nor said; without, such a class is left out (torchmetrics).
    """
    order = ranks(scores).T

    def f1(weights: Tensor) -> Tensor:
        hits = weights @ (is_label * is_said)
        called, there = weights @ is_said, weights @ is_label
        occurs = (called + there > 0) | all_count
        each = 2 * hits / (called + there).clamp(min=1)
        return (each * occurs).sum(1) / occurs.sum(1).clamp(min=1)

    def auroc(weights: Tensor) -> Tensor:
        areas = [weighted_auroc(weights, rank, there) for rank, there in zip(order, is_label.T, strict=True)]
        return torch.stack(areas, 1).nanmean(1)  # NaN for a class that the resample lacks

    return {"accuracy": mean_of(right), "f1": f1, "auroc": auroc}


def mean_of(values: Tensor) -> Measure:
    """Return weights -> Σ w v / Σ w. values: [N]."""
    return lambda weights: weights @ values / weights.sum(1)


def regression_measures(values: Tensor, targets: Tensor) -> dict[str, Measure]:
    """Return mae, rmse and, of [N, num_outputs], r2 (mean over the outputs). values, targets: [N, …]."""
    errors = values - targets
    squares = errors.square().flatten(1)
    mean_square = mean_of(squares.mean(1))
    found = {"mae": mean_of(errors.abs().flatten(1).mean(1)), "rmse": lambda weights: mean_square(weights).sqrt()}
    if values.ndim > 2:  # torchmetrics' R² over all places needs their sums: it has no interval here
        return found
    centred = (targets.double() - targets.double().mean(0)).float()  # small numbers subtract better

    def r2(weights: Tensor) -> Tensor:
        """NaN for a resample whose targets are all the same."""
        total, whole = weights.sum(1, keepdim=True), weights @ centred.square()
        spread = whole - (weights @ centred).square() / total
        return (1 - (weights @ squares) / spread.where(spread > 1e-5 * whole, torch.nan)).mean(1)

    return found | {"r2": r2}


def weighted_auroc(weights: Tensor, ranks: Tensor, positive: Tensor) -> Tensor:
    """Return the share of (positive, negative) pairs in the right order, a tie counting half: [B].

    weights: [B, N]; ranks: int64 [N], equal for equal scores; positive: 0 or 1, [N]. NaN where there is no pair.
    """
    groups = int(ranks.max()) + 1
    empty = torch.zeros(len(weights), groups)
    up = empty.index_add(1, ranks, weights * positive)
    down = empty.index_add(1, ranks, weights * (1 - positive))
    below = down.double().cumsum(1) - down / 2
    return ((up * below).sum(1) / (up.sum(1).double() * down.sum(1).double())).float()
