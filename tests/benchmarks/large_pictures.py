"""Pictures that don't fit in memory, against torchvision's ImageFolder. `python tests/benchmarks/large_pictures.py`

200,000 JPEGs of mixed sizes, made here (a thousand are drawn, the others are links to these), resized to 128 x 128,
mirrored and normalised in batches of 128, by two workers on each side. Both sides take turns; a ratio is the median
over the turns. Then: the memory of all processes along an epoch, and whether going on in its middle gives the same
batches. One table, printed as it goes, then a last line of JSON. `--quick` only shows that it runs: its numbers mean
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import machine
from PIL import Image
from synthetic_pictures import knobs
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder as TorchvisionFolder
from torchvision.transforms import v2

from gradloop.data.image_folder import ImageFolder

SIZE, BATCH, WORKERS = 128, 128, 2
MEAN, STD = [0.5] * 3, [0.25] * 3


def photographs(root: Path, count: int, distinct: int) -> Path:
    """Write JPEGs of 240 to 960 pixels in ten classes: smooth colours with some grain, as photographs have."""
    rng = np.random.default_rng(0)
    drawn: list[Path] = []
    for index in range(count):
        folder = root / f"class_{index % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{index:06d}.jpg"
        if index >= distinct:
            os.link(drawn[index % distinct], path)
            continue
        width, height = (int(edge) for edge in rng.integers(240, 961, 2))
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((width, height))
        grain = rng.integers(-12, 13, (height, width, 3), dtype=np.int8)
        pixels = np.clip(np.asarray(coarse, dtype=np.int16) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=88)
        drawn.append(path)
    return root


def ours(root: Path, cache: Path | None) -> ImageFolder:
    data = ImageFolder(
        root=str(root), image_size=SIZE, fit="crop", channels=3, test_fraction=0.0, val_fraction=0.01, split_seed=0,
        subset=1.0, mean=MEAN, std=STD, broken="refuse", cache=cache is not None, cache_dir=str(cache or ""),
        in_memory=False, device="cpu", num_workers=WORKERS, channels_last=False,
        augmentation=knobs(horizontal_flip={"probability": 0.5}), batch_size=BATCH, shuffle=True, drop_last=True,
        seed=0,
    )  # fmt: skip
    data.setup()
    return data


def theirs(root: Path) -> DataLoader:
    steps = [v2.Resize(SIZE), v2.CenterCrop(SIZE), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    transform = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    return DataLoader(
        TorchvisionFolder(str(root), transform), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=WORKERS,
        persistent_workers=True,
    )  # fmt: skip


def rate(batches: Iterable[Any], count: int) -> float:
    """Return the pictures a second over some batches, from the second on: workers are started by then."""
    iterator = iter(batches)
    next(iterator)
    started = time.perf_counter()
    seen = sum(len(inputs) for inputs, _ in islice(iterator, count))
    return seen / (time.perf_counter() - started)


def memory() -> float:
    """Return the megabytes of this process and its workers, what they share counted once."""
    here = os.getpid()
    children = [int(pid) for pid in Path(f"/proc/{here}/task/{here}/children").read_text().split()]
    total = 0
    for pid in (here, *children):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1e3


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def compare(name: str, first: Callable[[], float], second: Callable[[], float], turns: int) -> float:
    pairs = [(first(), second()) for _ in range(turns)]
    ratios = [a / b for a, b in pairs]
    here, there = (statistics.median(column) for column in zip(*pairs, strict=True))
    row(name, f"{here:,.0f} /s", f"{there:,.0f} /s", f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}")  # fmt: skip
    return round(statistics.median(ratios), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, turns, some = (1_300, 1, 4) if options.quick else (options.pictures, options.turns, 60)
    print(f"\n### large pictures\n\n{machine()}{', --quick: numbers mean nothing' if options.quick else ''}\n")
    print("| what | ours | torchvision | ratio (median) | spread |\n|---|---|---|---|---|", flush=True)
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        distinct = 40 if options.quick else 1_000
        root = photographs(Path(name) / "pictures", count, distinct)
        started = time.perf_counter()
        data, other = ours(root, None), theirs(root)
        row(f"looking through {count:,} files", f"{time.perf_counter() - started:.1f} s", "", "", "")
        loader = data.train_dataloader()
        numbers["decoding"] = compare(
            f"{count:,} JPEGs of 240 to 960 pixels to {SIZE}, decoded each time, {WORKERS} workers",
            lambda: rate(loader.rest(0, 0), some), lambda: rate(other, some), turns,
        )  # fmt: skip
        if Path("/proc/self/smaps_rollup").exists():  # Linux
            levels = []
            for index, _ in enumerate(islice(loader.rest(1, 0), 3 * some)):
                if index % some == some - 1:
                    levels.append(memory())
            numbers["memory_growth"] = round(levels[-1] / levels[0], 3)
            row("memory of all processes along an epoch", " → ".join(f"{mb:.0f} MB" for mb in levels), "",
                f"{numbers['memory_growth']:.2f}", "")  # fmt: skip
        whole = [inputs for inputs, _ in islice(loader.rest(2, 0), 4)]
        again = [inputs for inputs, _ in islice(ours(root, None).train_dataloader().rest(2, 2), 2)]
        numbers["resume_exact"] = all(torch.equal(a, b) for a, b in zip(whole[2:], again, strict=True))
        row(
            "going on in the middle of an epoch",
            "the same batches" if numbers["resume_exact"] else "OTHER",
            "",
            "",
            "",
        )
        fewer = photographs(Path(name) / "fewer", min(count, 20_000), distinct)
        started = time.perf_counter()
        kept = ours(fewer, Path(name) / "cache").train_dataloader()
        row(f"decoding {min(count, 20_000):,} once into a file", f"{time.perf_counter() - started:.1f} s", "", "", "")
        other = theirs(fewer)
        numbers["from_the_cache"] = compare(
            "the same pictures from that file", lambda: rate(kept.rest(0, 0), some), lambda: rate(other, some), turns
        )
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
