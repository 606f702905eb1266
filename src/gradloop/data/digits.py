"""scikit-learn's bundled scans of handwritten digits: real pictures, no download."""

from typing import Any

import torch
from torch import Tensor

from gradloop.data.augmentation.augmentation import Augmentation
from gradloop.data.batches import BatchTransform, Split
from gradloop.data.data_module import DataModule
from gradloop.data.knobs import check
from gradloop.data.splitting import split_table


class Digits(DataModule):
    """1,797 scans of 8 x 8 pixels and 17 grey levels, ten classes (UCI, Alpaydin & Kaynak 1998).

    Inputs are float32 [N, 1, 8, 8], scaled from 0…16 to 0…1; the parts are drawn with equal class shares.
    augmentation: the knobs of `conf/augmentation/none.yaml`; training only.
    """

    task = "multiclass"
    input_shape = (1, 8, 8)
    num_outputs = 10
    class_names = tuple(str(k) for k in range(10))
    seeded_rows = False  # it has a random_state

    def __init__(
        self,
        *,
        augmentation: dict[str, Any],
        test_fraction: float,
        val_fraction: float,
        random_state: int,
        **knobs: Any,
    ) -> None:
        super().__init__(**knobs)
        self.test_fraction, self.val_fraction = test_fraction, val_fraction
        check("data", "Digits", test_fraction=test_fraction, val_fraction=val_fraction)
        self.random_state = random_state
        self.augmentation = augmentation
        self._transform: BatchTransform | None = None

    def check(self) -> None:
        self._augmentation(num_samples=1)

    def _augmentation(self, *, num_samples: int) -> Augmentation:
        return Augmentation.of(self, num_samples=num_samples, mean=(0.0,), std=(1.0,))

    def train_transform(self) -> BatchTransform | None:
        if self._transform is None:
            augmentation = self._augmentation(num_samples=len(self.splits["train"]))
            self._transform = _OfFloats(augmentation) if augmentation.active else None
        return self._transform

    def load(self) -> dict[str, Split]:
        from sklearn.datasets import load_digits

        scans = load_digits()
        parts = split_table(
            len(scans.target),
            test_fraction=self.test_fraction,
            val_fraction=self.val_fraction,
            random_state=self.random_state,
            labels=scans.target,
            folds=self.folds,
            fold=self.fold,
        )
        inputs = torch.from_numpy(scans.images).float().unsqueeze(1) / 16  # [N, 8, 8] -> [N, 1, 8, 8]
        targets = torch.from_numpy(scans.target).long()
        return {
            name: Split(inputs[rows], targets[rows], [f"digit_{row}" for row in rows]) for name, rows in parts.items()
        }


class _OfFloats(BatchTransform):
    """An augmentation of bytes, for pictures that are floats from 0 to 1 already."""

    def __init__(self, augmentation: Augmentation) -> None:
        self.inner = augmentation

    def gather(
        self, inputs: Tensor, rows: Tensor, targets: Tensor, *, epoch: int, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.inner(inputs[rows] * 255, targets, epoch=epoch, positions=positions, rows=rows)
