"""Pages on how right and how sure a classifier is."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_precision,
    multiclass_recall,
)

from gradloop.drawing import BLACK, BLUE, GREY, ORANGE, RED
from gradloop.drawing.charts import confusion_png
from gradloop.drawing.figures import DOTS, PAGE_DOTS, number, percent
from gradloop.drawing.labels import shorten_all
from gradloop.reports.intervals import wilson
from gradloop.reports.predictions import Predictions

MOST_CLASSES = 16  # bars that stay readable on one page


def confusion_page(title: str, predictions: Predictions) -> bytes:
    """Return the confusion matrix, in a slide's size."""
    names = shorten_all(predictions.classes, 14)
    counts = multiclass_confusion_matrix(predictions.predicted, predictions.labels, len(names), validate_args=False)
    dots = PAGE_DOTS if len(names) <= 20 else DOTS  # of many classes the page is wide enough
    return confusion_png(counts.cpu().numpy(), names, title, dots=dots)


class Reliability(NamedTuple):
    """Bins of confidence: their edges [n+1], counts [n], mean confidence [n], share of right answers [n]."""

    edges: Tensor
    counts: Tensor
    confidence: Tensor
    accuracy: Tensor
    error: float  # the expected calibration error, 0 to 1


def reliability(probabilities: Tensor, labels: Tensor, *, bins: int) -> Reliability:
    """Return how confidence and accuracy agree, bin by bin (Guo et al. 2017, arXiv 1706.04599).

    ECE = Σ share of the bin · |accuracy - confidence|. probabilities: [N, C]; labels: int64 [N].
    """
    confidence, predicted = probabilities.max(1)
    edges = torch.linspace(0, 1, bins + 1)
    bin_of = (torch.bucketize(confidence, edges, right=True) - 1).clamp(max=bins - 1)
    counts = torch.bincount(bin_of, minlength=bins)
    per_bin = [
        torch.zeros(bins).index_add_(0, bin_of, values.float()) / counts.clamp(min=1)
        for values in (confidence, predicted == labels)
    ]
    error = (counts / counts.sum() * (per_bin[0] - per_bin[1]).abs()).sum()  # torchmetrics has one more bin, for 1.0
    return Reliability(edges, counts, per_bin[0], per_bin[1], float(error))


def tendency(measured: Reliability) -> str:
    """Say how far off the confidence is, and whether the answers are surer than they are right."""
    if not math.isfinite(measured.error):
        return "unknown: some of the probabilities are no numbers"
    error = f"{100 * measured.error:.1f} %: "
    gap = float(((measured.confidence - measured.accuracy) * measured.counts).sum() / measured.counts.sum())
    if abs(gap) <= 0.01:
        return f"{error}on average as sure as it is right"
    return f"{error}{'too sure' if gap > 0 else 'not sure enough'} of itself on average"


def most_confused(predictions: Predictions, most: int) -> list[tuple[str, str, str]]:
    """Return (true class, taken for, "4 of 35") of the pairs that are mistaken most often, the most often first."""
    names = predictions.classes
    wrong = ~predictions.right
    pairs = predictions.labels[wrong] * len(names) + predictions.predicted[wrong]
    found, counts = pairs.unique(return_counts=True)
    of = torch.bincount(predictions.labels, minlength=len(names))
    order = counts.argsort(descending=True, stable=True)[:most].tolist()
    rows = [(*divmod(int(found[k]), len(names)), int(counts[k])) for k in order]
    return [(names[true], names[said], f"{count} of {int(of[true])}") for true, said, count in rows]


def reliability_page(figure: Any, title: str, measured: Reliability) -> None:
    """Accuracy over confidence with the gap to the diagonal, and below it how often each confidence occurs."""
    upper, lower = figure.subplots(2, 1, height_ratios=[3.2, 1], sharex=True)
    width = float(measured.edges[1])
    there = measured.counts > 0
    middles = (measured.edges[:-1] + width / 2)[there].numpy()
    counts, accuracy, confidence = (
        column[there].numpy() for column in (measured.counts, measured.accuracy, measured.confidence)
    )
    bar = {"width": width * 0.94}
    # a bin of one sample says little: the fewer there are, the fainter; fainter still would be gone
    shades = [(BLUE, 0.3 + 0.7 * min(1.0, count / 10)) for count in counts]
    upper.bar(middles, accuracy, color=shades, label="share of right answers (fainter: under 10 samples)", **bar)
    low, high = np.minimum(accuracy, confidence), np.maximum(accuracy, confidence)
    gap = {"facecolor": "none", "hatch": "//", "edgecolor": RED, "lw": 1.2, "label": "gap to the mean confidence"}
    upper.bar(middles, high - low, bottom=low, **bar, **gap)
    upper.plot([0, 1], [0, 1], color=BLACK, ls="--", label="perfectly calibrated")
    upper.set(ylabel="accuracy of the bin", xlim=(0, 1), ylim=(0, 1.02))
    upper.set_title(f"expected calibration error (ECE) {tendency(measured)}", fontsize=10)
    lower.bar_label(lower.bar(middles, counts, color=GREY, **bar), [str(count) for count in counts], fontsize=9)
    lower.set(xlabel="confidence: probability of the predicted class", ylabel="samples")
    lower.margins(y=0.3)
    for axes in (upper, lower):
        axes.grid(visible=False, axis="x")
    figure.suptitle(title)
    figure.legend(loc="outside lower center", ncols=3)
    figure.align_ylabels()


