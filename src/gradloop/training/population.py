"""Many small runs trained as one: each member's weights, curves and files are those of its run alone."""

from __future__ import annotations

import itertools
import math
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradloop.callbacks.averaging import EMA, PREFIX
from gradloop.callbacks.divergence import Divergence, diverged
from gradloop.callbacks.tensorboard_pages import TensorBoardPages
from gradloop.errors import RunInterrupted
from gradloop.runs.planning import Config
from gradloop.runs.reporting import tell_place
from gradloop.runs.signals import NAMES, Listening
from gradloop.training.member import Member
from gradloop.training.meter import Meter
from gradloop.training.parts import Parts
from gradloop.training.stacked import Stack
from gradloop.training.stacked_checks import Checked, check, why_alone
from gradloop.training.stacked_measures import Measures, Seen
from gradloop.training.tables import Tables, limited, load_tables

ROUNDS = "torch's batched kernels round otherwise than a lone run's (sweep.population=exact)"
SPARSE = 0.75  # share of the rows that are alive below which the stack is packed anew
TELL = 0.5  # seconds between what the sweep is told of the epochs


class Population:
    """Members of one shape, from where they stand to their ends.

    loop: of the first run's module; it says where all of them stand. stack, tables and `rows` belong together: row i
    of the stack is member `rows[i]`, alive or not. seen: of the epoch, up to now.
    """

    def __init__(self, group: Sequence[Config]) -> None:
        parts = self.parts = Parts(group[0].values, group[0].allow, [])
        self.module, self.loop, self.trainer = parts.module, parts.module.loop, parts.trainer
        self.checked = Checked(why_alone(parts))
        if self.checked.why is not None:
            return
        self.loop.plan(self.trainer, parts.data.batches_an_epoch(1))
        if group[0].checkpoint is not None:
            place = group[0].checkpoint["gradloop"]["position"]
            self.loop.epoch, self.loop.batch, self.loop.step = place["epoch"], place["batch"], place["step"]
            self.loop.validated = bool(place["validated"])
        kinds: dict[type, Any] = {type(callback): callback for callback in parts.callbacks}
        self.guarded, self.ema, self.pages = Divergence in kinds, kinds.get(EMA), kinds.get(TensorBoardPages)
        self.max_epochs = int(self.trainer.max_epochs or 1)
        built: dict[str, Any] = {}
        datas = load_tables(parts, group)
        self.members = [Member(*each, built) for each in zip(group, [parts] * len(group), datas, strict=True)]
        # side by side what shares its numbers
        alive = sorted((member for member in self.members if member.alive), key=lambda member: member.numbers.key)
        if len(alive) < 2:
            self.checked = Checked("no other run is like it")
            return
        self.checked = self._check(alive, small_products=False)
        if not self.checked.exact and (again := self._check(alive, small_products=True)).exact:
            self.checked = again
        self.measures = Measures(self.module.task, self.module.epoch_metrics or [])
        self.line = [n for w in self.module.line or () for n, p in self.module.network.named_parameters() if p is w]
        if self.checked.why is None:
            self._take(alive)
            batches = [zip(member.meter.outputs, member.meter.targets, strict=True) for member in alive]
            for batch in zip(*batches, strict=True):
                outputs, targets = map(torch.stack, zip(*batch, strict=True))
                self.seen.batches.append((outputs, targets))

    def _nothing(self) -> Seen:
        """Nothing seen yet, of an epoch or a part."""
        losses = [(rows, self.rows[rows.start].numbers.loss) for rows, _ in self.stack.losses]
        return Seen(self.measures, losses)

    def why(self, exact: bool) -> str | None:
        """Return why the runs run alone, if they do."""
        return self.checked.why or (ROUNDS if exact and not self.checked.exact else None)

    def _check(self, rows: list[Member], *, small_products: bool) -> Checked:
        tables = Tables(rows)
        if tables.differ:
            return Checked("data: the parts of these runs have other sizes")
        checked = check(self._stack_of(rows, small_products), tables, rows, self.parts)
        return replace(checked, small_products=small_products)

    def _stack_of(self, rows: list[Member], small_products: bool) -> Stack:
        return Stack(
            self.module.network,
            [member.numbers for member in rows],
            [member.state for member in rows],
            steps=self.loop.steps(self.max_epochs, -1),
            average=self.ema is not None,
            clip_algorithm=self.loop.clip_algorithm,
            small_products=small_products,
        )

    def _take(self, rows: list[Member]) -> None:
        self.rows, self.tables = rows, Tables(rows)
        self.stack = self._stack_of(rows, self.checked.small_products)
        self.seen = self._nothing()
        for place, member in enumerate(rows):
            member.stack, member.place = self.stack, place

    @property
    def alive(self) -> list[Member]:
        return [member for member in self.rows if member.alive]

    def run(self, stop: Listening) -> None:
        described: dict[str, Any] = {**self.parts.described()}
        size, exact = len(self.members), self.checked.exact
        print(f"{size} runs as one, {'to the bit' if exact else 'to rounding'}", flush=True)
        for member in self.members:
            data = described["data"] | {"fingerprint": member.data.fingerprint()}
            member.enter(described | {"data": data, "population": {"size": size, "exact": exact}})
            if not member.alive:
                member.close({})
        self.events: Any = lambda *_: []
        if self.pages is not None and self.parts.values["logger"]:
            self.events = self.pages.events(self.module)
        saving = self.rows[0].checkpoints
        self.every_seconds = saving.every_seconds if saving else math.inf
        self.began = self.next_tell = time.monotonic()
        self.next_save = self.began + self.every_seconds
        try:
            while self.loop.epoch < self.max_epochs and self.alive:
                self._train_epoch(stop)
                if self.loop.at_epochs_end:
                    self._end_epoch()
                if stop.received and self.alive:
                    self._interrupt(stop.received)
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
        finite, stack, loop = self.stack.finite(losses), self.stack, self.loop
        for member in [member for member in self.alive if not finite[member.place]] if not finite.all() else ():
            row = member.place
            gradients: dict[str, Tensor | None] = {n: g[row] for n, g in stack.gradients.items()}
            named = {n: (w[row].detach(), gradients[n]) for n, w in stack.weights.items()}
            rate = stack.pace_of(row).group["lr"]
            member.fail(diverged(named, float(losses[row]), step=loop.step, epoch=loop.epoch, rate=rate))
            self._note([member])
            for callback in member.callbacks:
                callback.diverged(member.trainer, member)
            self._close(member, {})

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
        if self._plateau and any(self.parts.monitor in member.run.history[-1] for member in alive):
            nothing = torch.tensor(0.0)
            self.stack.schedule([nothing if member.monitored is None else member.monitored for member in self.rows])
        for member in alive:
            member.consider()
        for member in alive:
            member.heed()
        loop.epoch, loop.batch, self.seen = loop.epoch + 1, 0, self._nothing()
        for member in alive:
            if member.error is not None or member.trainer.should_stop:
                self._end(member)
        if loop.epoch < self.max_epochs and self.alive:
            if time.monotonic() >= self.next_save:
                self._save()
            if len(self.alive) <= SPARSE * len(self.rows):
                self._pack()
            if time.monotonic() >= self.next_tell:
                self.next_tell = time.monotonic() + TELL
                tell_place(self.alive[0].run.folder, loop.epoch, self.max_epochs)

    @torch.no_grad()
    def _validate(self) -> None:
        network, stack = self.module.network.eval(), self.stack
        seen = self._nothing()
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
            member.validated()
        self.loop.validated = True

    @torch.no_grad()
    def _tested(self, member: Member) -> dict[str, float]:
        """Evaluate the best weights on the test part, as a lone run does."""
        best = member.run.best[0].payload["state_dict"] if member.run.best else member.state_dict()
        weights = {name.removeprefix(PREFIX): weight for name, weight in best.items()}
        network, batches = self.module.network.eval(), member.data.test_dataloader()
        batches = itertools.islice(batches, limited(len(batches), self.trainer.limit_test_batches))
        seen = [(functional_call(network, weights, (inputs,)), targets) for inputs, targets in batches]
        if not seen:
            return {}
        outputs, targets = (torch.cat(part) for part in zip(*seen, strict=True))
        measured = {"loss": float(member.numbers.loss(outputs, targets))}
        measured |= self.module.task.measure(outputs, targets, None)
        return {f"test/{name}": value for name, value in measured.items()}

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
        self.next_save = time.monotonic() + max(self.every_seconds, 20 * (time.monotonic() - started))

    def _end(self, member: Member) -> None:
        """Save, test and close a member that has come to its end, or was pruned."""
        self._note([member])
        for callback in member.callbacks:
            callback.on_train_end(member.trainer, member)
        tested: dict[str, float] = {}
        if member.error is None and member.values["test"]:
            with member.run.timed("test"):
                tested = self._tested(member)
        self._close(member, tested)

    def _close(self, member: Member, tested: dict[str, float]) -> None:
        for logger in member.run.loggers:
            logger.events += self.events(member.values, member.run.history)
        member.close(tested)

    def _interrupt(self, number: int) -> None:
        self._note(self.alive)
        for member in self.alive:
            for callback in member.callbacks:
                callback.stopped(member.trainer, member)
            how = f"; go on with: gradloop-train resume={member.run.folder}" if member.checkpoints else ""
            member.fail(RunInterrupted(f"stopped by {NAMES[signal.Signals(number)]}{how}", signal_number=number))
            self._close(member, {})

    def _pack(self) -> None:
        """Go on without the rows of those that have left, if that keeps the others' bits."""
        rows = self.alive
        for member in rows:
            member.state = self.stack.state_of(member.place, waiting=False)
        checked = self._check(rows, small_products=self.checked.small_products)
        if checked.why is None and checked.exact >= self.checked.exact:
            self.checked = checked
            self._take(rows)
