"""Callbacks that do not go with a run's module, or with each other."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch.callbacks import WeightAveraging

from gradloop.callbacks.averaging import Averaging
from gradloop.errors import ConfigError

INSTEAD = {
    "StochasticWeightAveraging": "callbacks=swa",
    "BatchSizeFinder": "callbacks=batch_size_finder",
    "LearningRateFinder": "callbacks=lr_finder",
    "GradientAccumulationScheduler": "trainer.accumulate_grad_batches",
    "BackboneFinetuning": "callbacks=freeze",
}
REFUSED = {
    "BatchSizeFinder": "changes the batches of an epoch that are counted already; give data.batch_size=…",
    "ModelPruning": "gives weights other names, by which no checkpoint could be loaded; prune when the run has ended",
}


def check_callbacks(callbacks: Iterable[Any], *, own: bool) -> None:
    """Refuse Lightning's callbacks that take its own loop for granted: gradloop has the same by another name.

    own: the LightningModule is the user's: then those alone with which no run would be as its record says.
    """
    for callback in callbacks:
        kind = type(callback)
        if not kind.__module__.startswith(("lightning.", "pytorch_lightning.")):
            continue
        if kind.__name__ in INSTEAD and not own:
            raise ConfigError(
                f"callbacks: Lightning's {kind.__name__} goes with a LightningModule of your own (module._target_=…);"
                f" here take {INSTEAD[kind.__name__]}"
            )
        if kind.__name__ in REFUSED:
            raise ConfigError(f"callbacks: Lightning's {kind.__name__} {REFUSED[kind.__name__]}")


def check_averages(callbacks: Iterable[Any]) -> None:
    """Refuse a second average: each would put itself in the other's place while it validates."""
    found = [type(callback).__name__ for callback in callbacks if isinstance(callback, Averaging | WeightAveraging)]
    if len(found) > 1:
        raise ConfigError(f"callbacks: {' and '.join(found)} each evaluate an average of the weights; choose one")
