"""Telling errors apart: of a checkpoint that does not fit, of training, and of tearing down after either."""

import contextlib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from gradloop.callbacks.attributes import give_layers
from gradloop.callbacks.hook import Hook
from gradloop.errors import CheckpointError, GradloopError, disk_is_full


def check_weights(folder: Path, module: torch.nn.Module, checkpoint: dict[str, Any]) -> None:
    """Raise CheckpointError where a checkpoint's weights are not those of the module."""
    wanted, found = module.state_dict(), checkpoint["state_dict"]
    for name in [*wanted, *found]:
        shapes = [tuple(state[name].shape) if isinstance(state.get(name), torch.Tensor) else None
                  for state in (found, wanted)]  # fmt: skip
        if name in found and name in wanted and not isinstance(wanted[name], torch.Tensor):
            continue
        if shapes[0] != shapes[1]:
            told = " and ".join("nothing" if shape is None else str(shape) for shape in shapes)
            raise CheckpointError(f"{folder}: the checkpoint does not fit the model: {name} is {told}")


def load_own(folder: Path, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Give a LightningModule of the user's own a checkpoint, as Lightning does: its hook first, then the weights.

    Raises CheckpointError where it is not all that the module holds then. folder: of the checkpoint.
    """
    weights = checkpoint["state_dict"]
    try:
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(weights, strict=module.strict_loading)
        # torch passes over what lies below a layer that is None
        if module.strict_loading and (lost := weights.keys() - module.state_dict().keys()):
            raise KeyError(f"no layer holds {min(lost)}; those of `setup` are there once a Trainer has called it")
        give_layers(module, checkpoint)
    except Exception as error:  # torch raises what it likes on foreign weights
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder}: the weights do not fit the recorded model: {reason}") from error


class LoadOwn(pl.Callback):
    """Gives the user's own module a checkpoint when `setup` and `configure_model` have made its layers."""

    def __init__(self, folder: Path, checkpoint: dict[str, Any]) -> None:
        self.folder, self.checkpoint = folder, checkpoint

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        load_own(self.folder, pl_module, self.checkpoint)


class Restored(Hook):
    """Notes when training begins; before, whatever goes wrong is the checkpoint's fault.

    A validation that a run was stopped before, or in, comes first. Where a run goes on within an epoch, that begins
    once more to Lightning: what callbacks and modules of others do then, they have done already. So all that they may
    have changed is given back once more before the first batch.
    """

    any_module = True
    order = -2

    def __init__(self) -> None:
        self.begun = False
        self.before: dict[str, Any] = {}  # the epoch's second beginning

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.loop.validation_due:
            self.loop.validate()
        foreign = [callback for callback in trainer.callbacks if not isinstance(callback, Hook)]
        if self.loop.batch and (foreign or self.loop.own):
            self.before = {
                "weights": {n: v.clone() for n, v in pl_module.state_dict().items() if isinstance(v, torch.Tensor)},
                "optimizers": deepcopy([optimizer.state_dict() for optimizer in trainer.optimizers]),
                "schedulers": deepcopy([each.scheduler.state_dict() for each in trainer.lr_scheduler_configs]),
                "callbacks": deepcopy([callback.state_dict() for callback in foreign]),
            }

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._give_back(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._give_back(trainer, pl_module)  # none of its batches was left

    @torch.no_grad()
    def _give_back(self, trainer: pl.Trainer, pl_module: Any) -> None:
        before, self.before = self.before, {}
        if not before:
            return
        for name, value in pl_module.state_dict().items():
            if name in before["weights"]:
                value.copy_(before["weights"][name])
        for optimizer, state in zip(trainer.optimizers, before["optimizers"], strict=True):
            if len(optimizer.param_groups) == len(state["param_groups"]):
                optimizer.load_state_dict(state)
        for each, state in zip(trainer.lr_scheduler_configs, before["schedulers"], strict=True):
            each.scheduler.load_state_dict(state)
        foreign = [callback for callback in trainer.callbacks if not isinstance(callback, Hook)]
        for callback, state in zip(foreign, before["callbacks"], strict=True):
            if state:
                callback.load_state_dict(state)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for optimizer in trainer.optimizers:
            if not isinstance(optimizer, torch.optim.LBFGS):  # its state is of all weights in one row
                _check_optimizer(optimizer)
        self.begun = True

    @contextlib.contextmanager
    def of(self, folder: Path) -> Iterator[None]:
        """Raise CheckpointError for what goes wrong inside before training has begun. folder: of the checkpoint."""
        try:
            yield
        except GradloopError:
            raise
        except Exception as error:  # Lightning and torch raise what they like on foreign states
            if self.begun or disk_is_full(error) or isinstance(error, MemoryError):
                raise
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{folder}: the checkpoint can't be gone on from: {type(error).__name__}: {reason}"
            ) from error


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.ndim and not _fits(value, weight):
                shapes = f"{tuple(value.shape)} for weights of {tuple(weight.shape)}"
                raise ValueError(f"the optimizer's state is damaged: {name} is {shapes}")


def _fits(value: torch.Tensor, weight: torch.Tensor) -> bool:
    try:
        return torch.broadcast_shapes(value.shape, weight.shape) == weight.shape
    except RuntimeError:
        return False


class _Noted(pl.Callback):
    error: BaseException | None = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.error = exception


@contextlib.contextmanager
def first_error(trainer: pl.Trainer) -> Iterator[None]:
    """Raise what ended `trainer.fit` or `trainer.test` inside, whatever its tearing down has raised since.

    Lightning asks a loader for its length while it tears down. Of one whose `__iter__` was left by a signal or an
    error, that fails in turn, and would be all that anybody heard of.
    """
    noted = _Noted()
    trainer.callbacks.append(noted)
    try:
        yield
    except SystemExit as error:  # what Lightning makes of a KeyboardInterrupt; or own code's
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise RuntimeError(f"own code ends the program: sys.exit({error.code!r})") from error
    except Exception as error:
        if noted.error is None or noted.error is error:
            raise
        raise noted.error from None
    finally:
        trainer.callbacks.remove(noted)