def per_class_page(figure: Any, title: str, predictions: Predictions) -> None:
    """Precision and recall of every class, the worst F1 below; of many classes the worst."""
    classes = predictions.classes
    options: dict[str, Any] = {"num_classes": len(classes), "average": None}
    precision = multiclass_precision(predictions.predicted, predictions.labels, **options)
    recall = multiclass_recall(predictions.predicted, predictions.labels, **options)
    counts = torch.bincount(predictions.labels, minlength=len(classes))
    said = torch.bincount(predictions.predicted, minlength=len(classes))
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    order = f1.where(counts + said > 0, 2.0).argsort(descending=True, stable=True)[-MOST_CLASSES:]
    figure.set_figheight(max(figure.get_figheight(), 0.42 * len(order) + 1.4))  # two bars and their numbers each
    axes = figure.subplots()
    places = np.arange(len(order))[::-1]
    for shift, values, of, color, label in (
        (0.2, precision, said, BLUE, "precision: of those called so, how many are"),
        (-0.2, recall, counts, ORANGE, "recall: of those that are, how many were found"),
    ):
        low, high = wilson(values[order].numpy(), of[order].numpy())
        shown, some = values[order].numpy(), of[order].numpy() > 0  # of none there is no share
        error = np.stack([np.maximum(shown - low, 0), np.maximum(high - shown, 0)]) * some
        axes.barh(places + shift, shown, height=0.38, color=color, label=label)
        axes.errorbar(shown, places + shift, xerr=error, fmt="none", ecolor=BLACK, elinewidth=0.9, capsize=2,
                      label="95 % interval" if values is recall else None)  # fmt: skip
        for place, value, end, there in zip(places + shift, shown, high, some, strict=True):
            text = percent(float(value)) if there else "of none"
            axes.text((max(value, end) if there else 0) + 0.008, place, text, va="center", fontsize=9)
    short = shorten_all([classes[k] for k in order.tolist()])
    axes.set_yticks(places, [f"{name}  (n={int(counts[k])})" for name, k in zip(short, order.tolist(), strict=True)])
    left_out = len(classes) - len(order)
    note = f" (the worst {len(order)} of {len(classes)} classes)" if left_out else ""
    axes.set(xlabel="share", ylabel="class (n: true samples)", xlim=(0, 1.12), ylim=(-0.6, len(order) - 0.4))
    figure.suptitle(title + note)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20 %", "40 %", "60 %", "80 %", "100 %"])
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)


def most_wrong_page(figure: Any, title: str, predictions: Predictions, rows: list[int]) -> None:
    """The highest losses as bars, each with its name, its classes and the confidence of the answer."""
    figure.set_figheight(max(figure.get_figheight(), 0.24 * len(rows) + 1.6))
    axes = figure.subplots()
    places = range(len(rows))[::-1]
    losses = predictions.losses[rows].numpy()
    colors = [BLUE if predictions.right[row] else RED for row in rows]
    bars = axes.barh(places, losses, color=colors)
    labels = axes.bar_label(bars, answers(predictions, rows), padding=4, fontsize=9)
    axes.set_yticks(places, shorten_all([predictions.names[row] for row in rows], 22))
    axes.set(xlabel="loss of the sample", ylabel="sample", ylim=(-0.7, len(rows) - 0.3))
    figure.suptitle(title)
    mean = float(predictions.losses.mean())
    line = axes.axvline(mean, color=BLACK, ls="--")
    handles = {"wrong answer": axes.bar([0], [0], color=RED), f"mean of all samples: {number(mean)}": line}
    if predictions.right[rows].any():
        handles["right answer"] = axes.bar([0], [0], color=BLUE)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
    axes.grid(visible=False, axis="y")
    for label in labels:
        label.set_in_layout(False)  # or the bars would make room for what lies beyond the axes
    figure.draw_without_rendering()
    whole = axes.bbox.width  # dots
    beside = [max(whole - label.get_window_extent().width - 12, 0.3 * whole) for label in labels]
    ends = [float(loss) * whole / left for loss, left in zip(losses, beside, strict=True) if math.isfinite(loss)]
    axes.set_xlim(0, max([mean if math.isfinite(mean) else 0, *ends]) or 1)


def answers(predictions: Predictions, rows: list[int]) -> list[str]:
    """Return what each sample is and what the network said, in one line."""
    classes = shorten_all(predictions.classes)
    return [
        f"true {classes[int(predictions.labels[row])]}, said {classes[int(predictions.predicted[row])]} "
        f"({percent(float(predictions.confidence[row]))})"
        for row in rows
    ]
