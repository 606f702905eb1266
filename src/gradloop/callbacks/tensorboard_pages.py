"""What TensorBoard shows of a run besides its curves."""

import time
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torchmetrics.functional.classification import multiclass_confusion_matrix

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.publishing import log_png
from gradloop.callbacks.tracker import Tracker
from gradloop.data.batches import evaluated
from gradloop.data.data_checks import blank
from gradloop.drawing.charts import Points, confusion_png, fit_png, quantities
from gradloop.errors import said
from gradloop.process import told
from gradloop.runs.labels import tag
from gradloop.runs.run import in_yaml


class TensorBoardPages(Hook):
    """The resolved config as text, training and validation on one axis, the graph, and what was learned.

    What was learned: the confusion matrix of the test part (where there is no test, of the validation part), or the
    fitted line of a one-dimensional regression. graph: trace the network for the GRAPHS page.
    """

    any_module = True

    def __init__(self, *, graph: bool) -> None:
        self.graph = graph

    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        # nobody knows inputs, outputs and targets of an own module; in a sweep pictures take longer than many a run
        pictures = not self.loop.own and told().get("pictures", True)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                logger.experiment.add_text("config", _markdown(self.run.recipe["config"]))
                logger.experiment.add_custom_scalars(_shared_axes(self.run.history))
                if pictures and self.graph:
                    self._graph(logger.experiment, module)
        if pictures and any(isinstance(logger, TensorBoardLogger | Tracker) for logger in trainer.loggers):
            step = int(self.run.history[-1]["step"]) if self.run.history else 0
            for name, png in self._learned(module).items():
                log_png(trainer.loggers, name, png, step)

    def _learned(self, module: Any) -> dict[str, bytes]:
        part = "test" if "test" in module.outputs else "val"
        if part not in module.outputs:
            return {}
        outputs, targets = module.outputs[part]
        facts = module.recipe["facts"]
        if facts["task"] == "multilabel":  # no label is confused with another
            return {}
        if facts["task"] == "regression":
            line = facts["input_shape"] == [1] and facts["num_outputs"] == 1
            return {"fit": fit_png(*_fitted_line(module))} if line else {}
        names = facts["class_names"] or [str(k) for k in range(max(2, facts["num_outputs"]))]
        if len(names) > 100:
            return {}
        probabilities = module.predictions(outputs.float())
        predicted = (probabilities[:, 0] > 0.5).long() if module.task.name == "binary" else probabilities.argmax(1)
        counts = multiclass_confusion_matrix(predicted, targets.flatten().long(), len(names), validate_args=False)
        return {"confusion matrix": confusion_png(counts.cpu().numpy(), names, part)}

    def events(self, config: dict[str, Any], history: list[dict[str, float]]) -> list[bytes]:
        """Return the pages that a run of a sweep has, as events: config and shared axes, no pictures."""
        from tensorboard.compat.proto.event_pb2 import Event
        from torch.utils.tensorboard.summary import custom_scalars, text

        pages, now = (text("config", _markdown(config)), custom_scalars(_shared_axes(history))), time.time()
        return [Event(wall_time=now, summary=page).SerializeToString() for page in pages]

    def _graph(self, writer: Any, module: Any) -> None:
        sample = blank(1, module.recipe["facts"], device=module.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated in torch, and TensorBoard draws nothing else
            try:
                # a copy is of the network itself, without what compile made of it
                writer.add_graph(deepcopy(module.network).eval(), sample, verbose=False)
            except Exception as error:  # not every network can be traced, and a picture must not end a run
                writer.add_text("graph", f"this network can't be traced: {said(error)}")


def _fitted_line(module: Any) -> tuple[dict[str, Points], Points]:
    """Return the points of the data and those of the line."""
    source = module.trainer.datamodule
    splits = source.splits
    data = {
        f"{part} data": (splits[part].inputs.cpu().numpy(), splits[part].targets.cpu().numpy())
        for part in ("train", "test")
    }
    inputs = splits["train"].inputs
    x = torch.linspace(float(inputs.min()), float(inputs.max()), 100).unsqueeze(1)
    with torch.no_grad():
        seen = evaluated(x, source.eval_transform())
        return data, (x.numpy(), module(seen.to(module.device)).cpu().numpy())


def _shared_axes(history: list[dict[str, float]]) -> dict[str, Any]:
    """Return TensorBoard's layout: one chart a quantity, with training and validation on it."""
    told = quantities(dict.fromkeys(name for row in history for name in row)).values()
    found = dict.fromkeys(sorted((name for stage, name in told if stage != "test"), key=lambda name: name != "loss"))
    charts = {q: ["Multiline", [tag(f"{stage}/{q}") for stage in ("train", "val")]] for q in found}
    return {"training and validation": charts}


def _markdown(config: dict[str, Any]) -> str:
    return "".join(f"    {line}\n" for line in in_yaml(config).splitlines())
