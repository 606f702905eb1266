"""The page of a run, or of an explanation: a model card from its record, its config and its pictures."""

import json
from pathlib import Path
from typing import Any

from gradloop.config.signature import flatten
from gradloop.drawing.page import Page, Section, write_page
from gradloop.errors import CheckpointError
from gradloop.runs.foreign_text import all_printable
from gradloop.runs.labels import show
from gradloop.runs.record import read_config, read_record

SHOWS = {
    "curves": "curves: training and validation, epoch by epoch",
    "lesson": "what the lesson shows",
    "confusion": "confusion matrix: rows are true classes, columns predicted ones",
    "reliability": "reliability: accuracy over confidence",
    "per_class": "precision and recall of each class",
    "most_wrong": "the samples with the highest loss",
    "maps": "which pixels the score hangs on",
    "feature_attributions": "how much each feature moves the score",
    "permutation_importance": "what each feature is worth",
    "residuals": "what the fit leaves over",
    "predicted": "predicted over true values",
    "fit": "the fit and its data",
    "loss_surface": "the way of the weights down the loss surface",
}


def write_run_page(folder: Path) -> Path:
    """Write report.html and README.md of a run from what its folder holds; return the page's path."""
    record: dict[str, Any] = dict(read_record(folder))
    config = shown_config(folder)
    found = _found(folder, record)
    best, monitor = record.get("best") or {}, record.get("monitor") or {}
    value = f" {best['value']:.4g}" if best.get("value") is not None else ""
    lead = f"{record['status']}, {show(record.get('epochs', 0))} epochs, seed {show(record.get('seed'))}"
    lead += f"; best {monitor.get('metric')}{value}" if monitor.get("metric") else ""
    data, model = record.get("data") or {}, record.get("model") or {}
    described = flatten({key: value for key, value in data.items() if key not in ("class_names", "input_names")})
    rows = [(key, show(value)) for key, value in described.items() if value is not None]
    classes = data.get("class_names")
    network = str((config.get("model") or {}).get("_target_", "")).rpartition(".")[2]
    explained = folder.glob("explain/*.png") if found["of_best"] else ()
    paths = sorted([*folder.glob("*.png"), *explained], key=lambda p: (p.parent != folder, _place(p)))
    changed = " ".join(record.get("overrides") or [])
    handed_on = ("hydra.", "data.augmentation.")  # the latter stands there as augmentation
    flat = {key: value for key, value in flatten(config).items() if not key.startswith(handed_on)}
    flat |= {str(key): f"{show(value)} (found by the run)" for key, value in (record.get("found") or {}).items()}
    page = Page(
        str(record.get("name") or folder.name), lead + ".", tags=["gradloop", str(record.get("task") or "model")]
    )
    measured = _metrics(record, found["intervals"])
    columns = ("metric", "value", "95 % interval")[: 3 if any(row[2] for row in measured) else 2]
    page.sections = [
        Section("Metrics", found["text"], columns, [row[: len(columns)] for row in measured]),
        Section("Warnings", [str(record[key]) for key in ("warning", "reason") if record.get(key)]),
        Section("Most confused", (), ("true", "taken for", "how often"), found["confused"]),
        Section("Curves and pictures", pictures=[(path, SHOWS.get(path.stem, path.stem)) for path in paths]),
        Section("Data", [f"classes: {', '.join(map(str, classes))}"] if classes else [], ("what", "value"), rows),
        Section("Model", (), ("what", "value"), [("network", network), *((k, show(v)) for k, v in model.items())]),
        Section("Hyperparameters", [f"changed: {changed or 'nothing'}"], ("key", "value"),
                [(key, show(value)) for key, value in flat.items()], folded=True),
        Section("How to load it", code=_loading(folder)),
        Section("Versions", (), ("what", "value"), _versions(record)),
    ]  # fmt: skip
    return write_page(folder, page)


def shown_config(folder: Path) -> dict[str, Any]:
    """Return the config of a run, as a stranger may have written it; {} where there is none."""
    try:
        return all_printable(read_config(folder))
    except CheckpointError:
        return {}


def _found(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What gradloop-explain and gradloop-evaluate have measured of the weights that are the best."""
    explained, evaluated = _json(folder / "explain" / "explain.json"), _json(folder / "evaluation.json")
    best = (record.get("best") or {}).get("step")
    of_best = explained.get("step", best) == best
    found: dict[str, Any] = {"text": [], "confused": [], "intervals": {}, "of_best": of_best}
    bootstrap = evaluated.get("bootstrap")
    if evaluated.get("step", best) != best or not isinstance(bootstrap, dict) or bootstrap.get("confidence") != 0.95:
        evaluated = {}
    if not of_best:
        explained = {}
    try:
        if findings := explained.get("findings"):
            text = "; ".join(map(str, findings))
            found["text"] = [f"{text[:1].upper()}{text[1:]}."]
        found["confused"] = [[str(cell) for cell in row] for row in explained.get("most_confused", [])]
        every = {**explained.get("intervals", {}), **evaluated.get("intervals", {})}
        found["intervals"] = {str(name): (float(low), float(high)) for name, (low, high) in every.items()}
    except (ValueError, LookupError, TypeError, AttributeError):  # a stranger's
        pass
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = all_printable(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _metrics(record: dict[str, Any], intervals: dict[str, tuple[float, float]]) -> list[tuple[str, str, str]]:
    monitored = (record.get("monitor") or {}).get("metric")
    metrics = record.get("metrics") or {}
    values = {name: "" if value is None else f"{value:.4g}" for name, value in metrics.items()}
    ends = {name: f"{low:.4g} to {high:.4g}" for name, (low, high) in intervals.items()}
    names = sorted(metrics, key=lambda name: (name != monitored, name))
    return [(name, values[name], ends.get(name, "")) for name in names]


def _place(path: Path) -> tuple[int, str]:
    return (list(SHOWS).index(path.stem) if path.stem in SHOWS else len(SHOWS), path.stem)


def _loading(folder: Path) -> str:
    from gradloop.config.overrides import typed  # with it comes Hydra, which no --help needs

    folder = folder.absolute()  # the page is read from anywhere
    return (
        f"import gradloop\n\nmodel = gradloop.load({str(folder)!r})  # checkpoints/best.ckpt\n\n"
        f"# gradloop-evaluate {typed('run', folder)}\n# gradloop-explain {typed('run', folder)}"
    )


def _versions(record: dict[str, Any]) -> list[tuple[str, str]]:
    rows = list((record.get("versions") or {}).items())
    rows += [(key, record.get(key)) for key in ("platform", "started", "finished", "signature")]
    rows += [("commit", (record.get("git") or {}).get("commit"))]
    rows += [(f"seconds, {key}", f"{v:.1f}") for key, v in (record.get("durations") or {}).items() if v is not None]
    return [(str(key), show(value)) for key, value in rows if value is not None]
