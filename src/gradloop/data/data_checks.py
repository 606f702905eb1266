"""What a data module declares and what it loads: refused in one line where training would fail late, or mislead."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gradloop.data.batches import Split
from gradloop.data.pictures.picture_store import StoredPictures
from gradloop.errors import DataError, did_you_mean

Task = Literal["regression", "binary", "multiclass", "multilabel"]
TASKS: tuple[str, ...] = get_args(Task)
INPUTS = {"float32": torch.float32, "int64": torch.int64}


@dataclass(frozen=True)
class Facts:
    """What a data module declares before it loads anything: network, loss and metrics are built from them.

    input_shape: of one sample. num_outputs: logits or values a sample.
    class_names: one a class, of a multilabel task one a label. input_names: one a column of a table.
    input_dtype: what the network is fed: "float32", or "int64" for numbers of tokens or categories (an Embedding).
    target_shape: of one target; (num_outputs,) but for a dense regression, which has num_outputs values at each
        place: channels first (a picture's) or last (a sequence's). The network gives outputs of this shape.
    """

    input_shape: tuple[int, ...]
    num_outputs: int
    task: Task
    class_names: tuple[str, ...] | None
    input_names: tuple[str, ...] | None
    input_dtype: str
    target_shape: tuple[int, ...]


def input_type(facts: Mapping[str, Any]) -> torch.dtype:
    """Return what the network is fed. facts: also of an older checkpoint, which does not say."""
    return INPUTS[facts.get("input_dtype") or "float32"]


def blank(samples: int, facts: Mapping[str, Any], **options: Any) -> Tensor:
    """Return inputs of zeros as the data feeds them, [samples, *input_shape]."""
    return torch.zeros(samples, *facts["input_shape"], dtype=input_type(facts), **options)


def declared(data: Any) -> Facts:
    """Return what a `DataModule` declares; raise DataError for what no network, loss or metrics can be built from."""
    name = type(data).__qualname__
    shape, outputs, task = data.input_shape, data.num_outputs, data.task
    for fact, value in (("input_shape", shape), ("num_outputs", outputs), ("task", task)):
        if value is None:
            raise DataError(f"data: {name} does not declare {fact}; it needs input_shape, num_outputs and task")
    _check_shape(name, "input_shape", shape)
    if not _counts(outputs):
        raise DataError(f"data: {name} declares num_outputs={outputs!r}; expected a whole number, 1 or more")
    if task not in TASKS:
        near = "; did you mean 'multiclass'?" if "clas" in str(task) else did_you_mean(str(task), TASKS)
        raise DataError(f"data: {name} declares task={task!r}; expected {', '.join(TASKS)}{near}")
    if task == "binary" and outputs != 1:
        raise DataError(
            f"data: {name} declares task='binary' with num_outputs={outputs}; binary data has one output "
            "(for several yes/no labels a sample, task='multilabel'; for classes, task='multiclass')"
        )
    if task in ("multiclass", "multilabel") and outputs < 2:
        raise DataError(
            f"data: {name} declares task={task!r} with num_outputs=1; expected 2 or more, or task='binary'"
        )
    if data.input_dtype not in INPUTS:
        near = did_you_mean(str(data.input_dtype), INPUTS)
        raise DataError(f"data: {name} declares input_dtype={data.input_dtype!r}; expected float32 or int64{near}")
    target = (outputs,) if data.target_shape is None else data.target_shape
    _check_shape(name, "target_shape", target)
    if outputs not in (target[0], target[-1]) or (task != "regression" and tuple(target) != (outputs,)):
        expected = f"({outputs},)" if task != "regression" else f"{outputs} (num_outputs) values first or last"
        raise DataError(f"data: {name} declares target_shape={target!r}; a {task} task needs {expected}")
    classes = None if task == "regression" else 2 if task == "binary" else outputs
    columns = shape[0] if len(shape) == 1 else None
    return Facts(
        tuple(shape),
        outputs,
        task,
        _names(name, "class_names", data.class_names, classes),
        _names(name, "input_names", data.input_names, columns),
        data.input_dtype,
        tuple(target),
    )


def _check_shape(name: str, fact: str, shape: Any) -> None:
    if not isinstance(shape, tuple | list) or not shape or not all(_counts(size) for size in shape):
        raise DataError(
            f"data: {name} declares {fact}={shape!r}; expected one sample's shape, as in (3,) or (1, 28, 28)"
        )


def _names(name: str, fact: str, names: Any, count: int | None) -> tuple[str, ...] | None:
    """Return declared names as a tuple, or None for none. count: how many there must be, if that is known."""
    if names is None or count is None:
        return tuple(names) if names else None
    if not isinstance(names, tuple | list) or not all(type(word) is str for word in names):
        raise DataError(f"data: {name} declares {fact} as a {_kind(names)}; expected a tuple of str, or None")
    if names and len(names) != count:
        raise DataError(f"data: {name} declares {len(names)} {fact}; expected {count}")
    return tuple(names) or None


def check_splits(name: str, facts: Facts, splits: Any, *, transformed: bool) -> None:
    """Raise DataError for what `load` returned if it is not what the module declares.

    name: of the module's class. transformed: it has an eval_transform, which may turn inputs of any whole-number
    type into float32.
    """
    if not isinstance(splits, dict):
        gave = "nothing (is a return missing?)" if splits is None else f"a {_kind(splits)}"
        raise DataError(
            f"data: load() of {name} returned {gave}; expected a dict of a Split each for train, val, test"
        )
    for part in ("train", "val", "test"):
        if part not in splits:
            raise DataError(f"data: {name} has no {part} part; load() returns train, val and test")
        split = splits[part]
        if not isinstance(split, Split):
            hint = f"; wrap it: Split(*…) in load() of {name}" if _kind(split) in ("tuple", "list") else ""
            raise DataError(
                f"data: the {part} part is a {_kind(split)}; expected gradloop.data.batches.Split(inputs, targets)"
                f"{hint}"
            )
        for what, tensor in (("inputs", split.inputs), ("targets", split.targets)):
            if not isinstance(tensor, Tensor | StoredPictures):
                hint = ", as torch.from_numpy(…) gives" if _kind(tensor) == "numpy.ndarray" else ""
                raise DataError(
                    f"data: the {part} part's {what} are a {_kind(tensor)}; expected a torch.Tensor{hint}"
                )
            if isinstance(tensor, Tensor) and (tensor.layout != torch.strided or tensor.requires_grad):
                raise DataError(
                    f"data: the {part} part's {what} are sparse or require gradients; expected a plain tensor "
                    "(to_dense(), detach())"
                )
        _check_split(facts, part, split, transformed)


def _check_split(facts: Facts, part: str, split: Split, transformed: bool) -> None:
    """Refuse a part that can't be what the module declares; loss and metrics would be nonsense, or fail late."""
    inputs, targets = split.inputs, split.targets
    if not len(inputs.shape) or not len(targets.shape):
        raise DataError(f"data: the {part} part holds a single number; expected one row a sample")
    if len(split) == 0:
        raise DataError(f"data: the {part} part is empty: more samples or another fraction are needed")
    if len(inputs) != len(targets):
        raise DataError(f"data: the {part} part has {len(inputs)} inputs and {len(targets)} targets")
    if split.names is not None and len(split.names) != len(targets):
        raise DataError(f"data: the {part} part has {len(split.names)} names and {len(targets)} targets")
    wanted = INPUTS[facts.input_dtype]
    if inputs.dtype != wanted and (inputs.is_floating_point() or wanted == torch.int64 or not transformed):
        raise DataError(
            f"data: the {part} part's inputs are {_dtype(inputs)}; expected {facts.input_dtype}, as inputs."
            + ("float() gives" if wanted == torch.float32 else "long() gives")
            + ("" if inputs.is_floating_point() else ', input_dtype = "int64" for tokens, or an eval_transform')
        )
    if inputs.dtype != torch.uint8:  # pictures may be stored larger than the network sees them
        if tuple(inputs.shape[1:]) != facts.input_shape:
            shapes = f"{tuple(inputs.shape[1:])}, and the module declares {facts.input_shape}"
            raise DataError(f"data: the {part} part's inputs have the shape {shapes}")
        if not all(torch.isfinite(some).all() for some in inputs.split(2**16)):  # at once it takes memory thrice
            raise DataError(f"data: the {part} part holds NaN or infinite inputs")
    if targets.is_floating_point() and not torch.isfinite(targets).all():
        raise DataError(f"data: the {part} part holds NaN or infinite targets")
    if facts.task == "multiclass":
        fits = targets.dtype == torch.long and targets.ndim == 1
        expected = "int64 [N]"
    else:
        fits = targets.dtype == torch.float32 and tuple(targets.shape[1:]) == facts.target_shape
        expected = f"float32 [N, {', '.join(map(str, facts.target_shape))}]"
    if not fits:
        raise DataError(
            f"data: the {part} part's targets are {_dtype(targets)} {list(targets.shape)}; "
            f"{facts.task} data needs {expected}"
        )
    if facts.task == "regression":
        return
    low, high = float(targets.min()), float(targets.max())
    most = facts.num_outputs - 1 if facts.task == "multiclass" else 1
    if low < 0 or high > most:
        raise DataError(f"data: the {part} part has targets from {low:g} to {high:g}; expected classes 0 to {most}")
    if facts.task != "multiclass" and not ((targets == 0) | (targets == 1)).all():
        raise DataError(f"data: the {part} part has {facts.task} targets between 0 and 1; expected 0 or 1")
    if part == "train" and low == high:
        raise DataError(f"data: the training part holds one class only ({low:g}): nothing to tell apart")


def _counts(value: Any) -> bool:
    return type(value) is int and value > 0  # a plain one: a checkpoint gives nothing else back


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def sums_of(values: Any) -> list[float]:
    """Root of the mean square, mean of the rows' weighted sums, and mean of these times their place: [N, ...]."""
    if not isinstance(values, Tensor):  # pictures that stay on disk
        return []
    square = total = placed = 0.0
    step = max(1, min(1024, 2**20 // max(1, values[0].numel())))  # samples may be large
    for start in range(0, len(values), step):
        rows = values[start : start + step].reshape(len(values[start : start + step]), -1)
        rows = rows.float() if rows.dtype == torch.uint8 else rows.double()
        weighted = rows @ torch.linspace(1, 2, rows.shape[1], dtype=rows.dtype, device=rows.device) / rows.shape[1]
        places = torch.arange(start, start + len(rows), dtype=rows.dtype, device=rows.device) / len(values)
        square += float(rows.square().mean(1).sum())
        total, placed = total + float(weighted.sum()), placed + float(weighted @ places)
    return [math.sqrt(square / len(values)), total / len(values), placed / len(values)]
