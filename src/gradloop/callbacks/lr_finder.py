"""Finding a learning rate before the training."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from gradloop.callbacks.batch_size_finder import trial
from gradloop.callbacks.hook import Hook
from gradloop.callbacks.publishing import publish
from gradloop.drawing import BLUE, GREY, RED
from gradloop.drawing.figures import new_figure, style
from gradloop.errors import ConfigError


class LearningRateFinder(Hook):
    """The learning-rate range test (arXiv 1506.01186) before the first step, for any optimizer.

    A copy of the network trains while the rate rises from `min_lr` to `max_lr` in `steps` optimizer steps; the run
    then has the rate at which the smoothed loss fell most steeply over log(lr); where the schedule names the highest
    rate, that is it. A scheduler's other rates, and those of groups, keep their ratio to it. stop_above: end when a
    running mean of the loss is that many times its smallest value.
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
        if trainer.fast_dev_run or trainer.ckpt_path is not None:  # a resumed run's optimizer has the rate
            return
        losses = self._losses(trainer, pl_module)
        if len(losses) < 2:
            self._tell(pl_module)
            return
        smoothed = smooth(losses)
        self.curve = {"lr": self.rates[: len(losses)], "loss": losses, "smoothed": smoothed}
        if (rate := steepest(self.rates, smoothed)) is not None:
            self.found = {configured(pl_module)[0]: rate}
            scale_rates(trainer, pl_module, rate)
        else:
            self._tell(pl_module)

    def _tell(self, module: Any) -> None:
        key, rate = configured(module)
        tried = f"{self.rates[0]:g} to {self.rates[-1]:g}"
        print(f"warning: lr_finder: the loss falls at no rate from {tried}; the run keeps {key}={rate:g}", flush=True)

    def _losses(self, trainer: pl.Trainer, module: Any) -> list[float]:
        """Train a copy on the batches of the first epochs, a rate a step; return its losses, all finite."""
        optimizer, trial_losses = trial(trainer, module)
        shares = [group["lr"] / optimizer.defaults["lr"] for group in optimizer.param_groups]
        mean, lowest = 0.0, math.inf
        losses: list[float] = []
        with torch.random.fork_rng():
            torch.manual_seed(module.seed)
            for step, rate in enumerate(self.rates, start=1):
                for group, share in zip(optimizer.param_groups, shares, strict=True):
                    group["lr"] = share * rate
                loss = next(trial_losses)
                mean = 0.98 * mean + 0.02 * loss
                unbiased = mean / (1 - 0.98**step)
                lowest = min(lowest, unbiased)
                size = lowest if lowest > 0 else max(map(abs, [*losses, loss]))  # a loss may be below 0
                if not math.isfinite(loss) or unbiased > lowest + (self.stop_above - 1) * size:
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
            (rate,) = self.found.values()
            axes.axvline(rate, color=RED, lw=2, label=f"steepest descent: {rate:.2g}")
        key, before = configured(module)
        axes.axvline(before, color=GREY, ls="--", label=f"{key} was {before:g}")
        low, start = min(self.curve["smoothed"]), self.curve["smoothed"][0]
        axes.set_ylim(low - 0.15 * (start - low), start + 0.6 * (start - low))  # it may end in a huge loss
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title="Learning-rate range test")
        axes.legend(frameon=False)
        publish(figure, trainer, folder / "lr_finder.png", "learning rate finder")


def smooth(losses: list[float]) -> list[float]:
    """Return the Gaussian mean over neighbouring steps (standard deviation: a twentieth of the steps).

    Losses far above the first ones (twice as high) count as that much: where training blows up, one step outweighs
    all others.
    """
    loss, step = torch.tensor(losses, dtype=torch.double), torch.arange(len(losses), dtype=torch.double)
    highest = loss[: 1 + len(losses) // 10].max()
    loss = loss.clamp(max=highest + highest.abs())
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


def configured(module: Any) -> tuple[str, float]:
    """Return the key of the highest rate of a run, and what it says: the optimizer's, or that of a schedule's own."""
    config = module.recipe["config"]
    rate, highest = config["optimizer"].get("lr"), config["scheduler"].get("max_lr")
    if rate is None:  # it is the class's own
        rate = module.optimizer_factory(module.parameters()).defaults["lr"]
    return ("optimizer.lr", rate) if highest in (None, rate) else ("scheduler.max_lr", highest)


def scale_rates(trainer: pl.Trainer, module: Any, rate: float) -> None:
    """Bring a run from its configured learning rate to `rate`, and its schedule along with it."""
    optimizer, factor = trainer.optimizers[0], rate / configured(module)[1]
    begun = module.optimizer_factory(module.parameters()).param_groups  # a schedule may have set other rates
    own = module.recipe["config"]["scheduler"].get("max_lr") is not None  # and scales them itself
    for group, usual in zip(optimizer.param_groups, begun, strict=True):
        group.pop("initial_lr", None)
        group["lr"] = usual["lr"] * (1 if own else factor)
    for config in trainer.lr_scheduler_configs:
        steps = module.loop.steps(int(trainer.max_epochs or 1), trainer.max_steps)
        config.scheduler = module.scheduler_factory(optimizer, steps, module.loop.steps_an_epoch, factor)
