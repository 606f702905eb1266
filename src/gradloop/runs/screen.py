"""What a run says on the terminal: what it is, at once; its facts when they are known; at the end what it found."""

import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gradloop.config.conf_folder import choice_file
from gradloop.config.own_module import target_of
from gradloop.runs.history import worse_than_the_mean
from gradloop.runs.record import Record

LOOK = {"en": ("Look", "Try"), "ko": ("볼 것", "해보기")}  # the paragraphs of a lesson's file to end with
PRECISIONS = {"32-true": "float32", "64-true": "float64", "bf16-true": "bfloat16", "16-true": "float16"}


def opening(values: Mapping[str, Any], varied: Collection[str] = ()) -> str:
    """Return in one line what the config alone tells: `digits · SimpleNN · Adam lr=0.001 · 20 epochs · seed 0`.

    varied: the keys of which a sweep tries several values; they are left out.
    """
    optimizer, trainer = values["optimizer"], values["trainer"]
    rate = f" lr={optimizer['lr']:g}" if isinstance(optimizer.get("lr"), int | float) else ""
    own = target_of(values)
    trained = {
        "model": short(values["model"]["_target_"]),
        "optimizer": f"{short(optimizer['_target_'])}{rate * ('optimizer.lr' not in varied)}",
    }
    parts = {
        "data": data_name(values["data"]["_target_"]),
        **(trained if own is None else {"module": short(own)}),
        "trainer.max_epochs": length(trainer),
        "seed": f"seed {values['seed']}",
    }
    gone = {*varied, *(key.removesuffix("._target_") for key in varied)}
    return " · ".join(text for key, text in parts.items() if key not in gone)


def tensorboard_command(folder: object) -> str:
    """Return the command that shows a folder's curves, as one types it in a shell."""
    quoted = shlex.quote(str(folder))
    return "tensorboard --logdir " + (quoted if quoted.startswith("'") else f"'{quoted}'")


def length(trainer: Mapping[str, Any]) -> str:
    """Return how long a run may last: `20 epochs`, `20 epochs, at most 500 steps`, `1 batch` to try it."""
    if batches := int(trainer.get("fast_dev_run") or 0):
        return f"{batches} batch{'es' * (batches != 1)}"
    epochs, steps = trainer["max_epochs"], trainer.get("max_steps") or -1
    limit = f", at most {steps} step{'s' * (steps != 1)}" if steps > 0 else ""
    return f"{epochs} epoch{'s' * (epochs != 1)}{limit}"


def facts(record: Record) -> str:
    """Return in one line what is known once everything is built: samples, parameters, device, what "best" means."""
    devices, data, monitor = record["devices"], record["data"], record["monitor"]
    samples = "/".join(str(data["samples"][part]) for part in ("train", "val", "test") if part in data["samples"])
    device = devices["accelerator"].removesuffix("Accelerator").lower()
    count, threads = devices["processes"], devices["threads"]
    precision = PRECISIONS.get(str(devices["precision"]), devices["precision"])
    parts = [
        samples,
        f"{record['model']['parameters']:,} parameters",
        f"{f'{count} × ' * (count > 1)}{device}, {threads} thread{'s' * (threads != 1)}, {precision}",
        f"best = {monitor['metric']}" if monitor["metric"] else "",
    ]
    return " · ".join(filter(None, parts))


def no_pages(facts: Mapping[str, Any]) -> str | None:
    """Say which data those are that no page can show; None if pages can."""
    if facts.get("task") == "multilabel":
        return "several labels a sample"
    if len(facts.get("target_shape") or ()) > 1:
        return "dense targets"
    return "inputs of tokens" if facts.get("input_dtype") == "int64" else None


def short(target: Any) -> str:
    return str(target).rpartition(".")[2]


def data_name(target: Any) -> str:
    """Return how the data is called on the command line; of the user's own, its class."""
    parts = str(target).split(".")
    return parts[-2] if parts[0] == "gradloop" and len(parts) > 1 else parts[-1]


def closing(record: Record, folder: Path) -> list[str]:
    """Return the lines at a run's end: metrics, the monitored one first; times; what there is to look at."""
    metrics, monitor = record["metrics"], (record.get("monitor") or {}).get("metric", "")
    tested = "test" + monitor.removeprefix("val")
    names = sorted(metrics, key=lambda name: (name != monitor, name != tested, order(name)))
    width = max(map(len, metrics), default=0)
    lines = [f"  {name:<{width}}  {number(metrics[name])}" for name in names]
    best, epochs = record.get("best"), record.get("epochs", 0)
    if best and monitor in metrics:
        lines[0] += f"  best, epoch {best['epoch']} of {epochs}"
    spent = {name: record["durations"].get(name) for name in ("fit", "test")}
    lines.append(", ".join(f"{name} {clock(seconds)}" for name, seconds in spent.items() if seconds is not None))
    for key, value in (record.get("found") or {}).items():
        lines.append(f"found: {key}={value:.3g}" if isinstance(value, float) else f"found: {key}={value}")
    if warning := record.get("warning") or worse_than_the_mean(metrics):
        lines.append(f"warning: {warning}")
    if pictures := sorted(path.name for path in folder.glob("*.png")):
        lines.append(f"pictures: {', '.join(pictures)}")
    if profiled := sorted(f"profile/{path.name}" for path in folder.glob("profile/*")):
        lines.append(f"profile: {', '.join(profiled)} (a trace opens in ui.perfetto.dev)")
    return lines


def order(name: str) -> tuple[int, str]:
    part = name.partition("/")[0]
    return ("test", "val", "train").index(part) if part in ("test", "val", "train") else 3, name


def number(value: float) -> str:
    """Return four digits that mean something: 0.9618, 12.35, 1.23e-05."""
    return f"{value:.4g}"


def clock(seconds: float) -> str:
    """Return `0.4 s`, `12 s`, `3:05` or `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def lesson(experiment: Any, language: str) -> list[str]:
    """Return what a lesson's file says to look at and to try, in a language; nothing for other experiments."""
    file = choice_file("experiment", experiment)
    if not str(experiment).startswith("lesson/") or not file.is_file():
        return []
    text = "\n".join(line[1:] for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    lines: list[str] = []
    for word in LOOK[language]:
        if found := re.search(rf"^ {word}: *(.+?)(?=^ \S|^\s*$|\Z)", text, re.M | re.S):
            lines += ["", f"{word}: {' '.join(found[1].split())}"]
    return lines[1:]
