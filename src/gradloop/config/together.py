"""Knobs that do not go together, and those of the Trainer that gradloop sets itself."""

import re
from typing import Any

from gradloop.config.wording import OURS
from gradloop.errors import ConfigError


def check_together(values: dict[str, Any]) -> None:
    """Raise ConfigError for knobs that do not go together."""
    optimizer, data = values["optimizer"], values["data"]
    if optimizer.get("nesterov") is True and optimizer.get("momentum", True) in (0, None):
        raise ConfigError("optimizer.nesterov=true: looks ahead by the momentum; set optimizer.momentum=0.9, or so")
    trainer = values["trainer"]
    least, most = trainer.get("min_epochs"), trainer.get("max_epochs")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        raise ConfigError(f"trainer.min_epochs={least}: more than trainer.max_epochs={most}")
    if data.get("fold") is not None and data.get("folds", 0) is None:
        raise ConfigError(f"data.fold={data['fold']}: there are no folds; say how many with folds=5")


def check_trainer(trainer: dict[str, Any], *, own: bool) -> None:
    """Raise ConfigError for settings of the trainer that would be taken and then not do what they say."""
    for name, instead in OURS.items():
        if name in trainer and not (own and name == "log_every_n_steps"):
            raise ConfigError(f"trainer.{name}={trainer[name]}: gradloop sets this itself; {instead}")
    strategy = trainer.get("strategy")
    if isinstance(strategy, str) and re.search("spawn|fork|notebook", strategy):
        raise ConfigError(f"trainer.strategy={strategy}: its processes can't hand back what they trained; use ddp")
    for part in ("train", "val") if trainer.get("overfit_batches") else ():
        if (limit := trainer.get(key := f"limit_{part}_batches", 1.0)) != 1.0:
            raise ConfigError(
                f"trainer.{key}={limit}: trainer.overfit_batches sets this itself; leave one of the two out"
            )
    every, epochs = trainer.get("check_val_every_n_epoch"), trainer.get("max_epochs")
    validates = trainer.get("limit_val_batches", 1.0) != 0 and not trainer.get("fast_dev_run")
    if validates and isinstance(every, int) and isinstance(epochs, int) and every > epochs:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={every}: never validates in trainer.max_epochs={epochs}; expected 1 to "
            f"{epochs}, or trainer.limit_val_batches=0 for no validation"
        )
