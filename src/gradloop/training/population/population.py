"""Many small runs trained as one: each member's weights, curves and files are those of its run alone."""

import contextlib
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.accelerators import CPUAccelerator
from torch import Tensor
from torch.func import functional_call
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradloop.callbacks.averaging import PREFIX
from gradloop.callbacks.divergence import all_finite, diverged
from gradloop.config.overrides import to_paste
from gradloop.data.batches import limited
from gradloop.errors import DivergedError, GradloopError, RunInterrupted
from gradloop.runs.record import record_end
from gradloop.runs.reporting import tell_place
from gradloop.runs.run import outcome
from gradloop.runs.signals import NAMES, Listening
from gradloop.training.beginning import described_data
from gradloop.training.machine import keep_freed_pages
from gradloop.training.meter import Meter
from gradloop.training.population.measures import test
from gradloop.training.population.member import Member
from gradloop.training.population.members import Members

SPARSE = 0.75  # share of the rows that are alive below which the stack is packed anew
TELL = 0.5  # seconds between what the sweep is told of the epochs
SPARED = 20  # times as long as a save of all members takes, it trains until the next


class Population(Members):
    """Trains members from where they stand to their ends."""

    def run(self, stop: Listening) -> None:
        described: dict[str, Any] = {**self.parts.described()}
        size, exact = len(self.members), self.checked.exact
        print(f"{size} runs as one, {'to the bit' if exact else 'to rounding'}", flush=True)
        started = time.monotonic()
        for member in self.members:
            data = described_data(member.recipe["facts"], member.values, member.data)
            durations = dict(described["durations"])
            before = member.config.known.get("population", {})  # of an earlier attempt
            whole, both = max(size, before.get("size", 0)), exact and before.get("exact", True)
            trained = {"population": {"size": whole, "exact": both}}
            try:
                member.enter(described | {"data": data, "durations": durations} | trained)
            except GradloopError as error:  # its folder can't be used; those of the others can
                member.fail(error)
                with contextlib.suppress(OSError, GradloopError):
                    record_end(member.config.folder(), *outcome(error))
                continue
            if not member.alive:
                member.close({})
        saving = self.rows[0].checkpoints
        self.every_seconds = saving.every_seconds if saving else math.inf
        if isinstance(self.trainer.accelerator, CPUAccelerator):
            keep_freed_pages()
        self.began = self.next_tell = time.monotonic()
        self.next_save = self.began + max(self.every_seconds, SPARED * (self.began - started))  # as a save will cost
        try:
            self._end_those(self.alive)  # one that had stopped early, and was killed before its end
            while self.loop.epoch < self.max_epochs and self.alive:
                self._train_epoch(stop)
                if self.loop.at_epochs_end:
                    self._end_epoch()
                if stop.received and self.alive:
                    self._interrupt(stop.received)
            self._note(self.alive)
            for member in self.alive:
                self._end(member)
        except BaseException as error:  # whatever it is, each record says so
            for member in self.alive:
                member.fail(error)
                member.close({})
            raise

    def _train_epoch(self, stop: Listening) -> None:
        """Train the rest of an epoch, or until a signal comes."""
        loop, stack = self.loop, self.stack
        self.module.network.train()
        self.tables.begin(loop.epoch)
        while not loop.at_epochs_end:
            inputs, targets = self.tables.batch(loop.batch)
            losses, outputs = stack.backward(inputs, targets, share=loop.accumulate, add=loop.accumulating)
            self.seen.batches.append((outputs, targets))
            loop.batch, loop.validated = loop.batch + 1, False
            if not loop.accumulating:
                if self.guarded:
                    self._bury(losses)
                stack.step()
                self._stepped()
            if not loop.at_epochs_end:
                if stop.received:
                    return
                if time.monotonic() >= self.next_save:
                    self._save()

    def _stepped(self) -> None:
        loop, ema = self.loop, self.ema
        if ema is not None and loop.step % ema.every_n_steps == 0:
            self.stack.average_in(ema.mean, loop.step // ema.every_n_steps)
        loop.step += 1
        by_step = self.module.scheduler_interval == "step" or loop.at_epochs_end
        if self.module.scheduler_factory and by_step and not self._plateau:
            self.stack.schedule()

    @property
    def _plateau(self) -> bool:
        return isinstance(self.stack.paces[0].scheduler, ReduceLROnPlateau)

    def _bury(self, losses: Tensor) -> None:
        """End the members whose loss or gradients are no numbers, before the step would be taken."""
        if (broken := self.stack.broken(losses)) is None:
            return
        for member in [member for member in self.alive if broken[member.place]]:
            self._note([member])
            self._diverge(member, float(losses[member.place]), self.loop.epoch)
            self._close(member, {})

    def _diverge(self, member: Member, loss: float, epoch: int) -> None:
        """Fail, and let the callbacks save what must be."""
        row, rate = member.place, self.stack.pace_of(member.place).group["lr"]
        gradients = self.stack.gradients
        named = {name: (weight[row].detach(), gradients[name][row]) for name, weight in self.stack.weights.items()}
        member.fail(diverged(named, loss, step=self.loop.step, epoch=epoch, rate=rate))
        for callback in member.callbacks:
            callback.diverged(member.trainer, member)

    def _end_epoch(self) -> None:
        """Validate, measure, let members leave."""
        loop, trainer = self.loop, self.trainer
        due = trainer.limit_val_batches and (loop.epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if due and not loop.validated:
            self._validate()
        train, alive = self.seen.trained(), self.alive
        for member in alive:
            line = [self.stack.weights[name][member.place].item() for name in self.line]
            member.row |= dict(zip(("weight", "bias"), line, strict=False))
            member.end_epoch(train[member.place])
        for pace in self.stack.paces:
            pace.stepped = {}
        if self._plateau and any(self.parts.monitor in member.run.history[-1] for member in alive):
            self.stack.schedule([torch.tensor(member.monitored or 0.0) for member in self.rows])
        for member in alive:
            member.consider()
        for member in alive:
            member.heed()
        loop.epoch, loop.batch, self.seen = loop.epoch + 1, 0, self.nothing()
        self._end_those(alive)
        if loop.epoch < self.max_epochs and self.alive:
            if time.monotonic() >= self.next_save:
                self._save()
            if len(self.alive) <= SPARSE * len(self.rows):
                self.pack()
            if time.monotonic() >= self.next_tell:
                self.next_tell = time.monotonic() + TELL
                tell_place(self.alive[0].run.folder, loop.epoch, self.max_epochs)

    def _end_those(self, members: Sequence[Member]) -> None:
        """End the members that are not to go on."""
        for member in members:
            if member.error is not None or member.trainer.should_stop:
                self._note([member])
                self._end(member)

    @torch.no_grad()
    def _validate(self) -> None:
        network, stack = self.module.network.eval(), self.stack
        seen = self.nothing()
        for inputs, targets in self.tables.part("val", self.trainer.limit_val_batches):
            if self.checked.evaluates:
                outputs = stack.outputs(inputs, averaged=True)
            else:
                weights = [stack.weights_of(row, averaged=True) for row in range(len(self.rows))]
                alone = [functional_call(network, w, (x.clone(),)) for w, x in zip(weights, inputs, strict=True)]
                outputs = torch.stack(alone)
            seen.batches.append((outputs, targets))
        measured = seen.evaluated()
        for member in self.alive:
            member.measured("val", measured[member.place])
        self.loop.validated = True

    def _note(self, members: Sequence[Member]) -> None:
        """Give members what is kept for all: their share of the seconds, and what they have seen of the epoch."""
        seconds, meters = (time.monotonic() - self.began) / len(self.members), self.seen.meters()
        for member in members:
            member.seconds = member.saved.get("seconds", 0.0) + seconds
            member.meter = meters[member.place] if meters else Meter()

    def _save(self) -> None:
        started = time.monotonic()
        self._note(self.alive)
        for member in self.alive:
            if member.checkpoints is not None:
                member.checkpoints.save(member.trainer)
        self.next_save = time.monotonic() + max(self.every_seconds, SPARED * (time.monotonic() - started))

    def _end(self, member: Member) -> None:
        """Save, test and close a member that has come to its end, or was pruned."""
        if self.guarded and member.error is None and not all_finite(member.parameters()):
            self._diverge(member, 0.0, len(member.run.history) - 1)  # its last step has made weights that are none
        for callback in member.callbacks if not isinstance(member.error, DivergedError) else ():
            callback.on_train_end(member.trainer, member)
        tested: dict[str, float] = {}
        if member.error is None and member.values["test"]:
            with member.run.timed("test"):
                best = member.run.best[0].payload["state_dict"] if member.run.best else member.state_dict()
                weights = {name.removeprefix(PREFIX): weight for name, weight in best.items()}
                batches = member.data.test_dataloader()
                batches = itertools.islice(batches, limited(len(batches), self.trainer.limit_test_batches))
                tested = test(self.module, weights, member.numbers.loss, batches)
        self._close(member, tested)

    def _close(self, member: Member, tested: dict[str, float]) -> None:
        if self.pages is not None:
            for logger in member.run.loggers:
                logger.waiting += self.pages.events(member.values, member.run.history)
        member.close(tested)

    def _interrupt(self, number: int) -> None:
        self._note(self.alive)
        for member in self.alive:
            for callback in member.callbacks:
                callback.stopped(member.trainer, member)
            how = to_paste("train", "resume", member.run.folder, member.run.allow)
            more = f"; go on with: {how}" if member.checkpoints else ""
            member.fail(RunInterrupted(f"stopped by {NAMES[number]}{more}", signal_number=number))
            self._close(member, {})
