"""Ending a run early that a study has given up on."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from gradloop.callbacks.hook import Hook


class Pruning(Hook, Checkpoint):
    """Reports the monitored metric to an Optuna trial every epoch; raises `optuna.TrialPruned` when told to.

    A sweep adds it to its jobs. It is a `Checkpoint` to Lightning so that it runs after the epoch's metrics
    are complete and its checkpoint is considered.

    storage, study, trial: which trial, by its number, in which study. pruner, startup_trials, warmup_epochs: as in
    `sweep=optuna_pruned`.
    """

    def __init__(
        self, *, storage: str, study: str, trial: int, pruner: str, startup_trials: int, warmup_epochs: int
    ) -> None:
        self.storage = storage
        self.study = study
        self.number = trial
        self.pruner = {"pruner": pruner, "startup_trials": startup_trials, "warmup_epochs": warmup_epochs}
        self.trial: Any = None
        self.reported: set[int] = set()

    def follow(self, monitor: str, mode: str) -> None:
        self.monitor = monitor

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        from gradloop.sweeps.study import import_optuna, make_pruner, open_storage

        optuna = import_optuna("sweep.pruner")
        pruner = make_pruner(optuna, self.pruner, epochs=trainer.max_epochs)
        storage = open_storage(self.storage)
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=pruner)
        known = storage.get_study_id_from_name(self.study)
        trial_id = storage.get_trial_id_from_study_id_trial_number(known, self.number)
        self.trial = optuna.trial.Trial(study, trial_id)
        # a run that goes on repeats epochs it has already reported
        self.reported = set(storage.get_trial(trial_id).intermediate_values)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        measured = trainer.callback_metrics.get(self.monitor)
        if self.trial is None or measured is None or not math.isfinite(float(measured)):
            return
        epoch = trainer.current_epoch
        if epoch not in self.reported:
            self.trial.report(float(measured), epoch)
            self.reported.add(epoch)
        last = epoch + 1 == trainer.max_epochs  # nothing is saved by pruning now
        if not last and self.trial.should_prune():
            import optuna

            raise optuna.TrialPruned(f"pruned after epoch {epoch + 1}: {self.monitor} {float(measured):.4g}")
