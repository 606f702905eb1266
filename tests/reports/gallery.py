"""Every picture and page once, of hard cases, to be looked at: `python tests/reports/gallery.py <folder>`.

Long names, 40 classes, 72 settings, one run, pruned trials, Korean. Nothing is trained for the sweeps' pictures.
"""

from __future__ import annotations

import csv
import json
import math
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path += [str(Path(__file__).parents[1] / "kit")]

from gradloop.sweeps.results.files import write_leaderboard
from gradloop.sweeps.results.picture import draw_sweep
from gradloop.sweeps.sweep_folder import Sweep, read_sweep
from sweeps_on_disk import make_sweep

KOREAN = ("고양이", "강아지", "아주 긴 이름을 가진 동물", "새", "물고기")


def with_curves(sweep: Sweep) -> Sweep:
    """Give every run of a sweep curves, a time and a size, as if it had been trained."""
    draw = random.Random(0)
    for job in sweep.jobs:
        folder = sweep.job_folder(job)
        if not (folder / "summary.json").is_file():
            continue
        record = json.loads((folder / "summary.json").read_text())
        record["durations"] = {"fit": draw.uniform(1, 40), "total": 41.0}
        (folder / "summary.json").write_text(json.dumps(record))
        end, rows = job.value("val/accuracy") or 0.3, []
        for epoch in range(1, 8 if job.status == "pruned" else 21):
            share = 1 - math.exp(-epoch / 5)
            noise = draw.gauss(0, 0.01)
            rows.append({"epoch": epoch, "step": 10 * epoch, "train/loss": 2 * (1 - 0.9 * share) + noise,
                         "val/loss": 2.2 * (1 - 0.8 * share) + noise, "train/accuracy": end * share + 0.02,
                         "val/accuracy": end * share + noise})  # fmt: skip
        with open(folder / "metrics.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return read_sweep(sweep.folder)


def searched(folder: Path, count: int = 72) -> Sweep:
    """A random search over five keys, every fourth trial pruned."""
    draw, points = random.Random(1), []
    for number in range(count):
        lr, dropout = 10 ** draw.uniform(-4, 0), draw.uniform(0, 0.7)
        setting = {"optimizer.lr": lr, "model.dropout": dropout, "optimizer": draw.choice(["adam", "sgd", "muon"]),
                   "model.hidden_dims": draw.choice([[16], [64], [64, 64], [128, 64, 32]]),
                   "data.batch_size": draw.choice([16, 32, 64, 128])}  # fmt: skip
        value = 0.95 - 0.08 * (math.log10(lr) + 2) ** 2 - 0.2 * (dropout - 0.2) ** 2 + draw.gauss(0, 0.01)
        pruned = number % 4 == 3
        points.append((setting, 0, max(0.1, value - 0.2 * pruned), "pruned" if pruned else "completed"))
    sweep = make_sweep(folder, points)
    sweep.method = "random"
    sweep.save()
    return with_curves(sweep)


def grid(folder: Path) -> Sweep:
    draw = random.Random(2)
    points = [({"optimizer.lr": lr, "model.hidden_dims": dims}, seed,
               0.9 - 0.1 * (math.log10(lr) + 2) ** 2 + 0.02 * len(dims) + draw.gauss(0, 0.01), "completed")
              for lr in (0.001, 0.01, 0.1) for dims in ([16], [64, 64]) for seed in range(3)]  # fmt: skip
    return with_curves(make_sweep(folder, points))


def categories(folder: Path) -> Sweep:
    draw = random.Random(3)
    points = [({"model": f"a_network_with_a_long_name_{number}_of_it"}, seed, draw.uniform(0.4, 0.9), "completed")
              for number in range(24) for seed in range(2)]  # fmt: skip
    return with_curves(make_sweep(folder, points))


def two_rows(folder: Path) -> Sweep:
    """The example of the verdict: far apart, three seeds, undecided."""
    values = {"wide": (0.961, 0.968, 0.954), "narrow": (0.69, 0.83, 0.838)}
    points: list[tuple[dict[str, Any], int, float | None, str]] = [
        ({"model": model}, seed, value, "completed")
        for model, row in values.items()
        for seed, value in enumerate(row)
    ]
    return with_curves(make_sweep(folder, points))


def one_run(folder: Path) -> Sweep:
    return with_curves(make_sweep(folder, [({"optimizer.lr": 0.1}, 0, 0.9, "completed")]))


def classifier(folder: Path) -> None:
    """The pages of classifiers with Korean and with 40 classes, few samples each, and the maps of pictures."""
    import torch

    from gradloop.drawing.charts import curves_png
    from gradloop.drawing.figures import draw_page
    from gradloop.reports import classification_pages as pages
    from gradloop.reports.input_pages import Caption, maps_page

    folder.mkdir(parents=True, exist_ok=True)
    for name, classes, count in (("korean", KOREAN, 40), ("forty", [f"class number {k}" for k in range(40)], 900)):
        draw = torch.Generator().manual_seed(0)
        labels = torch.randint(len(classes), (count,), generator=draw)
        scores = torch.randn(count, len(classes), generator=draw) + 2.5 * torch.nn.functional.one_hot(labels)
        probabilities = scores.softmax(1)
        said: Any = SimpleNamespace(classes=list(classes), labels=labels, predicted=probabilities.argmax(1))
        measured = pages.reliability(probabilities, labels, bins=10)
        made = {"confusion": pages.confusion_page(name, said),
                "reliability": draw_page(pages.reliability_page, f"{name}: is it as sure as it is right?", measured),
                "per_class": draw_page(pages.per_class_page, f"{name}: precision and recall", said)}  # fmt: skip
        for page, png in made.items():
            (folder / f"{name}_{page}.png").write_bytes(png)
    history = [{"epoch": k + 1, "train/loss": 1 / (k + 1), "val/loss": 1.2 / (k + 1) + 0.01 * k} for k in range(12)]
    (folder / "curves.png").write_bytes(curves_png(history, "a run", 7))
    maps = {name: torch.randn(8, 1, 8, 8) for name in ("saliency", "integrated gradients", "occlusion")}
    captions = [Caption(f"true: {KOREAN[k % 2]}\nsaid: {KOREAN[0]}\n97 % sure", k % 2 == 0) for k in range(8)]
    png = draw_page(maps_page, "which pixels", torch.rand(8, 1, 8, 8), captions, maps, "note", width=9.6, height=5.4)
    (folder / "maps.png").write_bytes(png)


def main(folder: Path) -> None:
    sweeps = {"random_72": searched, "grid": grid, "categories": categories, "undecided": two_rows,
              "one_run": one_run}  # fmt: skip
    for name, make in sweeps.items():
        draw_sweep(write_leaderboard(make(folder / name)))
    classifier(folder / "classifier")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
