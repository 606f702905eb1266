"""Lesson 5: what is saved comes back."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.lessons.page import show_lesson
from gradloop.drawing import BLACK, BLUE, GREY, RED, WRONG
from gradloop.drawing.figures import new_figure, show_picture, style


class RoundTrip(Hook):
    """Loads the saved run and asks it the test questions again: both answers in one picture."""

    @style()
    @torch.no_grad()
    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        import gradloop

        if "test" not in module.outputs:
            return
        outputs, targets = module.outputs["test"]
        batches: Any = trainer.datamodule.test_dataloader()
        pictures = torch.cat([inputs.cpu() for inputs, _ in batches])[: len(targets)]  # the test may have a limit
        loaded = gradloop.load(folder)
        again = loaded.predictions(torch.cat([loaded(inputs) for inputs in pictures.split(batches.batch_size)]))
        before = module.predictions(outputs.cpu().float())
        difference = float((before - again).abs().max())
        rows, truth = torch.arange(len(targets)), targets.cpu()
        figure = new_figure(12, 4.6)
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 1.35])[0]
        axes = left.subplots()
        right_answer = again.argmax(1) == truth
        for chosen, color, label in ((right_answer, BLUE, "right"), (~right_answer, RED, "wrong")):
            pair = [answer[rows, truth][chosen].numpy() for answer in (before, again)]
            axes.plot(*pair, "o", color=color, ms=4, alpha=0.6, label=label)
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, zorder=0)
        axes.set(
            xlabel="probability of the true class, best epoch in memory",
            ylabel="the same, from best.ckpt",
            title=f"largest difference: {difference:.1g}",
        )
        axes.legend(title="answer")
        order = torch.cat([(~right_answer).nonzero()[:, 0], right_answer.nonzero()[:, 0]])[:15]
        low, high = float(pictures.min()), float(pictures.max())
        for place, row in zip(right.subplots(3, 5).flat, order.tolist(), strict=True):
            answer, true = int(again[row].argmax()), int(truth[row])
            color = BLACK if answer == true else WRONG
            show_picture(place, pictures[row], low=high, high=low, title=f"says {answer}, is {true}", color=color)
        score = f"{int(right_answer.sum())} of {len(truth)} test pictures right"
        right.suptitle(f"{score}; the wrong ones first")
        show_lesson(figure, trainer, self.run, folder)
