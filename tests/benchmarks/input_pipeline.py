"""How fast pictures reach the network, against what else one could write. `python tests/benchmarks/input_pipeline.py`

Everything is measured in this one run, on pictures made here; the repetitions of what is compared take turns, and
a ratio is the median over the turns. One table, then a last line of JSON with the same numbers. `--quick` only shows
that it runs: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from competitors import masked_batches, raw_resnet9, torchvision_crops, torchvision_folder
from measuring import machine
from synthetic_pictures import cifar10_files, knobs, picture_folder, synthetic

import gradloop
from gradloop.data.image_folder import ImageFolder

BATCH = 512
CROPS = {
    "random_crop": {"padding": 4},
    "horizontal_flip": {"probability": 0.5},
    "cutout": {"probability": 0.5},
}
Row = tuple[str, str, str, str, str]


def rate(loader: Iterable[Any], count: int) -> float:
    """Return the pictures a second of one pass over a loader."""
    started = time.perf_counter()
    for _ in loader:
        pass
    return count / (time.perf_counter() - started)


class Table:
    """The rows of the table and the numbers of the last line."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.numbers: dict[str, float] = {}

    def compare(
        self, key: str, name: str, ours: Callable[[], float], theirs: list[Callable[[], float]], *, turns: int
    ) -> None:
        """Measure rates in turns; `theirs` are alternatives of which the best counts in every turn."""
        for measure in (ours, *theirs):
            measure()  # workers start, memory is touched
        pairs = [(ours(), max(measure() for measure in theirs)) for _ in range(turns)]
        ratios = [first / second for first, second in pairs]
        here, there = (statistics.median(column) for column in zip(*pairs, strict=True))
        self.numbers[key] = round(statistics.median(ratios), 3)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        self.add(name, f"{here:,.0f} /s", f"{there:,.0f} /s", f"{self.numbers[key]:.2f}", spread)
        self.numbers[f"{key}_images_per_second"] = round(here)

    def add(self, *cells: str) -> None:
        self.rows.append((*cells, *[""] * (5 - len(cells))))  # type: ignore[arg-type]
        print("| " + " | ".join(self.rows[-1]) + " |", flush=True)


def crops(table: Table, count: int, turns: int) -> None:
    """Crop, flip, normalise and Cutout in batches of 512: against torchvision and against crops by masks."""
    data = synthetic(count, augmentation=knobs(**CROPS), batch_size=BATCH)
    data.setup()
    loader = data.train_dataloader()
    pictures, labels = data.splits["train"].inputs.contiguous(), data.splits["train"].targets
    size = len(labels)
    few = min(size, 8 * BATCH)  # the slow ones need no more to be measured
    slow = [torchvision_crops(pictures[:few], labels[:few], batch_size=BATCH, workers=w) for w in (0, 2)]
    table.compare(
        "vs_torchvision", "crop, flip, normalise, Cutout against torchvision in a DataLoader, 0 or 2 workers",
        lambda: rate(loader, size), [lambda other=other: rate(other, few) for other in slow], turns=turns,
    )  # fmt: skip
    masks = masked_batches(pictures, labels, mean=data.mean, std=data.std, batch_size=BATCH)
    table.compare(
        "vs_masks", "the same against a batched loader that crops by masks",
        lambda: rate(loader, size), [lambda: rate(masks(), size)], turns=turns,
    )  # fmt: skip
    torch.set_num_threads(1)
    table.compare(
        "vs_masks_1_thread", "the same on one thread",
        lambda: rate(loader, size), [lambda: rate(masks(), size)], turns=turns,
    )  # fmt: skip
    torch.set_num_threads(os.cpu_count() or 1)


def tutorial(table: Table, folder: Path, count: int, turns: int) -> None:
    """The tutorial's two pipelines on JPEGs: Resize 16, batches of 50; Resize 128, Cutout, batches of 10."""
    root = picture_folder(folder / "pictures", count)
    for key, size, batch, probability in (("resize_16", 16, 50, 0.0), ("resize_128_cutout", 128, 10, 0.5)):
        data = ImageFolder(
            root=str(root), image_size=size, batch_size=batch, test_fraction=0.0, val_fraction=0.1,
            augmentation=knobs(cutout={"probability": probability}), cache_dir=str(folder / "cache"), **SHARED,
        )  # fmt: skip
        started = time.perf_counter()
        data.setup()
        first = time.perf_counter() - started
        loader, pictures = data.train_dataloader(), len(data.splits["train"])
        slow = [
            torchvision_folder(root, size=size, batch_size=batch, cutout=probability > 0, workers=w) for w in (0, 2)
        ]
        what = f"Resize {size}{', Cutout' if probability else ''}, batches of {batch}, on JPEGs"
        table.compare(
            f"tutorial_{key}", f"the tutorial: {what}",
            lambda loader=loader, pictures=pictures: rate(loader, pictures),
            [lambda other=other: rate(other, count) for other in slow], turns=turns,
        )  # fmt: skip
        table.add(f"   its first start: decoding {count:,} JPEGs once", f"{first:.2f} s")


