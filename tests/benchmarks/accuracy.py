"""CIFAR-10 in minutes: accuracy against time, Cutout on and off, what each knob gains.

`python tests/benchmarks/accuracy.py <folder of pictures> [topic …]`, for example on the 50,000 training pictures of
CIFAR-10 as JPEGs. A tenth of them, drawn with split_seed=0, is the test part: seen once, at the end. Each topic's
table goes into the README, and the frontier's picture beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measuring import machine
from run_all import README, write_section

RUN = "from gradloop.train import main; main()"
PICTURE = README.parent / ".github" / "images" / "cifar10_frontier.png"
KNOBS = {
    "as it stands": [],
    "one view at test time, not six": ["test_time_flip=false", "test_time_shift=0"],
    "no label smoothing": ["loss.label_smoothing=0"],
    "a constant rate": ["scheduler=constant"],
    "one-cycle": ["scheduler=one_cycle", "scheduler.cycle_momentum=false"],
    "EMA (decay 0.99)": ["callbacks=ema", "callbacks.ema.decay=0.99"],
    "SGD instead of Muon": [
        "optimizer=sgd", "optimizer.lr=0.75", "optimizer.momentum=0.85", "optimizer.nesterov=true",
        "optimizer.weight_decay=0.0013", "~optimizer.other_lr", "~optimizer.other_momentum",
        "~optimizer.newton_schulz_steps", "~optimizer.normalize",
    ],
    "32 pixels from the start": ["augmentation.random_crop.size=null"],
}  # fmt: skip
SPEEDS = {
    "as it stands": [],
    "channels_last=false": ["channels_last=false"],
    "compile=true": ["compile=true"],
    "trainer.precision=bf16-mixed": ["trainer.precision=bf16-mixed"],
}


def train(root: Path, *overrides: str) -> dict[str, Any]:
    """Run `gradloop-train` in a fresh process; return the run's record."""
    with tempfile.TemporaryDirectory() as folder:
        fixed = ["experiment=cifar10_fast", "data=image_folder", f"data.root={root}", f"output_dir={folder}"]
        subprocess.run([sys.executable, "-c", RUN, *fixed, *overrides], stdout=sys.stderr, check=True)
        (summary,) = Path(folder).glob("train/*/summary.json")
        return json.loads(summary.read_text())


def length(epochs: int) -> list[str]:
    """Half of the epochs on small pictures; a single one has no half."""
    small = f"size_epochs={epochs // 2}" if epochs > 1 else "size=null"
    return [f"trainer.max_epochs={epochs}", f"augmentation.random_crop.{small}"]


def frontier(root: Path, epochs: list[int]) -> str:
    """Train for several numbers of epochs; return a table of accuracies and minutes, and draw it."""
    lines = ["| epochs | held out | minutes of fit | minutes in all |", "|---|---|---|---|"]
    points = []
    for number in epochs:
        record = train(root, *length(number))
        accuracy, durations = 100 * record["metrics"]["test/accuracy"], record["durations"]
        points.append((durations["fit"] / 60, accuracy, number))
        lines.append(f"| {number} | {accuracy:.2f} % | {durations['fit'] / 60:.1f} | {durations['total'] / 60:.1f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    draw(points)
    return "\n".join([machine(), "", *lines])


def draw(points: list[tuple[float, float, int]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    points = sorted(points)
    axes.plot([p[0] for p in points], [p[1] for p in points], "o-", color="#2f6fb3")
    for minutes, accuracy, epochs in points:
        label = f"{epochs} epoch{'s' if epochs > 1 else ''}: {accuracy:.1f} %"
        axes.annotate(label, (minutes, accuracy), xytext=(-6, 6), textcoords="offset points", fontsize=9, ha="right")
    axes.set(xscale="log", xlabel="minutes of fit", ylabel="accuracy on held-out pictures (%)")
    ticks = [round(minutes, 1) for minutes, *_ in points]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.margins(x=0.4, y=0.15)
    axes.grid(alpha=0.3)
    axes.set_title("experiment=cifar10_fast", loc="left", fontsize=11, fontweight="bold")
    figure.savefig(PICTURE)


def cutout(root: Path) -> str:
    """Train with and without Cutout, three seeds each, two at once; return the comparison's table."""
    varied = ["augmentation=flip_crop_cutout", "augmentation.cutout.side=8", "augmentation.cutout.probability=0,0.5"]
    two_at_once = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    with tempfile.TemporaryDirectory() as folder:
        fixed = ["experiment=cifar10_fast", "data=image_folder", f"data.root={root}", f"output_dir={folder}"]
        arguments = ["-m", *fixed, *length(2), *varied, "seed=range(3)", *two_at_once]
        subprocess.run([sys.executable, "-c", RUN, *arguments], stdout=sys.stderr, check=True)
        (sweep,) = Path(folder).glob("sweeps/*")
        compare = [sys.executable, "-m", "gradloop.compare", str(sweep), "--metric=test/accuracy", f"--out={folder}"]
        subprocess.run(compare, stdout=sys.stderr, check=True)
        (table,) = Path(folder).rglob("comparison.md")
        return table.read_text()


def knobs(root: Path) -> str:
    """Change one knob at a time in short runs, two at once; return a table of accuracies."""
    short = [*length(2), "trainer.limit_train_batches=0.5", "threads=1"]
    with ThreadPoolExecutor(2) as pool:
        records = pool.map(lambda overrides: train(root, *short, *overrides), KNOBS.values())
        accuracies = [100 * record["metrics"]["test/accuracy"] for record in records]
    lines = ["| one pass over the pictures, half of it on 24 pixels | held out | gain |", "|---|---|---|"]
    for name, accuracy in zip(KNOBS, accuracies, strict=True):
        lines.append(f"| {name} | {accuracy:.2f} % | {accuracy - accuracies[0]:+.2f} |")
    return "\n".join(lines)


def speed(root: Path) -> str:
    """Measure steps of 512 pictures of 32 pixels; return a table of pictures a second."""

    def seconds(steps: int, overrides: list[str]) -> float:
        """Without what happens once: compiling, the first step's allocations."""
        return train(root, *length(1), f"trainer.limit_train_batches={steps}", "trainer.limit_val_batches=1",
                     "test=false", *overrides)["durations"]["fit"]  # fmt: skip

    rates = {name: 512 * 10 / (seconds(12, knob) - seconds(2, knob)) for name, knob in SPEEDS.items()}
    lines = ["| training, forward and backward | pictures a second | ratio |", "|---|---|---|"]
    lines += [f"| {name} | {rate:.0f} | {rate / rates['as it stands']:.2f} |" for name, rate in rates.items()]
    return "\n".join([machine(), "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder of pictures: <root>/<class>/<picture>")
    parser.add_argument("topics", nargs="*", default=["frontier", "cutout", "knobs", "speed"])
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 4, 8])
    given = parser.parse_args()
    root = given.root.resolve()
    work = {
        "frontier": lambda: frontier(root, given.epochs),
        "cutout": lambda: cutout(root),
        "knobs": lambda: knobs(root),
        "speed": lambda: speed(root),
    }
    for topic in given.topics:
        text = work[topic]()
        print(f"\n### {topic}\n\n{text}\n", flush=True)
        write_section(f"accuracy_{topic}", text.splitlines())


if __name__ == "__main__":
    main()
