"""CIFAR-10 in minutes: the recipe with three seeds, accuracy against time, what each knob gains and costs.

`python tests/benchmarks/accuracy.py <folder of pictures> [topic …]`, for example on the 50,000 training pictures of
CIFAR-10 as JPEGs. A tenth of them, drawn with split_seed=0, is the test part: seen once, at the end. Each topic's
table goes into README.md beside this file, and so does the frontier's picture.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measuring import machine
from run_all import README, write_section

from gradloop.sweeps.results.statistics import compare, spread

RUN = "from gradloop.commands.train import main; main()"
PICTURE = README.with_name("cifar10_frontier.png")
KNOBS = {
    "as it stands": [],
    "one view at test time, not six": ["test_time_flip=false", "test_time_shift=0"],
    "no label smoothing": ["loss.label_smoothing=0"],
    "a constant rate": ["scheduler=constant"],
    "one-cycle": ["scheduler=one_cycle", "scheduler.cycle_momentum=false"],
    "EMA (decay 0.99)": ["callbacks=ema", "callbacks.ema.decay=0.99"],
    "SGD instead of Muon": [
        "optimizer=sgd", "optimizer.lr=0.75", "optimizer.momentum=0.85", "optimizer.nesterov=true",
        "optimizer.weight_decay=0.0013", "~optimizer.bias_lr", "~optimizer.head_lr", "~optimizer.other_momentum",
        "~optimizer.bias_weight_decay", "~optimizer.head_weight_decay", "~optimizer.newton_schulz_steps",
        "~optimizer.normalize",
    ],
    "32 pixels from the start": ["augmentation.random_crop.size=null"],
}  # fmt: skip
CUTOUT = ["augmentation=flip_crop_cutout", "augmentation.cutout.side=8", "augmentation.cutout.probability=0.5"]
SPEEDS = {
    "as it stands": [],
    "channels_last=false": ["channels_last=false"],
    "compile=true": ["compile=true"],
    "trainer.precision=32-true": ["trainer.precision=32-true"],
}


def train(root: Path, *overrides: str, experiment: str = "cifar10_fast") -> dict[str, Any]:
    """Run `gradloop-train` in a fresh process; return the run's record."""
    with tempfile.TemporaryDirectory() as folder:
        fixed = [f"experiment={experiment}", "data=image_folder", f"data.root={root}", f"output_dir={folder}"]
        subprocess.run([sys.executable, "-c", RUN, *fixed, *overrides], stdout=sys.stderr, check=True)
        (summary,) = Path(folder).glob("train/*/summary.json")
        return json.loads(summary.read_text())


def length(epochs: int) -> list[str]:
    """Half of the epochs on small pictures; a single one has no half."""
    small = f"size_epochs={epochs // 2}" if epochs > 1 else "size=null"
    return [f"trainer.max_epochs={epochs}", f"augmentation.random_crop.{small}"]


def recipe(root: Path, experiment: str, *, quick: bool) -> str:
    """Train an experiment as it is with three seeds; return a table of the accuracy and the minutes."""
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=4"] if quick else []
    seeds = range(1 if quick else 3)
    records = [train(root, f"seed={seed}", *short, experiment=experiment) for seed in seeds]
    reached = [100 * record["metrics"]["test/accuracy"] for record in records]
    minutes = [record["durations"]["fit"] / 60 for record in records]
    arithmetic = records[0]["devices"]["precision"]
    told = f"{spread(reached)} % ({', '.join(f'{value:.2f}' for value in reached)})"
    row = f"| {arithmetic} | {told} | {', '.join(f'{value:.1f}' for value in minutes)} |"
    return "\n".join([machine(), "", "| arithmetic | held out | minutes of fit |", "|---|---|---|", row])


