"""A run that is stopped at random moments, drawn from a number, and one that is never stopped."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.labels import event_folder
from gradloop.runs.record import read_record
from processes import Child, until

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL)
IN_TEST = -2  # in place of an optimizer step
OWN = ("own_lightning", "own_callbacks", "own_attributes", "own_beginnings")
BATCH_SIZES = {4: 9, 8: 14, 32: 40, 1149: 150}  # with the epochs that make a run of two or three seconds
TEMPLATE = [
    "+module.net._target_=own_lightning.SimpleDenseNet",
    "+module.optimizer={_target_:torch.optim.Adam,_partial_:true,lr:0.003}",
    "+module.scheduler={_target_:torch.optim.lr_scheduler.ReduceLROnPlateau,_partial_:true,patience:1,threshold:0.1}",
    "+trainer.log_every_n_steps=1",
    "allow=[own_lightning,own_callbacks]",
]
KINDS: dict[str, list[str]] = {
    "default": [],
    "ema": ["callbacks=ema"],
    "swa": ["callbacks=swa", "callbacks.swa.start=0.3"],
    "one_cycle": ["scheduler=one_cycle"],
    "cosine": ["scheduler=cosine", "optimizer=sgd", "optimizer.momentum=0.9"],
    "step": ["scheduler=step", "scheduler.step_size=2"],
    "not_fused": ["optimizer.fused=false", "optimizer.weight_decay=0.01", "callbacks=ema", "scheduler=cosine"],
    "nesterov": ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true", "optimizer.fused=false",
                 "optimizer.groups.bias.weight_decay=0.1", "trainer.accumulate_grad_batches=2"],
    "plateau": ["scheduler=plateau", "scheduler.patience=1", "loss.weight=balanced"],
    "warm_up": ["scheduler=cosine", "scheduler.warmup=50", "optimizer.groups.bias.lr=0.01",
                "metrics.kappa._target_=torchmetrics.CohenKappa", "metrics.kappa.task=multiclass",
                "metrics.kappa.num_classes=10"],
    "begun": ["callbacks=ema"],  # from another run's weights
    "accumulation": ["trainer.accumulate_grad_batches=3", "trainer.gradient_clip_val=1.0"],
    "dropout": ["model.dropout=0.3", "callbacks=[ema,early_stopping]", "callbacks.early_stopping.patience=1000"],
    "lightnings_own": ["+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor",
                       "+callbacks.lr.logging_interval=step",
                       "+callbacks.mean._target_=lightning.pytorch.callbacks.EMAWeightAveraging",
                       "callbacks=throughput"],
    "logs": ["+callbacks.log._target_=own_callbacks.LogMeans"],
    "inside_epochs": ["trainer.val_check_interval=0.5"],
    "ends_early": ["callbacks=early_stopping", "callbacks.early_stopping.patience=2", "optimizer.lr=0.05"],
    "ends_inside": ["trainer.val_check_interval=0.5", "callbacks=early_stopping",
                    "callbacks.early_stopping.patience=3", "optimizer.lr=0.05"],
    "ends_by_steps": [],  # within an epoch, or at its end
    "attributes": ["model._target_=own_attributes.Net", "+callbacks.turn._target_=own_attributes.Turning",
                   "optimizer._target_=own_attributes.Halving", "allow=[own_attributes,own_callbacks]"],
    "beginnings": ["loss._target_=own_beginnings.noisy", "+callbacks.shrink._target_=own_beginnings.Shrinking",
                   "callbacks=ema", "allow=[own_beginnings,own_callbacks]"],
    "odd_attributes": ["model._target_=own_attributes.Odd", "loss._target_=own_attributes.Loss",
                       "+callbacks.one._target_=own_attributes.Every", "+callbacks.one.every=30",
                       "+callbacks.one.factor=0.9", "+callbacks.two._target_=own_attributes.Every",
                       "+callbacks.two.every=70", "+callbacks.two.factor=1.2",
                       "allow=[own_attributes,own_callbacks]"],
    "own_average": ["model._target_=own_attributes.Net", "+callbacks.mean._target_=own_attributes.Average",
                    "allow=[own_attributes,own_callbacks]"],
    "own_attributes": ["module._target_=own_attributes.Digits", "+trainer.log_every_n_steps=1",
                       "allow=[own_attributes,own_callbacks]"],
    "own": ["module._target_=own_lightning.DigitsLitModule", *TEMPLATE],
    "own_inside": ["module._target_=own_lightning.DigitsLitModule", "trainer.val_check_interval=0.4", *TEMPLATE],
    "own_by_steps": ["module._target_=own_lightning.StepwiseLitModule", *TEMPLATE],
    "own_accumulated": ["module._target_=own_lightning.StepwiseLitModule", "trainer.accumulate_grad_batches=3",
                        *TEMPLATE],
    "own_by_hand": ["module._target_=own_lightning.GAN", *TEMPLATE[3:]],
    "pictures": ["augmentation=flip_crop_cutout", "augmentation.cutout.side=4", "model.dropout=0.2"],
    "pictures_of_a_worker": ["augmentation=flip_crop_cutout", "augmentation.cutout.side=4",
                             "data.in_memory=false", "data.num_workers=1"],
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What one number draws: a command, and stops given as (signal, milliseconds or None, optimizer step or None)."""

    number: int

    @cached_property
    def dice(self) -> random.Random:
        return random.Random(self.number)

    @cached_property
    def kind(self) -> str:
        return self.dice.choice(list(KINDS))

    @cached_property
    def batch_size(self) -> int:
        self.kind  # noqa: B018 - drawn first
        sizes = [size for size in BATCH_SIZES if not ("inside" in self.kind and size > 32)]
        return self.dice.choice(
            [size for size in sizes if not ("own" in self.kind and size == 4)]
        )  # batch norm of one

    def command(self, root: Path) -> list[str]:
        """Return the command's arguments, without where it writes."""
        epochs = BATCH_SIZES[self.batch_size]
        fixed = ["seed=5", *KINDS[self.kind]]
        if self.kind.startswith("pictures"):
            size = {4: 4, 8: 8, 32: 32, 1149: 92}[self.batch_size]
            epochs = {4: 40, 8: 60, 32: 120, 1149: 200}[self.batch_size] // (4 if "worker" in self.kind else 1)
            files = [f"data.root={pictures(root / 'pictures')}", f"data.cache_dir={root / 'cache'}"]
            return [*fixed, "data=image_folder", *files, f"trainer.max_epochs={epochs}", f"data.batch_size={size}"]
        if self.kind == "ends_by_steps":
            steps = {4: 1300, 8: 900, 32: 36 * 20, 1149: 100}[self.batch_size]
            fixed.append(f"trainer.max_steps={steps}")
        if self.kind == "begun":
            fixed.append(f"init_from={begun(root / 'another')}")
        return [*fixed, "data=digits", f"data.batch_size={self.batch_size}", f"trainer.max_epochs={epochs}"]

    def whole(self, root: Path) -> Path:
        """Return the folder of the run that is never stopped; it serves all cases with the same command."""
        folder = root / f"{self.kind}_{self.batch_size}"
        if not (folder / "done").exists():
            child = Child([*self.command(root), f"hydra.run.dir={folder}"], root / f"{folder.name}.log")
            assert child.wait(timeout=240) == 0, child.output()
            (folder / "done").touch()
        return folder

    def stopped(self, root: Path) -> tuple[Path, list[str]]:
        """Run, stop and resume it one to three times, or often; return its folder and what was done."""
        folder, told = root / f"stopped_{self.number}", []
        every = self.dice.choice([0.0, 0.1, 0.3, 5.0])
        arguments = [*self.command(root), f"hydra.run.dir={folder}", f"callbacks.checkpoints.every_seconds={every}"]
        arguments.append("+callbacks.stop._target_=own_callbacks.StopAtStep")
        steps = read_checkpoint(self.whole(root) / "checkpoints" / "last.ckpt")["gradloop"]["position"]["step"]
        often = self.dice.random() < 0.5  # soon after each start, again and again
        for attempt in range(14 if often else self.dice.randint(1, 3)):
            number = self.dice.choice(SIGNALS)
            delay, step = self.dice.uniform(0.001, 0.1 if often else 2.0), self.dice.randrange(steps)
            step = IN_TEST if self.dice.random() < 0.15 else step
            by_step, early = self.dice.random() < 0.4 and not often, self.dice.random() < 0.2 or every == 5.0
            environment = {"STOP_AT": f"{number.value} {step}"} if by_step else {}
            told.append(f"{number.name} {f'at step {step}' if by_step else f'after {delay:.3f} s'}")
            child = Child(arguments, root / f"{folder.name}_{attempt}.log", environment)
            arguments = again = [
                f"resume={folder}",
                f"allow=[{','.join(OWN)}]",
            ]
            if not by_step:
                last = folder / "checkpoints" / "last.ckpt"
                sign = folder / "summary.json" if early else last
                before = sign.stat().st_mtime_ns if sign.exists() else 0
                until(lambda s=sign, b=before, c=child: c.ended() or (s.exists() and s.stat().st_mtime_ns > b))
                child.ended(within=delay)
                child.signal(number)
            code = child.wait(timeout=240)
            expected = -signal.SIGKILL if number == signal.SIGKILL else 128 + number
            assert code in (0, expected), f"{told}: exit code {code}, not {expected}\n{child.output()}"
            completed = folder.is_dir() and read_record(folder)["status"] == "completed"
            if code == 0:
                assert completed, child.output()
            if (
                completed
            ):  # that was too late, or the step had been done before; a kill may hit what follows the record
                assert code in (0, -signal.SIGKILL), f"{told}: exit code {code}\n{child.output()}"
                return folder, told[:-1]
        child = Child(again, root / f"{folder.name}_end.log")
        assert child.wait(timeout=240) == 0, f"{told}\n{child.output()}"
        return folder, told


