"""Finding a learning rate before the training."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.tuner import lr_finder as tuner

from gradloop.callbacks.figures import BLUE, GREY, RED, new_figure, publish
from gradloop.errors import ConfigError

tuner.tqdm = functools.partial(tuner.tqdm, disable=None)  # no bar where there is no terminal
RATES = ("lr", "initial_lr", "max_lr", "min_lr")  # what optimizers and schedulers keep in a parameter group


class LearningRateFinder(callbacks.LearningRateFinder):
    """Lightning's learning-rate range test (arXiv 1506.01186) before the first step, for any optimizer.

    The rate rises from `min_lr` to `max_lr` in `steps` optimizer steps; training then starts over with the rate at
    which the smoothed loss fell most steeply over log(lr). A scheduler's own rates are scaled by the same factor.
    """

    def __init__(self, *, min_lr: float, max_lr: float, steps: int, stop_above: float | None) -> None:
        if not 0 < min_lr < max_lr:
            raise ConfigError(f"callbacks.lr_finder.min_lr={min_lr}: expected above 0 and below max_lr ({max_lr})")
        if steps < 20:
            raise ConfigError(f"callbacks.lr_finder.steps={steps}: expected 20 or more")
        super().__init__(
            min_lr=min_lr,
            max_lr=max_lr,
            num_training_steps=steps,
            early_stop_threshold=stop_above,
            update_attr=False,
        )
        self.found: dict[str, float] = {}
        self.curve: dict[str, list[float]] = {"lr": [], "loss": [], "smoothed": []}

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        # the batch size comes first, whatever the order on the command line: the best rate depends on it
        trainer.callbacks = sorted(
            trainer.callbacks, key=lambda c: 0 if isinstance(c, callbacks.BatchSizeFinder) else 1 if c is self else 2
        )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.curve["lr"]:  # a resumed run has its curve already
            self._search(trainer, pl_module)
        if self.found:
            scale_rates(trainer, self.found["optimizer.lr"])

    def _search(self, trainer: pl.Trainer, module: Any) -> None:
        loop = trainer.fit_loop
        epochs, loop.max_epochs = loop.max_epochs, -1  # the search is as long as it is, however short the run
        try:
            self.lr_find(trainer, module)
        finally:
            loop.max_epochs = epochs
            loop.epoch_loop._several = None  # which batches callbacks must see is decided anew
            trainer.callback_metrics.clear()
            module.outputs.clear()
        if self.optimal_lr is not None:
            rates = [float(rate) for rate in self.optimal_lr.results["lr"]]
            losses = unsmoothed(self.optimal_lr.results["loss"])
            self.curve = {"lr": rates[: len(losses)], "loss": losses, "smoothed": smooth(losses)}
            found = steepest(rates, self.curve["smoothed"])
            self.found = {} if found is None else {"optimizer.lr": found}

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found, "curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found, self.curve = state_dict["found"], state_dict["curve"]

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
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        publish(figure, trainer, folder / "lr_finder.png", "learning rate finder")


def unsmoothed(averages: list[float]) -> list[float]:
    """Return the losses behind Lightning's running averages (decay 0.98), up to the first that is not finite.

    Its average lags fifty steps behind and starts at half the loss: a steepest descent can't be seen in it.
    """
    decay, before, losses = 0.98, 0.0, []
    for step, average in enumerate(averages, start=1):
        running = average * (1 - decay ** (step + 1))
        if not math.isfinite(running):
            break
        losses.append((running - decay * before) / (1 - decay))
        before = running
    return losses


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


def scale_rates(trainer: pl.Trainer, rate: float) -> None:
    """Bring the optimizer from its configured learning rate to `rate`, and its scheduler along with it."""
    optimizer = trainer.optimizers[0]
    factor = rate / optimizer.defaults["lr"]
    for group in optimizer.param_groups:
        group |= {name: group[name] * factor for name in RATES if name in group}
    for config in trainer.lr_scheduler_configs:
        for scheduler in (config.scheduler, *getattr(config.scheduler, "_schedulers", ())):  # of a SequentialLR
            if hasattr(scheduler, "base_lrs"):  # not ReduceLROnPlateau
                scheduler.base_lrs = [base * factor for base in scheduler.base_lrs]
            scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