def frontier(root: Path, variants: list[str]) -> str:
    """Train with and without Cutout, then as many epochs as asked for; return a table of them, and draw it."""
    lines, points = [], []

    def add(name: str, records: list[dict[str, Any]]) -> None:
        reached = spread(100 * record["metrics"]["test/accuracy"] for record in records)
        fit, total = (
            statistics.mean(record["durations"][key] for record in records) / 60 for key in ("fit", "total")
        )
        shown = str(reached) if len(records) > 1 else f"{reached.mean:.2f}"
        lines.append(f"| {name} | {shown} % | {fit:.1f} | {total:.1f} |")
        print(lines[-1], file=sys.stderr, flush=True)
        if "Cutout" not in name:
            points.append((fit, reached.mean, name.partition(",")[0]))

    knobs = {"2 epochs, 3 seeds": [], "2 epochs, 3 seeds, with Cutout": CUTOUT}
    records = {name: [train(root, *length(2), *knob, f"seed={n}") for n in range(3)] for name, knob in knobs.items()}
    for name, of_it in records.items():
        add(name, of_it)
    for variant in variants:
        add(f"{variant} epochs", [train(root, *length(int(variant)))])
    draw(points)
    test = compare(*({r["seed"]: r["metrics"]["test/accuracy"] for r in of_it} for of_it in records.values()))
    assert test is not None
    verdict = "significantly different" if test.p < 0.05 else "undecided"
    header = ["| run | held out | minutes of fit | minutes in all |", "|---|---|---|---|"]
    said = f"Cutout (side 8, probability 0.5) on and off after 2 epochs: {verdict} (p = {test.p:.2g}, {test.test})."
    return "\n".join([machine(), "", *header, *lines, "", said])


def draw(points: list[tuple[float, float, str]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    points = sorted(points)
    axes.plot([p[0] for p in points], [p[1] for p in points], "o-", color="#2f6fb3")
    for minutes, accuracy, name in points:
        label = f"{name}: {accuracy:.1f} %"
        axes.annotate(label, (minutes, accuracy), xytext=(-6, 6), textcoords="offset points", fontsize=9, ha="right")
    axes.set(xscale="log", xlabel="minutes of fit", ylabel="accuracy on held-out pictures (%)")
    ticks = [round(minutes, 1) for minutes, *_ in points]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.margins(x=0.4, y=0.15)
    axes.grid(alpha=0.3)
    axes.set_title("experiment=cifar10_fast", loc="left", fontsize=11, fontweight="bold")
    figure.savefig(PICTURE)


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
        return train(root, *length(1), f"trainer.limit_train_batches={steps}", "trainer.limit_val_batches=1",
                     "test=false", *overrides)["durations"]["fit"]  # fmt: skip

    rates = {}
    for name, knob in SPEEDS.items():
        seconds(2, knob)  # a first run fills torch's cache of compiled code
        rates[name] = 512 * 10 / (seconds(12, knob) - seconds(2, knob))  # without what happens once a run
    lines = ["| training, forward and backward | pictures a second | ratio |", "|---|---|---|"]
    lines += [f"| {name} | {rate:.0f} | {rate / rates['as it stands']:.2f} |" for name, rate in rates.items()]
    return "\n".join([machine(), "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder of pictures: <root>/<class>/<picture>")
    parser.add_argument("topics", nargs="*", default=["recipe", "frontier", "knobs", "speed"])
    parser.add_argument("--epochs", nargs="+", default=["4", "8"], help="of each run of the frontier")
    parser.add_argument("--quick", action="store_true", help="one epoch, nothing is written: to see that it runs")
    given = parser.parse_args()
    root = given.root.resolve()
    if given.quick:
        given.topics = [topic for topic in given.topics if topic.startswith("recipe")] or ["recipe"]
    work = {
        "recipe": lambda: recipe(root, "cifar10_fast", quick=given.quick),
        "recipe_fp32": lambda: recipe(root, "cifar10_fast_fp32", quick=given.quick),
        "frontier": lambda: frontier(root, given.epochs),
        "knobs": lambda: knobs(root),
        "speed": lambda: speed(root),
    }
    for topic in given.topics:
        text = work[topic]()
        print(f"\n### {topic}\n\n{text}\n", flush=True)
        if not given.quick:
            write_section(f"accuracy_{topic}", text.splitlines())


if __name__ == "__main__":
    main()
