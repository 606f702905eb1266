"""What a module says of every sample of a part, and how wrong that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from gradloop.data.batches import limited
from gradloop.data.data_module import DataModule
from gradloop.runs.foreign_text import csv_text
from gradloop.training.supervised import Supervised


@dataclass(frozen=True)
class Predictions:
    """Outputs, targets and names of N samples.

    outputs: raw, float32 [N, num_outputs]. targets: as in the split, or None where nobody knows them.
    """

    module: Supervised
    outputs: Tensor
    targets: Tensor | None
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def facts(self) -> dict[str, Any]:
        """What the data declared: task, shapes, names."""
        return self.module.recipe["facts"]

    @property
    def is_classification(self) -> bool:
        return self.facts["task"] != "regression"

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes; two for a binary task."""
        return list(self.facts["class_names"] or map(str, range(max(2, self.facts["num_outputs"]))))

    @cached_property
    def probabilities(self) -> Tensor:
        """[N, C], rows sum to one; a binary task has two columns, as if its logit were two."""
        probabilities = self.module.predictions(self.outputs)
        return torch.cat([1 - probabilities, probabilities], 1) if self.outputs.shape[1] == 1 else probabilities

    @cached_property
    def values(self) -> Tensor:
        """[N, num_outputs], of a regression."""
        return self.module.predictions(self.outputs)

    @cached_property
    def confidence(self) -> Tensor:
        """[N], the probability of the predicted class."""
        return self.probabilities.amax(1)

    @cached_property
    def predicted(self) -> Tensor:
        """int64 [N], the class with the largest probability; of a binary task, class 1 above one half."""
        binary = self.outputs.shape[1] == 1
        return (self.probabilities[:, 1] > 0.5).long() if binary else self.probabilities.argmax(1)

    @cached_property
    def labels(self) -> Tensor:
        """int64 [N], the true classes."""
        assert self.targets is not None
        return self.targets.flatten().long()

    @cached_property
    def right(self) -> Tensor:
        """bool [N], whether the predicted class is the true one."""
        return self.predicted == self.labels

    @cached_property
    def losses(self) -> Tensor:
        """[N], the run's own loss of each sample alone."""
        assert self.targets is not None
        return per_sample(self.module.loss, self.outputs, self.targets)

    def as_csv(self) -> str:
        """Return CSV text: name, target (if known), then predicted class and probabilities, or values."""
        columns: dict[str, Sequence[Any]] = {"name": self.names}
        if self.facts["task"] == "multilabel":
            names, answers = self.classes, self.module.predictions(self.outputs)
            if self.targets is not None:
                columns |= {f"target_{n}": t for n, t in zip(names, self.targets.long().T.tolist(), strict=True)}
            said = (answers > 0.5).long().T.tolist()
            columns |= {f"predicted_{name}": p for name, p in zip(names, said, strict=True)}
            columns |= {f"p_{name}": p for name, p in zip(names, answers.T.tolist(), strict=True)}
        elif self.is_classification:
            if self.targets is not None:
                columns["target"] = [self.classes[k] for k in self.labels.tolist()]
            columns["predicted"] = [self.classes[k] for k in self.predicted.tolist()]
            probabilities = self.probabilities.T.tolist()
            columns |= {f"p_{name}": p for name, p in zip(self.classes, probabilities, strict=True)}
        else:
            values = self.values.flatten(1)  # of a dense target, place by place
            count = values.shape[1]
            suffixes = [""] if count == 1 else [f"_{k}" for k in range(count)]
            if self.targets is not None:
                targets = self.targets.flatten(1).T.tolist()
                columns |= {f"target{s}": t for s, t in zip(suffixes, targets, strict=True)}
            columns |= {f"predicted{s}": v for s, v in zip(suffixes, values.T.tolist(), strict=True)}
        return csv_text(columns, zip(*columns.values(), strict=True))


@torch.no_grad()  # a loss may have weights of its own
def per_sample(loss: Any, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return [N]: the loss of each sample alone, whatever loss it is; 0 where that is no number (a weight of 0)."""
    try:
        each = torch.vmap(lambda output, target: loss(output[None], target[None]), randomness="same")(
            outputs, targets
        )
    except Exception:  # `vmap` does not take what looks at values: a mask, `item()`
        pairs = zip(outputs.split(1), targets.split(1), strict=True)
        each = torch.stack([loss(output, target).reshape(()) for output, target in pairs])
    return each.nan_to_num(nan=0.0)


@torch.no_grad()
def predict(module: Supervised, data: DataModule) -> Predictions:
    """Return what the module says of the test part, in its order; of as much as the run was tested on."""
    outputs, targets, batches = [], [], data.test_dataloader()
    limit = module.recipe["config"]["trainer"].get("limit_test_batches", 1.0)
    for inputs, wanted in islice(batches, limited(len(batches), 1.0 if limit is None else limit)):
        outputs.append(module(inputs.to(module.device)).float().cpu())
        targets.append(wanted.cpu())
    known = torch.cat(outputs)
    return Predictions(module, known, torch.cat(targets), sample_names(data)[: len(known)])


def sample_names(data: DataModule) -> list[str]:
    """Return one name a sample of the test part: what the data calls it, or its number from 0."""
    split = data.splits["test"]
    return list(map(str, range(len(split)) if split.names is None else split.names))


def spaced(count: int, most: int) -> list[int]:
    """Return so many of the numbers 0 to count - 1 at the most, evenly apart: the first ones may be of one kind."""
    chosen = min(count, most)
    return [number * count // chosen for number in range(chosen)]
