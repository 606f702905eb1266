"""What people call a run: the keys that were varied, as short as they can be told apart."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST = 80  # letters of an entry's name
UNSAFE = re.compile(r'[\x00-\x1f/\\:*?"<>|]+')  # in the name of a folder, on one system or another


# words in the names of metrics that are to rise, and of those that are to fall
RISING = {"acc", "accuracy", "f1", "f1score", "fbeta", "auroc", "auc", "roc", "auprc", "r2", "r2score", "ap", "map",
          "iou", "miou", "jaccard", "dice", "precision", "recall", "sensitivity", "specificity", "top", "psnr",
          "snr", "ssim", "score", "match", "kappa", "mcc", "matthews", "pearson", "spearman", "kendall",
          "concordance", "similarity", "ndcg", "mrr", "hits", "bleu", "rouge", "meteor", "reward", "return",
          "likelihood"}  # fmt: skip
FALLING = {"loss", "error", "err", "mae", "mse", "rmse", "mape", "smape", "msle", "nll", "bce", "entropy",
           "negative", "perplexity", "ppl", "wer", "cer", "fid", "lpips", "hamming", "hinge", "brier", "ece",
           "calibration", "divergence", "kl", "distance", "fpr", "fnr", "eer", "regret", "cost"}  # fmt: skip
STAGED = re.compile(r"(?P<stage>train|val|test)[/_](?P<quantity>.+)")


def words(name: str) -> set[str]:
    """Return the words of a metric's name: val, acc, best of "val/acc_best"; binary, f1, score of "BinaryF1Score"."""
    parts = re.split(r"[^A-Za-z0-9]+", name)
    parts += [word for part in parts for word in re.split(r"(?<=[a-z0-9])(?=[A-Z])", part)]
    found = {part.lower() for part in parts}
    return found | {word.rstrip("0123456789") for word in found}  # top5, acc1


def has_direction(name: str) -> bool:
    """Whether a metric's name says which way is better."""
    return bool(words(name) & (RISING | FALLING))


def mode_of(name: str) -> str:
    """Return whether a metric of that name is to rise (max) or to fall (min)."""
    found = words(name)
    return "max" if found & RISING and not found & FALLING else "min"


def show(value: Any) -> str:
    """A value as one would type it: 0.001, adam, null, [16,16]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False).replace(" ", "")
    return str(value)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """`["optimizer.lr", "model.dims"]` -> lr, dims; as much of a key's end as no other key has."""
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        free = (end for end in ends if not any(k != key and (k == end or k.endswith(f".{end}")) for k in keys))
        names[key] = next(free, key)
    return names


def label(values: Mapping[str, Any]) -> str:
    """`lr=0.01 dims=[64]`, fit for a folder's name; "" of no values."""
    names = short_names(list(values))
    text = " ".join(f"{names[key]}={show(value)}" for key, value in values.items())
    return UNSAFE.sub("_", text)[:LONGEST].strip(" .")


def event_folder(run: Path) -> Path:
    """Where a run's event files lie, or will: TensorBoard names the run's one entry after it.

    In a sweep it is `<number>/lr=0.01 dims=[64]`, after the values in the sweep's plan; else `<run>/tensorboard`.
    """
    there = sorted(run.glob("*/events.out.tfevents.*"))
    if there:
        return there[0].parent
    try:
        plan = json.loads((run.parent / "sweep.json").read_text(encoding="utf-8"))
        values = dict(next(job["values"] for job in plan["jobs"] if str(job["number"]) == run.name))
        if len({str(job["values"].get("seed")) for job in plan["jobs"]}) == 1:
            values.pop("seed", None)
        return run / (label(values) or "tensorboard")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError):
        return run / "tensorboard"


def tag(name: str) -> str:
    """Return what TensorBoard, which sorts by letters, calls a measurement: `loss/train`, `metric/accuracy/val`, …

    So losses come first, then metrics, then `optimizer/lr`, and training and validation of a quantity are neighbours.
    """
    told = STAGED.fullmatch(name)
    if told is not None and told["stage"] != "test" and "/" not in told["quantity"]:
        # what Lightning's `self.log` has of both step and epoch: the epoch's is the curve
        quantity, step = told["quantity"].removesuffix("_epoch"), "_step" * told["quantity"].endswith("_step")
        stage, quantity = told["stage"] + step, quantity.removesuffix("_step")
        return f"loss/{stage}" if quantity == "loss" else f"metric/{quantity}/{stage}"
    if name == "lr":
        return "optimizer/lr"
    return name if "/" in name else f"parameter/{name}"
