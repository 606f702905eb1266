"""What every dataset here shares: facts before loading, splits after it, loaders over the splits."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Collection, Sequence
from inspect import Signature, signature
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.config.targets import handed_on
from gradloop.data.batches import Batches, BatchTransform, Split, batches_of
from gradloop.data.data_checks import Facts, Task, check_splits, declared, sums_of
from gradloop.data.knobs import check
from gradloop.errors import ConfigError, DataError, GradloopError, said

EVALUATED = 2**18  # numbers of a table that go through the network at once in validation and test


class DataModule(pl.LightningDataModule):
    """Splits of tensors and the loaders over them.

    A dataset declares `input_shape`, `num_outputs` and `task` before it loads anything (see `Facts`), so that network
    and loss can be built from them, and implements `load`.
    """

    input_shape: tuple[int, ...] = None  # type: ignore[assignment]  # not declared, likewise the next two
    num_outputs: int = None  # type: ignore[assignment]
    task: Task = None  # type: ignore[assignment]
    class_names: tuple[str, ...] | None = None
    input_names: tuple[str, ...] | None = None
    input_dtype: str = "float32"
    target_shape: tuple[int, ...] | None = None  # (num_outputs,)
    limited: Collection[str] = ()  # parts of which the Trainer takes some batches only
    size_is_found = False  # the batch size, by the run
    copies = False  # of the batches: for networks of others, which may work in place
    seeded_rows = True  # whether `load` may look at `seed`; where it does not, runs of many seeds share one table

    def __init_subclass__(cls) -> None:
        """Show in the signature of a data set with `**knobs` those that its base classes take; of gradloop's own."""
        super().__init_subclass__()
        if not cls.__module__.startswith("gradloop."):
            if "__init__" in vars(cls):  # else it has that of its base
                cls.__signature__ = Signature(list(signature(cls.__init__).parameters.values())[1:])
            own = vars(cls).keys()
            if own & {"load", "__init__"} and "seeded_rows" not in own:  # they may look at `seed`, if no base does
                cls.seeded_rows = True
            return
        cls.__signature__ = Signature(list(handed_on(cls).values()))

    def __init__(
        self,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
        sampling: str | Sequence[float] | None = None,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        super().__init__()
        check("data", "DataModule", batch_size=batch_size, sampling=sampling, folds=folds, fold=fold)
        self.batch_size, self.seed, self.shuffle, self.drop_last = batch_size, seed, shuffle, drop_last
        self.sampling, self.folds, self._fold = sampling, folds, fold
        if sampling is not None and not shuffle:
            raise ConfigError("data.sampling: draws its own order; leave data.shuffle=true")
        self._fold_asked = False
        if (folds is None) != (fold is None) or (folds is not None and fold is not None and fold >= folds):
            raise ConfigError(f"data.fold={fold}, folds={folds}: expected data.fold=0 to the number of folds - 1")
        self.splits: dict[str, Split] = {}
        self._weights: Tensor | None = None
        self._sums: dict[str, list[float]] = {}
        self.loop: Any = None  # of the run that trains on this: it knows where that stands

    @property
    def fold(self) -> int | None:
        """Which fold of a cross-validation is held out: `load` has to ask for it."""
        self._fold_asked = True
        return self._fold

    @property
    def facts(self) -> Facts:
        """What is declared; `DataError` if nothing can be built from it."""
        return declared(self)

    def check(self) -> None:
        """Raise `DataError` for what can be seen without loading: a folder that is not there, say."""

    @abstractmethod
    def load(self) -> dict[str, Split]:
        """Return the splits "train", "val" and "test"; raise `DataError` if they can't be had."""

    def train_transform(self) -> BatchTransform | None:
        """What happens to a batch in training."""
        return self.eval_transform()

    def eval_transform(self) -> BatchTransform | None:
        """What happens to a batch in validation and test: nothing random."""
        return None

    def preprocessing(self) -> dict[str, Any]:
        """Plain facts that somebody needs who feeds the exported model by hand."""
        return {"input_shape": list(self.input_shape), "class_names": list(self.class_names or [])}

    def take_over(self, preprocessing: dict[str, Any]) -> None:
        """Use what a run's training part said, as `preprocessing` told it, where that could be learned otherwise."""

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        try:
            splits = self.load()
        except GradloopError:
            raise
        except Exception as error:  # a data module raises what it likes
            raise DataError(f"data: {type(self).__name__} can't load: {said(error)}") from error
        if self._fold is not None and not self._fold_asked:
            raise DataError(f"data.fold={self._fold}: {type(self).__name__}.load does not look at self.fold")
        transformed = type(self).eval_transform is not DataModule.eval_transform
        check_splits(type(self).__qualname__, self.facts, splits, transformed=transformed)
        most = len(splits["train"])
        self.batch_size = min(self.batch_size, most) if self.size_is_found else self.batch_size
        if self.batch_size > most:
            raise ConfigError(f"data.batch_size={self.batch_size}: larger than the training part ({most} samples)")
        self.splits = splits
        self.sample_weights()  # refuses what the targets have no use for

    @property
    def class_counts(self) -> list[int] | None:
        """How many training samples each class has, once loaded; of a multilabel task, each label. None: no classes.

        A binary task counts both answers: [no, yes].
        """
        if self.facts.task == "regression":
            return None
        targets = self.splits["train"].targets
        if self.facts.task == "multilabel":
            return targets.sum(0).long().tolist()
        return torch.bincount(targets.flatten().long(), minlength=max(2, self.facts.num_outputs)).tolist()

    def class_weights(self) -> list[float]:
        """Return what makes classes count equally in a loss; raise ConfigError where there are none.

        `samples / (classes · samples of the class)` of the classes that the training part has (King & Zeng 2001, as
        in scikit-learn); of a binary or multilabel task `no's / yes's`, one a label. 1 where there is no such sample.
        """
        counts, samples = self.class_counts, len(self.splits["train"])
        if counts is None:
            raise ConfigError("loss.weight: weighs classes, and this data is regression; expected null")
        if self.facts.task == "multiclass":
            present = sum(n > 0 for n in counts)
            return [samples / (present * n) if n else 1.0 for n in counts]
        yes = counts[1:] if self.facts.task == "binary" else counts
        return [(samples - n) / n if 0 < n < samples else 1.0 for n in yes]

    def sample_weights(self) -> Tensor | None:
        """Return how often each training sample is drawn, float64 [N], for `data.sampling`; None: once an epoch.

        balanced: every class equally often, 1 / count of its class. A list has a weight a class, of each sample.
        """
        if self.sampling is None:
            return None
        counts, task = self.class_counts, self.facts.task
        if counts is None or task == "multilabel":
            raise ConfigError(f"data.sampling: weighs classes, and this data is {task}; expected null")
        weights = [1 / max(1, n) for n in counts] if self.sampling == "balanced" else list(self.sampling)
        if len(weights) != len(counts) or not any(w and n for w, n in zip(weights, counts, strict=True)):
            raise ConfigError(f"data.sampling={weights}: expected {len(counts)} weights, one a class, not all 0")
        return torch.tensor(weights, dtype=torch.float64)[self.splits["train"].targets.flatten().long().cpu()]

    def fingerprint(self) -> str:
        """Hash of every split's content: two runs with one fingerprint saw the same data."""
        digest = hashlib.blake2b(digest_size=16)
        for name, split in sorted(self.splits.items()):
            digest.update(name.encode())
            for tensor in (split.inputs, split.targets):
                digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
                digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def sums(self) -> dict[str, list[float]]:
        """Return a few sums of every part, which other data have otherwise: equal but for rounding on any machine."""
        if not self._sums:
            for name, split in self.splits.items():
                self._sums[name] = [len(split), *sums_of(split.inputs), *sums_of(split.targets)]
        return self._sums

    def batches_an_epoch(self, processes: int) -> int:
        """Return how many training batches each of several processes has."""
        samples = math.ceil(len(self.splits["train"]) / processes)
        return batches_of(samples, self.batch_size, drop_last=self.drop_last)

    def train_batches(self) -> Any:
        """Return the training part's `Batches`."""
        return self._batches("train", shuffle=self.shuffle)

    def train_dataloader(self) -> Any:
        """Return the batches, in a fit from where its loop stands."""
        batches = self.train_batches()
        return batches if self.loop is None else self.loop.batches(batches)

    def seen(self, part: str, rows: Tensor) -> Tensor:
        """Return some inputs of a part as evaluation sees them: [len(rows), *input_shape]."""
        batches = Batches(self.splits[part], batch_size=len(rows), transform=self.eval_transform())
        return batches.gather(rows, epoch=0, positions=rows)[0]

    def sample(self, count: int) -> Tensor:
        """Return some training inputs, spread over the part, as evaluation sees them: [n, *input_shape]."""
        size = len(self.splits["train"])
        return self.seen("train", torch.linspace(0, size - 1, min(count, size), dtype=torch.float64).long())

    def val_dataloader(self) -> Any:
        return self._batches("val", shuffle=False)

    def test_dataloader(self) -> Any:
        return self._batches("test", shuffle=False)

    def _batches(self, part: str, *, shuffle: bool) -> Batches:
        training, trainer = part == "train", self.trainer
        if training and self._weights is None:
            self._weights = self.sample_weights()
        return Batches(
            self.splits[part],
            batch_size=self.batch_size if training else self._evaluation_batch_size(part),
            seed=self.seed,
            shuffle=shuffle,
            weights=self._weights if training else None,
            drop_last=self.drop_last and training,
            transform=self.train_transform() if training else self.eval_transform(),
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            copies=self.copies,
            # the same batches in every epoch, as in Lightning; but drawn: a folder's begin with one class
            fixed=training and trainer is not None and trainer.overfit_batches > 0,
        )

    def _evaluation_batch_size(self, part: str) -> int:
        """Return how many samples validation and test take at once: of a table as many as are small together.

        Where a limit counts batches, they are those of `batch_size`.
        """
        if len(self.input_shape) > 1 or self.input_dtype != "float32" or part in self.limited:
            return self.batch_size
        return max(self.batch_size, EVALUATED // self.input_shape[0])
