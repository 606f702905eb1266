"""What happens with each batch, and where a run stands: the training loop, on Lightning's manual optimization."""

import math
import random
import time
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradloop.callbacks.attributes import Attributes
from gradloop.callbacks.hook import Hook
from gradloop.data.batches import Batches
from gradloop.optimizers.warmup import Warmup
from gradloop.seeds import stream_seed
from gradloop.training.loop.epochs import Epochs
from gradloop.training.loop.position import Position
from gradloop.training.loop.side_by_side import SideBySide, side_by_side
from gradloop.training.loop.stretches import TURN, Stretch, TrainingBatches, several_at_once


class Loop(Position):
    """The optimizer steps of a run, on `gradloop.training.supervised.Supervised`.

    zero_grad before the first of every `accumulate` batches; for each batch loss and backward; after the last of
    them, and after an epoch's last, `optimizer.step()`. Gradients are those of `loss / accumulate`, as in Lightning
    also where an epoch's last batches are fewer. The randomness inside a step depends on (seed, epoch, batch) alone.
    Lightning is handed a stretch of batches at a time, up to 50 ms of them, which may be several epochs, or one batch
    where something needs to see each (`several_at_once`); both do the same arithmetic in the same order.

    clip, clip_algorithm: the Trainer's `gradient_clip_val` (largest norm or value; None or 0: no limit) and
    `gradient_clip_algorithm`.
    """

    def __init__(self, module: Any, *, accumulate: int = 1, clip: float | None = None, clip_algorithm: Any = None):
        super().__init__(module)
        self.accumulate = accumulate
        self.clip, self.clip_algorithm = clip, clip_algorithm
        self.pace = math.inf  # seconds a batch, in the newest turn
        self.several = False  # whether several batches are trained at once
        self.between_epochs = False
        self.foreign = False  # whether code takes part that may draw from Python's and NumPy's generators
        self.stepping: Optimizer | SideBySide | None = None  # what takes the steps, from the second one on
        self.before: list[Any] = []  # what sees every step
        self.after: list[Any] = []
        self._stream = (-1, 0)  # an epoch, and the seed of its first batch

    def plan(self, trainer: pl.Trainer, data: Any) -> None:
        super().plan(trainer, data)
        self.several = several_at_once(trainer, self.module, data)
        self.epochs, self.stepping = Epochs(trainer, self.module, data), None
        own = any(isinstance(callback, Attributes) for callback in trainer.callbacks)
        self.foreign = own or not self.several
        hooks = [callback for callback in trainer.callbacks if isinstance(callback, Hook)]
        self.before = [hook.before_step for hook in hooks if is_overridden("before_step", hook, Hook)]
        self.after = [hook.after_step for hook in hooks if is_overridden("after_step", hook, Hook)]

    def steps(self, max_epochs: int, max_steps: int) -> int:
        """Return how many optimizer steps the whole run has."""
        steps = self.steps_an_epoch * max(1, max_epochs)
        return steps if max_steps < 0 else min(steps, max_steps)

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(self.length / self.accumulate)

    @property
    def accumulating(self) -> bool:
        """Whether there are gradients that wait for the next batch."""
        return self.batch % self.accumulate > 0 and not self.at_epochs_end

    def batches(self, batches: Batches) -> TrainingBatches:
        """Return what Lightning iterates over: from where the run stands to the end of the epoch."""
        return TrainingBatches(batches, self)

    def train(self, given: Stretch | tuple[Tensor, Tensor]) -> dict[str, Tensor] | None:
        """Train on a stretch for a turn, or on one batch; return the last loss. An epoch's last stretch is empty."""
        if isinstance(given, Stretch):
            self._turn(given)
        else:
            self._train_batch(given)
            if self.accumulate > 1:  # Lightning logs when a step is taken
                self.trainer.log_every_n_steps = 0 if self.accumulating else 1
        self.tell_steps(self.step - 1)  # it adds one after this
        return None if self.loss is None else {"loss": self.loss}

    def _turn(self, stretch: Stretch) -> None:
        until = math.inf if stretch.whole else time.perf_counter() + TURN
        going_on = stretch.left > 0  # else Lightning ends the epoch
        while going_on:
            began, first = time.perf_counter(), self.batch
            self._train_stretch(stretch, until)
            ended = time.perf_counter()
            self.pace = (ended - began) / (self.batch - first)
            going_on = self.at_epochs_end and ended < until < math.inf and self.epochs.more
            if going_on:
                self.between_epochs = True  # where Lightning is told nothing that nobody asks for
                self.epochs.next()
                self.between_epochs = False
                stretch.begin()

    def _train_stretch(self, stretch: Stretch, until: float) -> None:
        """Train to the epoch's end or until then, on one batch at least."""
        trainer, module = self.trainer, self.module
        optimizer, device, limit = trainer.optimizers[0], module.device, trainer.max_steps
        stepping = self.stepping or optimizer
        for batch in stretch:
            if device.type != "cpu":
                batch = module.transfer_batch_to_device(batch, device, 0)
            self.reseed(self.batch)
            loss = module.loss_of(batch, "train")
            if not self.accumulating:
                forget_gradients(optimizer)
            self.loss = loss.detach()
            (loss if self.accumulate == 1 else loss / self.accumulate).backward()
            self.batch, self.validated = self.batch + 1, False
            if not self.accumulating:
                for see in self.before:
                    see(module, self.loss)
                self.clip_gradients(optimizer)
                stepping.step()
                if self.stepping is None:
                    stepping = self.stepping = (self.epochs.possible and side_by_side(optimizer)) or optimizer
                self._stepped()
                for see in self.after:
                    see(module)
            if time.perf_counter() >= until or self.step == limit:
                return

    def _train_batch(self, batch: tuple[Tensor, Tensor]) -> None:
        """Train on one batch through Lightning: its precision, its strategy, everybody's hooks."""
        trainer, module = self.trainer, self.module
        optimizer = module.optimizers()
        self.reseed(self.batch)
        loss = module.loss_of(batch, "train")
        self.loss = loss.detach()
        with torch.autocast(module.device.type, enabled=False):  # it is for the forward pass alone
            if not self.accumulating:
                for callback in trainer.callbacks:
                    callback.on_before_zero_grad(trainer, module, optimizer)
                optimizer.zero_grad()
            module.manual_backward(loss / self.accumulate)
            self.batch, self.validated = self.batch + 1, False
            if not self.accumulating:
                optimizer.step()  # calls `on_before_optimizer_step`, and that `clip_gradients`
                self._stepped()
                for see in self.after:
                    see(module)

    def laid_gradients(self) -> list[Tensor] | None:
        """Return the gradients where they lie side by side: fewer tensors than weights."""
        return self.stepping.gradients() if isinstance(self.stepping, SideBySide) else None

    def clip_gradients(self, optimizer: Any) -> None:
        if self.clip:
            self.module.clip_gradients(
                optimizer, gradient_clip_val=self.clip, gradient_clip_algorithm=self.clip_algorithm
            )

    def reseed(self, number: int) -> None:
        """Make what follows draw by (seed, epoch, number) alone, so that resuming is exact.

        number: the batch that is trained next, or -1 - that for a validation before it.
        """
        if self._stream[0] != self.epoch:
            self._stream = self.epoch, stream_seed(self.module.seed, "step", self.epoch) >> 1
        seed = self._stream[1] + number
        # torch.manual_seed would visit every backend on each call: some hundred times slower
        torch.default_generator.manual_seed(seed)
        if self.module.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.module.device.type == "mps":
            torch.mps.manual_seed(seed)
        if self.foreign:
            random.seed(seed)
            np.random.seed(seed % 2**32)

    def _stepped(self) -> None:
        self.step += 1
        self.module.row["lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]  # with which the step was taken
        scheduler = self.module.lr_schedulers() if self.module.scheduler_factory else None
        if isinstance(scheduler, Warmup):
            if scheduler.warming:
                scheduler.step()
                return
            scheduler = scheduler.then
        if scheduler is None or isinstance(scheduler, ReduceLROnPlateau):
            return
        if self.module.scheduler_interval == "step" or self.at_epochs_end:
            scheduler.step()

    def end_epoch(self, measured: dict[str, float]) -> None:
        """Move to the next epoch, after whatever belongs to this one; one that was cut short is not over.

        measured: the epoch's metrics; a schedule that follows one waits for an epoch that has it.
        """
        if not self.at_epochs_end:
            return
        scheduler = self.module.lr_schedulers() if self.module.scheduler_factory else None
        if isinstance(scheduler, Warmup):
            scheduler = None if scheduler.warming else scheduler.then
        if isinstance(scheduler, ReduceLROnPlateau) and self.module.monitored in measured:
            scheduler.step(torch.tensor(measured[self.module.monitored]))
        self.epoch, self.batch = self.epoch + 1, 0


def forget_gradients(optimizer: Optimizer) -> None:
    """Do what torch's `zero_grad` does, without its mark for a profiler, which takes longer than that."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad:
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = None


class SeedFirst(Hook):
    """Seeds what other callbacks draw before a batch, which is nothing that the batch itself draws."""

    def on_train_batch_start(self, *_: Any) -> None:
        loop = self.loop
        seed_everything(stream_seed(loop.module.seed, "callbacks", loop.epoch, loop.batch) % 2**32, verbose=False)
