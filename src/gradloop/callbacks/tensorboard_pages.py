"""What TensorBoard shows of a run besides its curves."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger


class TensorBoardPages(pl.Callback):
    """The resolved config as text, training and validation on one axis, the graph, and what was learned.

    What was learned: the confusion matrix of the validation part, or the fitted line of a one-dimensional
    regression. graph: trace the network for the GRAPHS page.
    """

    def __init__(self, *, graph: bool) -> None:
        self.graph = graph

    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                self._draw(logger.experiment, module)

    def _draw(self, writer: Any, module: Any) -> None:
        writer.add_text("config", _markdown(module.recipe["config"]))
        writer.add_custom_scalars(_shared_axes(module.history))
        step = int(module.history[-1]["step"]) if module.history else 0
        if self.graph:
            self._graph(writer, module)
        part = "test" if "test" in module.outputs else "val"
        if part not in module.outputs:
            return
        outputs, targets = module.outputs[part]
        facts = module.recipe["facts"]
        if facts["task"] == "regression":
            if facts["input_shape"] == [1] and facts["num_outputs"] == 1:
                writer.add_figure("fit", _fitted_line(module, targets.device), step)
            return
        names = facts["class_names"] or [str(k) for k in range(max(2, facts["num_outputs"]))]
        if len(names) <= 100:
            probabilities = module.predictions(outputs.float())
            predicted = (probabilities[:, 0] > 0.5).long() if module.binary else probabilities.argmax(1)
            figure = confusion_figure(predicted, targets.flatten().long(), names, part)
            writer.add_figure("confusion matrix", figure, step)

    def _graph(self, writer: Any, module: Any) -> None:
        network = module.network
        training = network.training
        sample = torch.zeros(1, *module.recipe["facts"]["input_shape"], device=module.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated in torch, and TensorBoard draws nothing else
            try:
                writer.add_graph(network.eval(), sample, verbose=False)
            except Exception as error:  # not every network can be traced, and a picture must not end a run
                writer.add_text("graph", f"this network can't be traced: {str(error).splitlines()[0]}")
            finally:
                network.train(training)


def confusion_figure(predicted: torch.Tensor, targets: torch.Tensor, names: list[str], part: str) -> Any:
    """Return a figure of counts: rows are true classes, columns predicted ones, colours shares of the row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    counts = multiclass_confusion_matrix(predicted, targets, len(names), validate_args=False).cpu()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    side = max(4.0, 0.5 * len(names) + 2)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    if len(names) <= 20:
        for (row, column), count in zip(
            torch.cartesian_prod(*2 * [torch.arange(len(names))]), counts.flatten(), strict=True
        ):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(int(column), int(row), str(int(count)), ha="center", va="center", color=color, fontsize=9)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(ticks, names)
    right = int(counts.diagonal().sum())
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{part}: {right} of {int(counts.sum())} right", fontsize=11)
    return figure


def _fitted_line(module: Any, device: torch.device) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    splits = module.trainer.datamodule.splits
    for part, marker in (("test", "x"), ("train", "o")):
        split = splits[part]
        axes.scatter(split.inputs.cpu(), split.targets.cpu(), marker=marker, label=f"{part} data")
    low, high = float(splits["train"].inputs.min()), float(splits["train"].inputs.max())
    x = torch.linspace(low, high, 100, device=device).unsqueeze(1)
    with torch.no_grad():
        axes.plot(x.cpu(), module(x).cpu(), color="#ee6677", label="fit")
    axes.set(xlabel="x", ylabel="y", title="data and fit")
    axes.legend(frameon=False)
    return figure


def _shared_axes(history: list[dict[str, float]]) -> dict[str, Any]:
    """Return TensorBoard's layout: one chart a quantity, with training and validation on it."""
    names = dict.fromkeys(name for row in history for name in row if "/" in name)
    charts: dict[str, list[str]] = {}
    for name in names:
        charts.setdefault(name.split("/", 1)[1], []).append(name)
    return {"training and validation": {q: ["Multiline", tags] for q, tags in charts.items()}}


def _markdown(config: dict[str, Any]) -> str:
    import yaml

    text = yaml.safe_dump(config, sort_keys=False)
    return "".join(f"    {line}\n" for line in text.splitlines())
