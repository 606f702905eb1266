"""What the gradients do, layer by layer."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.lessons.page import translate
from gradloop.callbacks.publishing import publish
from gradloop.drawing import GREY
from gradloop.drawing.figures import new_figure, style

NAMED = 14  # layers that a legend names at most
PANELS = {
    "gradient_norm": ("gradient norm", "‖∂loss/∂w‖₂"),
    "update_ratio": ("size of a step", "‖Δw‖₂ / ‖w‖₂"),
    "dead_relu": ("dead ReLUs", "share of units that are 0 on a whole batch"),
}


class Gradients(Hook):
    """Measures every `every_n_steps` optimizer steps, for each layer, with all of its weights as one vector w:

    gradient_norm/<layer>: `‖∂loss/∂w‖₂`, before any clipping; none while a layer is frozen.
    update_ratio/<layer>: `‖w(t+1) - w(t)‖₂ / ‖w(t)‖₂`; about 1e-3 is healthy.
    dead_relu/<layer>: share of a ReLU's units (or channels) that are zero for every sample of the batch.

    Written to the loggers, and to `gradients.png`. Between two measurements it costs a comparison a step.
    """

    def __init__(self, *, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self.rows: list[dict[str, float]] = []
        self.dead: dict[str, Tensor] = {}
        self.before: list[Tensor] = []  # the weights before the step under measurement
        self.norms: Tensor | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        named = list(pl_module.network.named_modules())
        self.layers = {
            name or type(layer).__name__: weights
            for name, layer in named
            if (weights := list(layer.parameters(recurse=False)))
        }
        self.due, self.hooks, units = pl_module.loop.step % self.every_n_steps == 0, [], 1
        for name, layer in named:
            if type(layer) is nn.ReLU:
                self.hooks.append(layer.register_forward_hook(partial(self._see_relu, name, units)))
            elif list(layer.parameters(recurse=False)):
                units = -1 if isinstance(layer, nn.Linear | nn.LayerNorm) else 1  # [B, ..., C] or [B, C, ...]

    def _see_relu(self, name: str, units: int, layer: nn.Module, _: Any, output: Tensor) -> None:
        if self.due and layer.training and output.ndim > 1:
            zero = output.detach().movedim(units, 0).flatten(1) == 0  # [C, B * ...]
            self.dead[name] = zero.all(1).float().mean()

    def before_step(self, module: Any, loss: Tensor) -> None:
        if self.due:
            # a layer that is frozen has no gradient now
            self.trained = {name: ws for name, ws in self.layers.items() if any(w.grad is not None for w in ws)}
            self.norms = _norms([[w.grad for w in ws if w.grad is not None] for ws in self.trained.values()])
            self.before = [w.detach().clone() for ws in self.trained.values() for w in ws]
            self.step = module.loop.step

    def after_step(self, module: Any) -> None:
        self.due = module.loop.step % self.every_n_steps == 0
        if not self.before:
            return
        assert self.norms is not None
        before = iter(self.before)
        pairs = [[(w.detach(), next(before)) for w in ws] for ws in self.trained.values()]
        change = _norms([[w - old for w, old in layer] for layer in pairs])
        size = _norms([[old for _, old in layer] for layer in pairs])
        names = [f"{kind}/{name}" for kind in ("gradient_norm", "update_ratio") for name in self.trained]
        names += [f"dead_relu/{name}" for name in self.dead]
        values = torch.cat([self.norms, change / size.clamp(min=1e-30), *(d[None] for d in self.dead.values())])
        row = dict(zip(names, values.tolist(), strict=True))
        for logger in module.trainer.loggers:
            logger.log_metrics(row, step=self.step)
        self.rows.append({"step": self.step, **row})
        self.before, self.dead = [], {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for hook in self.hooks:
            hook.remove()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    @style()
    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        if not self.rows:
            return
        import matplotlib

        measured = dict.fromkeys(name for row in self.rows for name in row if "/" in name)
        kinds = [kind for kind in PANELS if any(name.startswith(f"{kind}/") for name in measured)]
        kinds_of = {name: type(layer).__name__ for name, layer in module.network.named_modules()}
        figure = new_figure(6 * len(kinds), 4)
        for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
            names = [name for name in measured if name.startswith(f"{kind}/")]
            every = -(-len(names) // NAMED)
            for place, (name, shade) in enumerate(
                zip(names, torch.linspace(0, 0.9, len(names)).tolist(), strict=True)
            ):
                points = [(row["step"], row[name]) for row in self.rows if name in row]
                color = matplotlib.colormaps["viridis"](shade)
                layer = name.split("/", 1)[1]
                label = f"{layer} {kinds_of.get(layer, '')}".strip() if place % every == 0 else None
                axes.plot(*zip(*points, strict=True), color=color, lw=1.8, marker="o", ms=3, label=label)
            title, unit = PANELS[kind]
            axes.set(xlabel="optimizer step", ylabel=unit, title=title)
            if kind == "dead_relu":
                axes.set_ylim(-0.02, 1.02)
            else:
                axes.set_yscale("log")
            if kind == "update_ratio":
                axes.axhline(1e-3, color=GREY, ls=":", label="rule of thumb: 0.001")
            beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}  # not over the lines
            named = f"layer (1 of {every} named)" if every > 1 else "layer"
            axes.legend(fontsize=8, title=named, title_fontsize=8, **beside)
        translate(figure, self.run)
        publish(figure, trainer, folder / "gradients.png", "gradients")


def _norms(layers: list[list[Tensor]]) -> Tensor:
    """Return the Euclidean norm of each layer's tensors taken as one vector: [layers]."""
    return torch.stack([torch.nn.utils.get_total_norm(layer) for layer in layers])
