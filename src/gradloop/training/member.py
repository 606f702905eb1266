"""One run of a population: its folder, record and files are those of any run, without a Trainer of its own."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from gradloop.callbacks.averaging import EMA
from gradloop.callbacks.checkpoints import Checkpoints, best_of, keep_best
from gradloop.callbacks.curves import Curves
from gradloop.callbacks.early_stopping import EarlyStopping
from gradloop.callbacks.pruning import Pruning, tell
from gradloop.callbacks.restored import check_weights
from gradloop.callbacks.tensorboard_logger import EventFile, rewind_event_files
from gradloop.data.data_module import DataModule
from gradloop.errors import GradloopError, RunPruned
from gradloop.runs.checkpoint_files import keep_previous
from gradloop.runs.checkpoint_io import CheckpointFiles
from gradloop.runs.history import write_history
from gradloop.runs.labels import event_folder
from gradloop.runs.planning import Planned
from gradloop.runs.record import Record
from gradloop.runs.run import Best, Run
from gradloop.training.build import loop_options
from gradloop.training.parts import Parts
from gradloop.training.stacked import Numbers, Stack, State
from gradloop.training.trials import try_optimizer, try_steps

PREFIX = "network."  # of the module's weights in a checkpoint


class Common:
    """What all members have from the parts of the first: architecture, data set, monitor, callbacks."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.build, self.module = parts, parts.build, parts.module
        self.facts = parts.module.recipe["facts"]
        kinds = {type(callback): callback for callback in parts.callbacks}
        checkpoints = kinds.get(Checkpoints)
        self.save_top_k = checkpoints.save_top_k if isinstance(checkpoints, Checkpoints) else 0
        self.curves = Curves in kinds
        ema = kinds.get(EMA)
        self.average_every = ema.every_n_steps if isinstance(ema, EMA) else 1
        self.max_epochs = int(parts.trainer.max_epochs or 1)
        self._built: dict[str, Any] = {}

    def numbers(self, values: dict[str, Any], data: DataModule, own: str) -> Numbers:
        """Build what members may differ in, once for those that share it. own: of a member that shares it with none.

        Raises ConfigError for what a lone run would refuse.
        """
        clip = loop_options(values["trainer"])["clip"]
        loss_key = json.dumps(values["loss"], sort_keys=True)
        key = json.dumps([loss_key, values["optimizer"], values["scheduler"], clip, own], sort_keys=True)
        if key not in self._built:
            if loss_key not in self._built:
                self._built[loss_key] = self.build.loss(values["loss"], self.module.task)
            optimizer = self.build("optimizer", values["optimizer"] | {"_partial_": True})
            try_optimizer(optimizer, values["optimizer"]["_target_"])
            scheduler, _ = self.build.scheduler(values["scheduler"])
            tried = SimpleNamespace(scheduler_factory=scheduler, optimizer_factory=optimizer)
            try_steps(tried, data, values, 1)
            self._built[key] = Numbers(key, optimizer, scheduler, self._built[loss_key], clip)
        found: Numbers = self._built[key]
        return found


