"""Many small runs trained as one: each member's weights, curves and files are those of its run alone."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradloop.callbacks.averaging import EMA
from gradloop.callbacks.checkpoints import Checkpoints
from gradloop.callbacks.divergence import Divergence, diverged
from gradloop.callbacks.tensorboard_pages import TensorBoardPages
from gradloop.config.signature import stack_key
from gradloop.errors import GradloopError, RunInterrupted
from gradloop.runs.planning import Planned
from gradloop.runs.record import Record
from gradloop.runs.run import Run
from gradloop.runs.signals import NAMES, Listening, take_note
from gradloop.training.fit import run
from gradloop.training.member import Common, Member
from gradloop.training.parts import Parts
from gradloop.training.stacked import Stack
from gradloop.training.stacked_checks import Checked, check, why_alone
from gradloop.training.stacked_measures import Measures
from gradloop.training.tables import Tables, load_tables

MEMORY = 2**30  # bytes that the weights of a stack may take, with all that an optimizer has of them
ROUNDS = "torch's batched kernels round otherwise than a lone run's (sweep.population=exact)"
SPARSE = 0.75  # share of the rows that are alive below which the stack is packed anew


def run_population(*planned: Planned, exact: bool = False) -> list[Record]:
    """Train runs as one stack where that is possible, else one after another; return their records, in order.

    Runs that differ in more than a stack can hold, or stand at other places, form stacks of their own. exact: run
    alone what a stack would round otherwise. Whatever becomes of a run is in its record: no run's error is raised.
    """
    records: dict[int, Record] = {}
    groups: dict[str, list[Planned]] = {}
    for each in planned:
        place = each.checkpoint["gradloop"]["position"] if each.checkpoint else {}
        groups.setdefault(f"{stack_key(each.values)} {place}", []).append(each)
    with Listening(take_note) as stop:
        for group in groups.values():
            why = _as_one(group, stop, records, exact=exact) if len(group) > 1 else "no other run is like it"
            for each in group if why else ():
                if stop.received is None:
                    print(f"alone: {why}", flush=True)
                    records[id(each)] = _alone(each)
    return [records[id(each)] for each in planned if id(each) in records]


def run_exactly(*planned: Planned) -> list[Record]:
    """Train as one what a stack trains to the bit, else alone."""
    return run_population(*planned, exact=True)


def fits(planned: Planned, *, exact: bool) -> tuple[str | None, int]:
    """Say in one line why runs like this one run alone; None if they can be stacked, and how many at once."""
    parts = Parts(planned.values, planned.allow, [])
    why = why_alone(parts)
    if why is None:
        checked = _try(parts, [planned, planned])[1]
        why = checked.why or (ROUNDS if exact and not checked.exact else None)
    weights = sum(weight.numel() for weight in parts.module.parameters())
    return why, max(1, MEMORY // (weights * 4 * 4))  # float32: weights, gradients, two moments


def _as_one(group: list[Planned], stop: Listening, records: dict[int, Record], *, exact: bool) -> str | None:
    try:
        parts = Parts(group[0].values, group[0].allow, [])
    except GradloopError as error:
        return str(error)
    if why := why_alone(parts):
        return why
    members, checked = _try(parts, group)
    if checked.why or (exact and not checked.exact):
        return checked.why or ROUNDS
    population = Population(parts, members, checked)
    population.run(stop)
    for member in members:
        records[id(member.planned)] = member.run.record
    return None


def _alone(planned: Planned) -> Record:
    """Run; where it was refused before it had a record, write one."""
    try:
        return run(planned)
    except Exception as error:
        folder = planned.folder()
        if not (folder / "summary.json").exists() or not _ended(folder):
            this = Run(folder, planned.values, planned.overrides, started=time.time())
            this.__enter__()
            this.__exit__(type(error), error, error.__traceback__)
        from gradloop.runs.record import read_record

        return read_record(folder)


def _ended(folder: Path) -> bool:
    from gradloop.runs.record import NOT_RUN, RUNNING, read_record

    return read_record(folder)["status"] not in (RUNNING, NOT_RUN)


def _try(parts: Parts, group: Sequence[Planned]) -> tuple[list[Member], Checked]:
    """Build the members, side by side what shares its numbers, and see whether a stack does what each does alone."""
    parts.module.loop.plan(parts.trainer, parts.data.batches_an_epoch(1))
    common = Common(parts)
    datas = load_tables(parts, group)
    members = []
    for number, (each, data) in enumerate(zip(group, datas, strict=True)):
        plateau = str(each.values["scheduler"].get("_target_")).endswith(ReduceLROnPlateau.__name__)
        members.append(Member(each, common, data, own=str(number) if plateau else ""))
    members.sort(key=lambda member: member.numbers.key if member.alive else "")
    alive = [member for member in members if member.alive]
    if len(alive) < 2:
        return members, Checked("no other run is like it that could begin", exact=False, evaluates=False)
    tables = Tables(alive)
    checked = check(stack_of(parts, alive), tables, alive, parts)
    if not checked.exact and not checked.why:
        again = check(stack_of(parts, alive, small_products=True), tables, alive, parts)
        checked = replace(again, small_products=True) if again.exact else checked
    return members, checked


def stack_of(
    parts: Parts, members: Sequence[Member], states: Sequence[Any] | None = None, *, small_products: bool = False
) -> Stack:
    module = parts.module
    ema = any(isinstance(callback, EMA) for callback in parts.callbacks)
    return Stack(
        module.network,
        [member.numbers for member in members],
        [member.state for member in members] if states is None else states,
        steps=module.loop.steps(int(parts.trainer.max_epochs or 1), -1),
        average=ema,
        clip_algorithm=module.loop.clip_algorithm,
        small_products=small_products,
    )


class Population:
    """Members of one shape, from where they stand to their ends.

    epoch, batch, step: where all of them stand. stack, tables and `rows` belong together: row i of the stack is
    member `rows[i]`, alive or not.
    """

    def __init__(self, parts: Parts, members: list[Member], checked: Checked) -> None:
        self.parts, self.members, self.checked = parts, members, checked
        self.module, self.loop = parts.module, parts.module.loop
        self.rows = [member for member in members if member.alive]
        self.stack = stack_of(parts, self.rows, small_products=checked.small_products)
        self.tables = Tables(self.rows)
        self.measures = Measures(self.module.task, self.module.epoch_metrics or [])
        kinds = {type(callback): callback for callback in parts.callbacks}
        self.guarded, self.ema = Divergence in kinds, kinds.get(EMA)
        self.saving = kinds.get(Checkpoints)
        place = self.rows[0].position
        self.epoch, self.batch, self.step = place["epoch"], place["batch"], place["step"]
        self.val_done = bool(place["validated"])
        self.seen = _seen_before(self.rows)
        self.max_epochs = int(parts.trainer.max_epochs or 1)
        self.began = self.next_save = time.monotonic()
        self.line = [
            n for n, w in self.module.network.named_parameters() for each in self.module.line or () if w is each
        ]

    @property
    def alive(self) -> list[tuple[int, Member]]:
        return [(row, member) for row, member in enumerate(self.rows) if member.alive]

    def run(self, stop: Listening) -> None:
        described = self.parts.described()
        print(f"{len(self.members)} runs as one, {'to the bit' if self.checked.exact else 'to rounding'}", flush=True)
        for member in self.members:
            own = (
                member.planned.known
                | described
                | {"data": described["data"] | {"fingerprint": member.data.fingerprint()}}
            )
            member.enter(own, len(self.members), self.checked.exact)
            if not member.alive:
                member.finish({}, [])
        page = next((c for c in self.parts.callbacks if isinstance(c, TensorBoardPages)), None)
        self.pages = page.events(self.module) if page is not None and self.parts.values["logger"] else None
        self.began = time.monotonic()
        self.next_save = self.began + (self.saving.every_seconds if self.saving else math.inf)
        try:
            while self.epoch < self.max_epochs and self.alive:
                if self._train_epoch(stop) or (self._end_epoch() and stop.received):
                    self._interrupt(stop)
                    return
            for row, member in self.alive:
                self._end(row, member)
        except BaseException as error:  # whatever it is, each record says so
            for _, member in self.alive:
                member.fail(error)
                member.finish({}, [])
            raise

    def _train_epoch(self, stop: Listening) -> bool:
        """Train the rest of an epoch; return whether a signal has cut it short."""
        loop, stack = self.loop, self.stack
        self.module.network.train()
        self.tables.begin(self.epoch)
        while self.batch < loop.length:
            inputs, targets = self.tables.batch(self.batch)
            add = self.batch % loop.accumulate > 0
            losses, outputs = stack.backward(inputs, targets, share=loop.accumulate, add=add)
            self.seen.append((None, outputs, targets))
            self.batch, self.val_done = self.batch + 1, False
            if self.batch % loop.accumulate == 0 or self.batch == loop.length:
                if self.guarded:
                    self._bury(losses)
                stack.step()
                self._stepped()
            if self.batch < loop.length:
                if stop.received:
                    return True
                if time.monotonic() >= self.next_save:
                    self._save()
        return False

    def _stepped(self) -> None:
        self.step += 1
        if isinstance(self.ema, EMA) and (self.step - 1) % self.ema.every_n_steps == 0:
            self.stack.average_in(self.ema.mean, (self.step - 1) // self.ema.every_n_steps)
        by_step = self.module.scheduler_interval == "step" or self.batch == self.loop.length
        if self.module.scheduler_factory and by_step and not self._plateau:
            self.stack.schedule()

    @property
    def _plateau(self) -> bool:
        return isinstance(self.stack.paces[0].scheduler, ReduceLROnPlateau)

    def _bury(self, losses: Tensor) -> None:
        """End the members whose loss or gradients are no numbers, before the step would be taken."""
        finite = self.stack.finite(losses)
        if bool(finite.all()):
            return
        for row in [row for row, _ in self.alive if not finite[row]]:
            member, stack = self.rows[row], self.stack
            named = {n: (w[row].detach(), stack.gradients[n][row]) for n, w in stack.weights.items()}
            rate = stack.pace_of(row).group["lr"]
            loss = float(losses[row])
            member.fail(diverged(named, loss, step=self.step, epoch=self.epoch, rate=rate))
            if member.run.best:
                member.save_best()
            elif all(bool(torch.isfinite(weight).all()) for weight, _ in named.values()):
                self._save_member(row, member)
            self._close(member, {})

    def _end_epoch(self) -> bool:
        """Validate, measure, let members leave; always true."""
        trainer = self.parts.trainer
        every = trainer.check_val_every_n_epoch or 1
        if trainer.limit_val_batches and (self.epoch + 1) % every == 0 and not self.val_done:
            self._validate()
        train = self._measured(*self._trained())
        line = [self.stack.weights[name].detach().flatten().tolist() for name in self.line]
        for row, member in self.alive:
            numbers = {name: values[row] for name, values in zip(("weight", "bias"), line, strict=False)}
            member.end_epoch(self.epoch, self.step, numbers, train[row])
            member.history[-1]["lr"] = self.stack.pace_of(row).group["lr"]
        if self._plateau:
            nothing = torch.tensor(0.0)
            self.stack.schedule([nothing if member.monitored is None else member.monitored for member in self.rows])
        leaving, alive = [], self.alive
        for row, member in alive:
            member.consider(self.stack, row, self.epoch, self.step)
        for row, member in alive:
            member.heed(self.epoch)
            if not member.alive or member.trainer.should_stop:
                leaving.append((row, member))
        self.epoch, self.batch, self.seen = self.epoch + 1, 0, []
        for row, member in leaving:
            self._end(row, member)
        if self.epoch < self.max_epochs:
            if time.monotonic() >= self.next_save:
                self._save()
            if self.alive and len(self.alive) <= SPARSE * len(self.rows):
                self._pack()
        return True

    def _trained(self) -> tuple[list[float], Tensor, Tensor]:
        """Return each member's mean loss over the epoch's samples, its outputs [M, N, ...] and targets."""
        losses = self._losses()  # [batches, M]
        sizes = torch.tensor([float(targets.shape[1]) for _, _, targets in self.seen])
        means = [float((losses[:, row].double() @ sizes.double()) / sizes.sum()) for row in range(len(self.rows))]
        outputs, targets = (torch.cat([seen[i] for seen in self.seen], 1) for i in (1, 2))  # type: ignore[misc]
        return means, outputs, targets

    def _losses(self) -> Tensor:
        """The loss of every batch that was seen, for every member: [batches, M]. Batches of one size in one go."""
        found: dict[int, Tensor] = {i: seen[0] for i, seen in enumerate(self.seen) if seen[0] is not None}
        by_size: dict[int, list[int]] = {}
        for number, (_, _, targets) in enumerate(self.seen):
            if number not in found:
                by_size.setdefault(targets.shape[1], []).append(number)
        for numbers in by_size.values():
            outputs = torch.stack([self.seen[n][1] for n in numbers])  # [batches, M, B, ...]
            targets = torch.stack([self.seen[n][2] for n in numbers])
            parts = [self._loss(rows, outputs, targets) for rows, _ in self.stack.losses]
            found |= dict(zip(numbers, torch.cat(parts, 1), strict=True))
        return torch.stack([found[number] for number in range(len(self.seen))])

    def _loss(self, rows: slice, outputs: Tensor, targets: Tensor) -> Tensor:
        """Losses of some members for outputs [batches, M, B, ...]: [batches, members]."""
        mine, theirs = outputs[:, rows].flatten(0, 1), targets[:, rows].flatten(0, 1)
        loss = self.rows[rows.start].numbers.loss
        return self.measures.loss(loss, mine, theirs).view(len(outputs), -1)

    def _measured(
        self, losses: list[float], outputs: Tensor, targets: Tensor
    ) -> list[tuple[float, dict[str, float]]]:
        return list(zip(losses, self.measures.epoch(outputs, targets), strict=True))

    @torch.no_grad()
    def _validate(self) -> None:
        network = self.module.network.eval()
        seen = []
        for inputs, targets in self.tables.part("val", self.parts.trainer.limit_val_batches):
            if self.checked.evaluates:
                outputs = self.stack.outputs(inputs, averaged=True)
            else:
                outputs = torch.stack([self._alone(row, inputs[row].clone()) for row in range(len(self.rows))])
            seen.append((outputs, targets))
        outputs, targets = (torch.cat(parts, 1) for parts in zip(*seen, strict=True))
        parts = [self._loss(rows, outputs[None], targets[None])[0] for rows, _ in self.stack.losses]
        measured = self._measured(torch.cat(parts).tolist(), outputs, targets)
        for row, member in self.alive:
            member.measured("val", *measured[row])
            member.validated(self.epoch)
        self.val_done = True
        network.train()

    def _alone(self, row: int, inputs: Tensor) -> Tensor:
        self._put(self.stack.weights_of(row, averaged=True))
        result: Tensor = self.module.network(inputs)
        return result

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> nn.Module:
        for name, weight in self.module.network.named_parameters():
            weight.copy_(weights[name])
        return self.module.network.eval()

    @torch.no_grad()
    def _tested(self, member: Member) -> dict[str, float]:
        """Evaluate the best weights on the test part, as a lone run does."""
        best = member.run.best[0].payload["state_dict"] if member.run.best else {}
        if best:
            self._put({name.removeprefix("network."): weight for name, weight in best.items()})
        seen = [
            (self.module.network(inputs), targets)
            for inputs, targets in limited(member.data.test_dataloader(), self.parts.trainer.limit_test_batches)
        ]
        if not seen:
            return {}
        outputs, targets = (torch.cat(part) for part in zip(*seen, strict=True))
        loss = float(member.numbers.loss(outputs, targets))
        measured = self.module.task.measure(outputs, targets, None)
        return {"test/loss": loss, **{f"test/{name}": value for name, value in measured.items()}}

    def _end(self, row: int, member: Member) -> None:
        """Save, test and close a member that has come to its end, or was pruned."""
        if self.saving and not member.run.best and member.history:
            member.run.best[:] = [member.latest()]
        self._save_member(row, member)
        tested: dict[str, float] = {}
        if member.error is None and member.values["test"]:
            self._put(self.stack.weights_of(row, averaged=True))
            started = time.time()
            tested = self._tested(member)
            member.run.record["durations"]["test"] = time.time() - started
        self._close(member, tested)

    def _close(self, member: Member, tested: dict[str, float]) -> None:
        member.run.record["durations"]["fit"] = member.seconds_before + self._seconds
        member.finish(tested, self.pages(member.values, member.history) if self.pages else [])

    @property
    def _seconds(self) -> float:
        """Of fitting, a member's share."""
        return (time.monotonic() - self.began) / len(self.members)

    def _save(self) -> None:
        started = time.monotonic()
        for row, member in self.alive:
            self._save_member(row, member)
        every = self.saving.every_seconds if self.saving else math.inf
        self.next_save = time.monotonic() + max(every, 20 * (time.monotonic() - started))

    def _save_member(self, row: int, member: Member) -> None:
        waiting = 0 < self.batch < self.loop.length and self.batch % self.loop.accumulate > 0
        place = {"epoch": self.epoch, "batch": self.batch, "step": self.step, "validated": int(self.val_done)}
        meter: dict[str, Any] = {}
        if self.seen:
            meter["losses"] = self._losses()[:, row].clone()
            meter["sizes"] = [targets.shape[1] for _, _, targets in self.seen]
            meter["outputs"] = torch.cat([outputs[row] for _, outputs, _ in self.seen])
            meter["targets"] = torch.cat([targets[row] for _, _, targets in self.seen])
        member.save(self.stack.state_of(row, waiting=waiting), place, meter, self._seconds)

    def _interrupt(self, stop: Listening) -> None:
        number = stop.received or signal.SIGTERM
        self._save()
        for _, member in self.alive:
            how = f"; go on with: gradloop-train resume={member.run.folder}" if self.saving else ""
            member.fail(RunInterrupted(f"stopped by {NAMES[signal.Signals(number)]}{how}", signal_number=number))
            self._close(member, {})

    def _pack(self) -> None:
        """Go on without the rows of those that have left, if that keeps the others' bits."""
        kept = self.alive
        states = [self.stack.state_of(row, waiting=False) for row, _ in kept]
        rows, small = [member for _, member in kept], self.checked.small_products
        tables = Tables(rows)
        checked = check(stack_of(self.parts, rows, states, small_products=small), tables, rows, self.parts, states)
        if self.checked.exact and not checked.exact:
            return
        self.checked = replace(self.checked, exact=checked.exact, evaluates=checked.evaluates)
        self.rows, self.tables = rows, tables
        self.stack = stack_of(self.parts, rows, states, small_products=small)


def limited(batches: Any, limit: float | int) -> Iterator[tuple[Tensor, Tensor]]:
    """The first batches of a part, as Lightning limits them: a share, or a number."""
    count = int(len(batches) * limit) if isinstance(limit, float) else min(len(batches), limit)
    for _, batch in zip(range(count), batches, strict=False):
        yield batch


def _seen_before(rows: list[Member]) -> list[tuple[Tensor | None, Tensor, Tensor]]:
    """What the members' checkpoints have seen of their epoch: (losses [M], outputs [M, B, ...], targets) a batch."""
    if not rows[0].meter:
        return []
    outputs, targets = (torch.stack([member.meter[name] for member in rows]) for name in ("outputs", "targets"))
    losses = torch.stack([member.meter["losses"] for member in rows])
    sizes = rows[0].meter["sizes"]
    parts = zip(outputs.split(sizes, 1), targets.split(sizes, 1), strict=True)
    return [(losses[:, number], *part) for number, part in enumerate(parts)]
