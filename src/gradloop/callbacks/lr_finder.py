"""Finding a learning rate before the training."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from gradloop.callbacks.batch_size_finder import trial_batches, trial_optimizer, trial_step
from gradloop.callbacks.hook import Hook
from gradloop.callbacks.publishing import publish
from gradloop.drawing import BLUE, GREY, RED
from gradloop.drawing.figures import new_figure, style
from gradloop.errors import ConfigError

RATES = ("lr", "initial_lr", "max_lr", "min_lr")  # what optimizers and schedulers keep in a parameter group


class LearningRateFinder(Hook):
    """The learning-rate range test (arXiv 1506.01186) before the first step, for any optimizer.

    A copy of the network trains while the rate rises from `min_lr` to `max_lr` in `steps` optimizer steps; the run
    then has the rate at which the smoothed loss fell most steeply over log(lr). A scheduler's own rates are scaled
    by the same factor. stop_above: end when a running mean of the loss is that many times its smallest value.
    """

    def __init__(self, *, min_lr: float, max_lr: float, steps: int, stop_above: float | None) -> None:
        if not 0 < min_lr < max_lr:
            raise ConfigError(f"callbacks.lr_finder.min_lr={min_lr}: expected above 0 and below max_lr ({max_lr})")
        self.rates = torch.logspace(math.log10(min_lr), math.log10(max_lr), steps, dtype=torch.double).tolist()
        self.stop_above = math.inf if stop_above is None else stop_above
        self.curve: dict[str, list[float]] = {"lr": [], "loss": [], "smoothed": []}

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        if trainer.world_size > 1:
            raise ConfigError("callbacks=lr_finder: searches on one device only; use trainer.devices=1")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.fast_dev_run or self.curve["lr"]:  # a resumed run has its curve, and its optimizer the rate
            return
        losses = self._losses(trainer, pl_module)
        if len(losses) < 2:
            return
        smoothed = smooth(losses)
        self.curve = {"lr": self.rates[: len(losses)], "loss": losses, "smoothed": smoothed}
        if (rate := steepest(self.rates, smoothed)) is not None:
            self.found = {"optimizer.lr": rate}
            scale_rates(trainer, pl_module, rate)

    def _losses(self, trainer: pl.Trainer, module: Any) -> list[float]:
        """Train a copy on the batches of the first epochs, a rate a step; return its losses, all finite."""
        network, loss_of = deepcopy(module.network), deepcopy(module.loss)
        optimizer = trial_optimizer(module, network, loss_of)
        batches, losses, mean, lowest = trial_batches(trainer), [], 0.0, math.inf
        with torch.random.fork_rng():
            torch.manual_seed(module.seed)
            for step, rate in enumerate(self.rates, start=1):
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = trial_step(trainer, network, loss_of, optimizer, next(batches))
                mean = 0.98 * mean + 0.02 * loss
                unbiased = mean / (1 - 0.98**step)
                lowest = min(lowest, unbiased)
                if not math.isfinite(loss) or (step > 1 and unbiased > self.stop_above * lowest):
                    break
                losses.append(loss)
        return losses

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found, "curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found, self.curve = state_dict["found"], state_dict["curve"]

    @style()
    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        if not self.curve["lr"]:
            return
        figure = new_figure(6, 4)
        axes = figure.subplots()
        axes.plot(self.curve["lr"], self.curve["loss"], color=BLUE, lw=1, alpha=0.35, label="loss of a batch")
        axes.plot(self.curve["lr"], self.curve["smoothed"], color=BLUE, lw=2.5, label="smoothed")
        if self.found:
            rate = self.found["optimizer.lr"]
            axes.axvline(rate, color=RED, lw=2, label=f"steepest descent: {rate:.2g}")
        configured = module.recipe["config"]["optimizer"].get("lr")
        if configured:
            axes.axvline(configured, color=GREY, ls="--", label=f"optimizer.lr was {configured:g}")
        low, start = min(self.curve["smoothed"]), self.curve["smoothed"][0]
        axes.set_ylim(low - 0.15 * (start - low), start + 0.6 * (start - low))  # it may end in a huge loss
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title="Learning-rate range test")
        axes.legend(frameon=False)
        publish(figure, trainer, folder / "lr_finder.png", "learning rate finder")


def smooth(losses: list[float]) -> list[float]:
    """Return the Gaussian mean over neighbouring steps (standard deviation: a twentieth of the steps).

    Losses above twice the first ones count as that much: where training blows up, one step outweighs all others.
    """
    loss, step = torch.tensor(losses, dtype=torch.double), torch.arange(len(losses), dtype=torch.double)
    loss = loss.clamp(max=2 * loss[: 1 + len(losses) // 10].max())
    weights = torch.exp(-0.5 * ((step[:, None] - step) / max(1.0, len(losses) / 20)) ** 2)
    return (weights @ loss / weights.sum(1)).tolist()


def steepest(rates: list[float], losses: list[float]) -> float | None:
    """Return the rate at which the loss falls fastest over log(lr), before its lowest point; None if it never falls.

    Lightning's own suggestion takes the slope over lr itself, which is largest where lr is smallest.
    """
    end = min(range(len(losses)), key=losses.__getitem__) + 1
    if end < 2:
        return None
    loss, log_rate = torch.tensor(losses[:end]), torch.tensor(rates[:end]).log()
    slope = torch.gradient(loss, spacing=[log_rate])[0]
    return rates[int(slope.argmin())] if slope.min() < 0 else None


def scale_rates(trainer: pl.Trainer, module: Any, rate: float) -> None:
    """Bring the optimizer from its configured learning rate to `rate`, and its scheduler along with it."""
    optimizer = trainer.optimizers[0]
    factor = rate / optimizer.defaults["lr"]
    # one-cycle has begun with rates of its own
    configured = module.optimizer_factory(module.parameters()).param_groups
    for group, usual in zip(optimizer.param_groups, configured, strict=True):
        group.pop("initial_lr", None)
        group["lr"] = usual["lr"] * (1 if "max_lr" in group else factor)  # those that it makes are scaled below
    for config in trainer.lr_scheduler_configs:
        steps = module.loop.steps(int(trainer.max_epochs or 1), trainer.max_steps)
        config.scheduler = module.scheduler_factory(optimizer, steps, module.loop.steps_an_epoch)
        for group in optimizer.param_groups:
            if "max_lr" in group:  # the scheduler's own rates, not the optimizer's
                group |= {name: group[name] * factor for name in RATES if name in group}
