"""One run of a population: its folder, record and files are those of any run, by the code of any run."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from gradloop.callbacks.averaging import EMA, PREFIX
from gradloop.callbacks.checkpoints import Checkpoints
from gradloop.callbacks.curves import Curves
from gradloop.callbacks.early_stopping import EarlyStopping
from gradloop.callbacks.pruning import Pruning, tell
from gradloop.callbacks.restored import check_weights
from gradloop.data.data_module import DataModule
from gradloop.errors import GradloopError, RunPruned
from gradloop.runs.checkpoint_io import CheckpointFiles
from gradloop.runs.event_file import EventFile, rewind_event_files
from gradloop.runs.history import counted_from_one
from gradloop.runs.labels import event_folder
from gradloop.runs.planning import Config
from gradloop.runs.run import Run
from gradloop.training.beginning import check_data
from gradloop.training.build import facts_of
from gradloop.training.fit import finish
from gradloop.training.meter import Meter
from gradloop.training.parts import Parts
from gradloop.training.population.numbers import State, alike, built_alone, numbers_of
from gradloop.training.population.stacked import Stack

OWN = (Checkpoints, Curves, EarlyStopping)  # callbacks of which every member has one of its own


class Member:
    """A run among others, which its callbacks take for their module, and `trainer` for their Trainer.

    parts: of the population's first run; architecture, data set, monitor and callbacks are those of all. built: what
    the members share of `Numbers`. state: where it begins; later it is row `place` of `stack`. error: what ended it,
    or kept it from beginning.
    """

    run: Run
    stack: Stack
    place: int

    def __init__(self, config: Config, parts: Parts, data: DataModule, built: dict[str, Any]) -> None:
        self.config, self.values, self.parts, self.data = config, config.values, parts, data
        self.loop = parts.module.loop  # of all members
        self.started, self.seconds = time.time(), 0.0  # of fitting, up to now
        self.row: dict[str, float] = {}  # of this epoch, so far
        self.monitored: float | None = None  # what was measured last of the run's monitor
        self.meter = Meter()
        self.alive = True
        self.error: BaseException | None = None
        own = {"facts": facts_of(data), "preprocessing": data.preprocessing(), "data": data.sums()}
        self.recipe = parts.recipe | {"config": self.values} | own
        self.saved = config.checkpoint["gradloop"] if config.checkpoint else {}
        self.callbacks: list[Any] = []
        self.checkpoints: Checkpoints | None = None
        self.stopping: EarlyStopping | None = None
        self.pruning = Pruning() if config.prunes else None
        self.trainer: Any = SimpleNamespace(
            callbacks=self.callbacks,
            loggers=[],
            callback_metrics={},
            current_epoch=self.loop.epoch,
            max_epochs=int(parts.trainer.max_epochs or 1),
            val_check_interval=1.0,
            enable_validation=parts.trainer.limit_val_batches != 0,
            check_val_every_n_epoch=parts.trainer.check_val_every_n_epoch,
            state=SimpleNamespace(fn=TrainerFn.FITTING),
            sanity_checking=False,
            fast_dev_run=False,
            should_stop=False,
            is_global_zero=True,
            world_size=1,
            save_checkpoint=lambda path, weights_only: self._save(path),
            strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, **_: decision),
        )
        self.alike = True  # whether network and loss are those of the first run, but for the weights
        try:
            self.numbers = numbers_of(config, parts, data, built)
            network, loss = built_alone(parts, self.values)
            self.alike = alike(network, parts.module.network) and alike(loss, self.numbers.loss)
            self.state = self._state(network)
            self._callbacks()
        except GradloopError as error:
            self.fail(error)

    def _state(self, network: nn.Module) -> State:
        if (checkpoint := self.config.checkpoint) is None:
            return State({name: weight.detach() for name, weight in network.named_parameters()})
        check_weights(self.config.folder(), self.parts.module, checkpoint)
        check_data(self.config.folder(), self.data, checkpoint)
        averaged = "averaging_state" in checkpoint
        self.row, self.seconds = dict(self.saved["row"]), self.saved.get("seconds", 0.0)
        self.meter = Meter.from_state(self.saved["meters"]["train"])
        return State(
            _without_prefix(checkpoint["current_model_state"] if averaged else checkpoint["state_dict"]),
            checkpoint["optimizer_states"][0],
            next(iter(checkpoint.get("lr_schedulers") or []), None),
            _without_prefix(checkpoint["state_dict"]) if averaged else None,
            _without_prefix(self.saved["gradients"]) or None,
        )

    def _callbacks(self) -> None:
        targets = [f"{kind.__module__}.{kind.__qualname__}" for kind in OWN]
        group = self.values["callbacks"] or {}
        own = {name: entry for name, entry in group.items() if entry and entry["_target_"] in targets}
        self.callbacks += self.parts.build.named("callbacks", own)
        kinds = {type(callback): callback for callback in self.callbacks}
        self.checkpoints, self.stopping = kinds.get(Checkpoints), kinds.get(EarlyStopping)
        for callback in self.callbacks:
            callback.follow(self.parts.monitor, self.parts.mode)
            callback.setup(self.trainer, self.parts.module, "fit")

    def enter(self, described: Any) -> None:
        """Claim the folder: from here on its record says how the run stands."""
        folder, checkpoint = self.config.folder(), self.config.checkpoint
        self.run = Run(folder, self.values, self.config.overrides, started=self.started, allow=self.config.allow)
        self.run.__enter__()
        self.run.record |= self.config.known | described
        self.run.recipe = self.recipe
        if not self.alive:
            return
        self.run.history = counted_from_one(self.saved.get("history", []), self.loop.epoch)
        self.trainer.strategy.checkpoint_io = CheckpointFiles(folder)
        rewind_event_files(event_folder(folder), self.saved.get("event_files", {}))
        if self.values["logger"]:
            self.run.loggers = self.trainer.loggers = [EventFile(event_folder(folder))]
        for callback in self.callbacks:
            callback.run, callback.loop = self.run, self.loop
            if checkpoint is not None and callback.state_key in checkpoint["callbacks"]:
                callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
            try:
                callback.on_fit_start(self.trainer, self)
            except GradloopError as error:  # no room on the disk
                self.fail(error)

    def fail(self, error: BaseException) -> None:
        self.alive, self.error = False, error

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights that are validated, kept as best and tested."""
        return _with_prefix(self.stack.weights_of(self.place, averaged=True))

    def parameters(self) -> Iterator[Tensor]:
        return iter(self.stack.weights_of(self.place).values())

    def measured(self, stage: str, values: dict[str, float]) -> None:
        """Note what a part has measured; early stopping may set `trainer.should_stop`."""
        measured = {f"{stage}/{name}": value for name, value in values.items()}
        self.row |= measured
        self.monitored = measured.get(self.parts.monitor, self.monitored)
        self.trainer.current_epoch = self.loop.epoch
        if self.stopping is not None:
            if self.monitored is not None:
                self.trainer.callback_metrics[self.parts.monitor] = torch.tensor(self.monitored)
            see = self.stopping.on_validation_end if stage == "val" else self.stopping.on_train_epoch_end
            see(self.trainer, self.parts.module)

    def end_epoch(self, train: dict[str, float]) -> None:
        """Close the epoch's row."""
        self.measured("train", train)
        pace = self.stack.pace_of(self.place)
        rate = (self.row | pace.stepped).get("lr", pace.group["lr"])
        self.row.pop("lr", None)
        self.run.history.append({"epoch": self.loop.epoch + 1, "step": self.loop.step, **self.row, "lr": rate})
        self.run.log(self.run.history[-1])
        self.row = {}

    def consider(self) -> None:
        """Keep the weights if they are the best so far; tell a sweep that prunes how the epoch went."""
        if self.checkpoints is not None:
            self.checkpoints.consider(self.trainer, self)
        self.told = self.pruning is not None and tell(
            self.run.folder, self.loop.epoch, self.run.history[-1].get(self.parts.monitor)
        )

    def heed(self) -> None:
        """Fail where the sweep has given up on the run: after all members have told it how the epoch went."""
        if self.pruning is None or not self.told or self.loop.epoch + 1 == self.trainer.max_epochs:
            return
        if (reason := self.pruning.answer(self.run.folder, self.loop.epoch)) is not None:
            self.fail(RunPruned(reason))

    def _save(self, path: Path) -> None:
        """Write a checkpoint as a Trainer does."""
        loop = self.loop
        state = self.stack.state_of(self.place, waiting=loop.accumulating)
        weights, averaged = _with_prefix(state.weights), {}
        if state.average is not None:
            every = next(each.every_n_steps for each in self.parts.callbacks if isinstance(each, EMA))
            updates = torch.tensor(-(-loop.step // every))
            averaged = {"current_model_state": weights, "averaging_state": {"n_averaged": updates}}
        kept = {callback.state_key: callback.state_dict() for callback in self.callbacks}
        checkpoint: dict[str, Any] = {
            "epoch": loop.epoch,
            "global_step": loop.step,
            "pytorch-lightning_version": pl.__version__,
            "state_dict": weights if state.average is None else _with_prefix(state.average),
            "callbacks": {key: state for key, state in kept.items() if state},
            "optimizer_states": [state.optimizer],
            "lr_schedulers": [] if state.scheduler is None else [state.scheduler],
            **averaged,
            "gradloop": {
                "position": loop.state(),
                "recipe": self.recipe,
                "history": self.run.history,
                "row": self.row | self.stack.pace_of(self.place).stepped,
                "seconds": self.seconds,
                "meters": {"train": self.meter.state()},
                "gradients": _with_prefix(state.gradients or {}),
            },
        }
        for callback in self.callbacks:
            callback.on_save_checkpoint(self.trainer, self, checkpoint)
        self.trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, path)

    def close(self, tested: dict[str, float]) -> None:
        """Write what there is to see, and the record, last of all."""
        run, error, self.alive = self.run, self.error, False
        run.record["durations"]["fit"] = self.seconds
        rounded = {name: float(torch.tensor(value)) for name, value in tested.items()}  # as callback_metrics are
        parts: Any = SimpleNamespace(trainer=self.trainer, module=self, tested=rounded, own=False)
        finish(parts, run)
        run.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(PREFIX): value for name, value in state.items()}


def _with_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {PREFIX + name: value for name, value in state.items()}