SHARED = {
    "channels": 3, "fit": "crop", "broken": "refuse", "cache": True, "split_seed": 0, "subset": 1.0, "mean": None,
    "std": None, "in_memory": True, "device": "cpu", "num_workers": 0, "channels_last": True, "shuffle": True,
    "drop_last": False, "seed": 0,
}  # fmt: skip


def training(table: Table, folder: Path, count: int, width: int, turns: int) -> None:
    """ResNet-9 trained through gradloop against a plain loop over normalised tensors already in memory."""
    root = picture_folder(folder / "training", count)
    batch, epochs = 128, 2

    def ours() -> float:
        overrides = [
            "data=image_folder", f"data.root={root}", f"data.cache_dir={folder / 'cache'}", "data.test_fraction=0",
            "data.val_fraction=0.1", f"data.batch_size={batch}", "augmentation=flip_crop_cutout", "model=resnet9",
            f"model.width={width}", "optimizer=sgd", "channels_last=true", f"trainer.max_epochs={epochs}",
            "trainer.limit_val_batches=0.0", "test=false", "seed=0", "accelerator=cpu", "logger=none",
            f"threads={torch.get_num_threads()}", f"output_dir={folder / 'outputs'}", "monitor=train/loss",
        ]  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            record = gradloop.train(overrides)
        return epochs * round(0.9 * count) / record["durations"]["fit"]

    def theirs() -> float:
        return raw_resnet9(round(0.9 * count), width=width, batch_size=batch, epochs=epochs)

    table.compare(
        "resnet9_training", f"training resnet9 (width {width}) against a plain loop", ours, [theirs], turns=turns
    )


def memory(table: Table, count: int) -> None:
    """Peak memory of reading and one epoch, in a process of its own, over the bytes of the uint8 pictures."""
    for kind, name in (("chunks", "pictures that come in chunks"), ("cifar10", "CIFAR-10's files")):
        command = [sys.executable, __file__, "--child", kind, "--count", str(count)]
        found = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        ratio = found["peak"] / found["bytes"]
        table.numbers[f"peak_memory_{kind}"] = round(ratio, 3)
        size = f"{found['peak'] / 1e6:.0f} MB"
        table.add(f"peak memory, {name}", size, f"{found['bytes'] / 1e6:.0f} MB of uint8", f"{ratio:.2f}")


def memory_child(kind: str, count: int) -> None:
    """Print the bytes of the pictures and how far the peak rose above what was there before they were read."""
    with tempfile.TemporaryDirectory() as folder:
        warm = synthetic(2 * BATCH, augmentation=knobs(**CROPS), batch_size=BATCH)
        warm.setup()
        for _ in warm.train_dataloader():
            pass
        del warm
        augmented = {"augmentation": knobs(**CROPS), "batch_size": BATCH}
        data = synthetic(count, **augmented) if kind == "chunks" else cifar10_files(Path(folder), count, **augmented)
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = _status("VmRSS")
        data.setup()
        for _ in data.train_dataloader():
            pass
        peak = _status("VmHWM") - before
    print(json.dumps({"bytes": sum(split.inputs.numel() for split in data.splits.values()), "peak": peak}))


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def growth(table: Table, counts: list[int], turns: int) -> None:
    """Time to read and to run through an epoch, a picture, for growing numbers of pictures."""
    cost = {}
    for count in counts:
        data = synthetic(count, augmentation=knobs(**CROPS), batch_size=BATCH)
        started = time.perf_counter()
        data.setup()
        start = time.perf_counter() - started
        loader = data.train_dataloader()
        rate(loader, count)
        cost[count] = statistics.median(1 / rate(loader, len(data.splits["train"])) for _ in range(turns))
        table.add(f"an epoch of {count:,} pictures", f"{1e6 * cost[count]:.2f} µs each", f"start {start:.2f} s")
    table.numbers["cost_per_picture_largest_over_smallest"] = round(cost[counts[-1]] / cost[counts[0]], 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("--child", choices=("chunks", "cifar10"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    if options.child:
        memory_child(options.child, options.count)
        return
    quick = options.quick
    turns = 1 if quick else options.turns
    table = Table()
    print(f"\n### input pipeline\n\n{machine()}{', --quick: numbers mean nothing' if quick else ''}\n")
    print("| what | ours | theirs | ratio (median) | spread |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crops(table, 2_000 if quick else 50_000, turns)
        tutorial(table, folder, 200 if quick else 5_000, turns)
        training(table, folder, 300 if quick else 1_000, 4 if quick else 32, max(1, turns // 2))
        if Path("/proc/self/clear_refs").exists():  # Linux
            memory(table, 6_000 if quick else 60_000)
        growth(table, [1_000, 2_000] if quick else [5_000, 10_000, 20_000, 50_000], turns)
    print(json.dumps(table.numbers))


if __name__ == "__main__":
    main()