def begun(folder: Path) -> Path:
    """Train another run, whose weights a run begins with."""
    if not folder.exists():
        child = Child(
            ["data=digits", "trainer.max_epochs=1", "seed=1", f"hydra.run.dir={folder}"],
            folder.parent / "another.log",
        )
        assert child.wait(timeout=240) == 0, child.output()
    return folder


def pictures(root: Path) -> Path:
    """Write 114 pictures of two classes."""
    if not root.exists():
        noise = torch.Generator().manual_seed(0)
        for name in ("dark", "light"):
            (root / name).mkdir(parents=True)
            for number in range(57):
                pixels = torch.randint(128, (12, 12, 3), generator=noise) + 127 * (name == "light")
                Image.fromarray(pixels.to(torch.uint8).numpy()).save(root / name / f"{number}.png")
    return root


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Name every place in which two nested structures differ by as much as a bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict) and isinstance(b, dict):
        found = [] if a.keys() == b.keys() else [f"{path}: keys {a.keys() ^ b.keys()}"]
        return found + [d for key in a.keys() & b.keys() for d in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        found = [] if len(a) == len(b) else [f"{path}: {len(a)} and {len(b)} entries"]
        pairs = enumerate(zip(a, b, strict=False))
        return found + [d for i, (x, y) in pairs for d in differences(x, y, f"{path}[{i}]")]
    return [] if a == b or (a != a and b != b) else [f"{path}: {a} != {b}"]


def left_by(folder: Path) -> dict[str, Any]:
    """Return all that a run has left, but for when, where and how fast it ran."""
    found: dict[str, Any] = {"events": curves(folder), "metrics.csv": (folder / "metrics.csv").read_text()}
    for name in ("last", "best"):
        checkpoint = read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")
        for key in ("event_files", "seconds", "recipe"):
            checkpoint["gradloop"].pop(key, None)
        for state in checkpoint.get("callbacks", {}).values():
            for best in state.get("best", []) if isinstance(state, dict) else []:
                best[2]["gradloop"].pop("recipe")
        found[name] = checkpoint
    record = read_record(folder)
    kept = ("status", "metrics", "best", "epochs", "seed", "data", "model", "found", "init_from")
    found["record"] = {key: record.get(key) for key in kept}
    return found


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return {tag: [(step, value), …]} of all event files. TensorBoard reads them in the order of their names."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(event_folder(folder)), size_guidance={"scalars": 0})
    events.Reload()
    rates = ("throughput/", "device/", "train/device/")  # how fast, not what
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith(rates) and "_per_sec" not in tag]
    return {tag: sorted((e.step, e.value) for e in events.Scalars(tag)) for tag in tags}


def check(number: int, root: Path) -> int:
    """Raise AssertionError if the case's stopped run differs from the whole one; return how many stops it had."""
    case = Case(number)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[1] / "kit"), os.environ.get("PYTHONPATH", "")]
    )
    expected = left_by(case.whole(root))
    folder, told = case.stopped(root)
    found = differences(expected, left_by(folder))
    assert not found, f"draw {number}, {case.kind}, batches of {case.batch_size}, {told}: {found[:6]}"
    print(f"draw {number}: {case.kind}, batches of {case.batch_size}: {', '.join(told)}: equal")
    return len(told)