class Member:
    """A run among others. error: what ended it, or kept it from beginning."""

    run: Run

    def __init__(self, planned: Planned, common: Common, data: DataModule, *, own: str) -> None:
        self.planned, self.values, self.common, self.data = planned, planned.values, common, data
        self.started, self.seconds_before = time.time(), 0.0
        self.history: list[dict[str, float]] = []
        self.row: dict[str, float] = {}  # of this epoch, so far
        self.logged = 0  # rows of the history that are in the event file
        self.alive, self.error = True, None
        self.position = {"epoch": 0, "batch": 0, "step": 0, "validated": 1}
        self.meter: dict[str, Any] = {}  # what a checkpoint had seen of its epoch
        self.followers: list[EarlyStopping] = []  # each member has its own
        self.pruning = Pruning() if planned.prunes else None
        self.recipe = {"config": self.values, "facts": common.facts, "preprocessing": data.preprocessing()}
        try:
            self._build(own)
        except GradloopError as error:
            self.fail(error)

    error: BaseException | None

    def _build(self, own: str) -> None:
        common, values = self.common, self.values
        self.numbers = common.numbers(values, self.data, own)
        torch.manual_seed(values["seed"])  # as a lone run's module is built
        network = common.build.network(values["model"], common.facts)
        self.state = State({name: weight.detach() for name, weight in network.named_parameters()})
        self.trainer: Any = _trainer(common)
        group = {name: entry for name, entry in (values["callbacks"] or {}).items() if entry}
        name = f"{EarlyStopping.__module__}.{EarlyStopping.__qualname__}"
        for callback in common.build.named("callbacks", {n: e for n, e in group.items() if e["_target_"] == name}):
            callback.follow(common.parts.monitor, common.parts.mode)
            callback.setup(self.trainer, common.module, "fit")
            self.followers.append(callback)
        if self.planned.checkpoint is not None:
            self._restore(self.planned.checkpoint)

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        check_weights(self.planned.folder(), self.common.module, checkpoint)
        saved, averaged = checkpoint["gradloop"], "averaging_state" in checkpoint
        self.state = State(
            _without_prefix(checkpoint["current_model_state"] if averaged else checkpoint["state_dict"]),
            checkpoint["optimizer_states"][0],
            next(iter(checkpoint.get("lr_schedulers") or []), None),
            _without_prefix(checkpoint["state_dict"]) if averaged else None,
            _without_prefix(saved["gradients"]) or None,
        )
        self.position, self.seconds_before = dict(saved["position"]), saved.get("seconds", 0.0)
        self.history = [dict(row) for row in saved["history"] if row["epoch"] < self.position["epoch"]]
        self.row, self.meter, self.logged = dict(saved["row"]), saved["meters"]["train"], len(self.history)
        for callback in self.followers:
            if callback.state_key in checkpoint["callbacks"]:
                callback.load_state_dict(checkpoint["callbacks"][callback.state_key])

    def fail(self, error: BaseException) -> None:
        self.alive, self.error = False, error

    def enter(self, described: Record, size: int, exact: bool) -> None:
        """Claim the folder: from here on its record says how the run stands."""
        folder, checkpoint = self.planned.folder(), self.planned.checkpoint
        self.run = Run(folder, self.values, self.planned.overrides, started=self.started)
        self.run.__enter__()
        self.run.history = self.history
        self.run.record |= described | {"population": {"size": size, "exact": exact}}
        self.files = CheckpointFiles(folder)
        self.events = EventFile(event_folder(folder)) if self.values["logger"] else None
        if not self.alive:
            return
        known = checkpoint["gradloop"].get("event_files", {}) if checkpoint else {}
        rewind_event_files(event_folder(folder), known)
        if checkpoint is not None and "Checkpoints" in checkpoint["callbacks"]:
            self.run.best[:] = [Best(*entry) for entry in checkpoint["callbacks"]["Checkpoints"]["best"]]

    def measured(self, stage: str, loss: float, metrics: dict[str, float]) -> None:
        values = {f"{stage}/loss": loss, **{f"{stage}/{name}": value for name, value in metrics.items()}}
        self.row |= values
        self.trainer.callback_metrics |= {name: torch.tensor(value) for name, value in values.items()}

    @property
    def monitored(self) -> Tensor | None:
        found: Tensor | None = self.trainer.callback_metrics.get(self.common.parts.monitor)
        return found

    def validated(self, epoch: int) -> None:
        self.trainer.current_epoch = epoch
        for callback in self.followers:
            callback.on_validation_end(self.trainer, self.common.module)

    def end_epoch(self, epoch: int, step: int, line: dict[str, float], train: tuple[float, dict[str, float]]) -> None:
        """Close the epoch's row, but for its learning rate; a follower may set `trainer.should_stop`."""
        self.trainer.current_epoch = epoch
        for callback in self.followers:
            callback.on_train_epoch_end(self.trainer, self.common.module)  # as alone: before the training is measured
        self.row |= line
        self.measured("train", *train)
        self.history.append({"epoch": epoch, "step": step, **self.row})
        self.row = {}

    def consider(self, stack: Stack, place: int, epoch: int, step: int) -> None:
        """Keep the weights if they are the best so far; tell a sweep that prunes how the epoch went."""
        monitor, measured = self.common.parts.monitor, self.monitored
        value = math.nan if measured is None else float(measured)

        def snapshot() -> Best:
            weights = _with_prefix(stack.weights_of(place, averaged=True))
            return best_of(weights, value, epoch, step, self.recipe, dict(self.history[-1]), monitor)

        if self.common.save_top_k:
            if math.isfinite(value):
                keep_best(self.run.best, value, self.common.parts.mode, self.common.save_top_k, snapshot)
            self.latest = snapshot  # a monitor that is never finite leaves the last weights
        self.told = self.pruning is not None and tell(self.run.folder, epoch, measured)

    def heed(self, epoch: int) -> None:
        """Fail where the sweep has given up on the run: after all members have told it how the epoch went."""
        if self.pruning is None or not self.told or epoch + 1 == self.common.max_epochs:
            return
        if (reason := self.pruning.answer(self.run.folder, epoch)) is not None:
            self.fail(RunPruned(reason))

    def save(self, state: State, position: dict[str, int], meter: dict[str, Any], seconds: float) -> None:
        """Write best.ckpt and last.ckpt, as a lone run's Trainer does."""
        if not self.common.save_top_k:
            return
        folder = self.run.checkpoints
        self.save_best()
        self.log_rows([])
        weights = _with_prefix(state.weights)
        events = event_folder(self.run.folder).glob("events.out.tfevents.*")
        callbacks = {callback.state_key: callback.state_dict() for callback in self.followers}
        averaged = {}
        if state.average is not None:
            updates = torch.tensor(-(-position["step"] // self.common.average_every))
            averaged = {"current_model_state": weights, "averaging_state": {"n_averaged": updates}}
        keep_previous(folder / "last.ckpt", folder / "previous.ckpt")
        self.files.save_checkpoint(
            {
                "epoch": position["epoch"],
                "global_step": position["step"],
                "pytorch-lightning_version": pl.__version__,
                "state_dict": weights if state.average is None else _with_prefix(state.average),
                "callbacks": {key: kept for key, kept in callbacks.items() if kept}
                | {"Checkpoints": {"best": [(best.value, best.epoch, best.payload) for best in self.run.best]}},
                "optimizer_states": [state.optimizer],
                "lr_schedulers": [] if state.scheduler is None else [state.scheduler],
                **averaged,
                "gradloop": {
                    "event_files": {path.name: path.stat().st_size for path in events},
                    "position": position,
                    "recipe": self.recipe,
                    "history": self.history,
                    "row": self.row,
                    "seconds": self.seconds_before + seconds,
                    "meters": {"train": meter},
                    "gradients": _with_prefix(state.gradients or {}),
                },
            },
            folder / "last.ckpt",
        )

    def save_best(self) -> None:
        for rank, best in enumerate(self.run.best, start=1):
            name = "best.ckpt" if rank == 1 else f"best_{rank}.ckpt"
            self.files.save_checkpoint(best.payload, self.run.checkpoints / name)

    def log_rows(self, pages: Sequence[bytes]) -> None:
        """Append the history's new rows to the event file, and what else is to be seen there."""
        if self.events is not None:
            self.events.append(self.history[self.logged :], pages)
            self.logged = len(self.history)

    def finish(self, tested: dict[str, float], pages: Sequence[bytes]) -> Record:
        """Write what there is to see, and the record, last of all."""
        run, error = self.run, self.error
        run.sum_up({name: float(np.float32(value)) for name, value in tested.items()})  # as callback_metrics round
        for callback in self.followers if self.history else ():
            callback.on_train_end(self.trainer, self.common.module)
            run.record |= {"found": callback.found} if callback.found else {}
        if self.history and self.common.curves:
            write_history(run.folder, self.history)
        if self.history:
            self.log_rows(pages)
        run.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        self.alive = False
        return run.record


def _trainer(common: Common) -> SimpleNamespace:
    """What the callbacks of a member ask their Trainer for."""
    return SimpleNamespace(
        callback_metrics={},
        current_epoch=0,
        max_epochs=common.max_epochs,
        val_check_interval=1.0,
        check_val_every_n_epoch=common.parts.trainer.check_val_every_n_epoch,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        sanity_checking=False,
        fast_dev_run=False,
        should_stop=False,
        is_global_zero=True,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, **_: decision),
    )


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(PREFIX): value for name, value in state.items()}


def _with_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {PREFIX + name: value for name, value in state.items()}
