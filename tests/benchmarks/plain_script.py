"""A script of Hydra, Lightning and TensorBoard as people write it: `python plain_script.py -m lr=1e-3,1e-2 seed=0,1`.

The same job as experiment=synthetic_classification, without gradloop: what a sweep there is compared with.
"""

from __future__ import annotations

from typing import Any

import hydra
import lightning.pytorch as pl
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional import accuracy

ConfigStore.instance().store(name="plain", node={"lr": 1e-3, "seed": 0, "epochs": 100})


class Classifier(pl.LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))

    def step(self, batch: Any, stage: str) -> torch.Tensor:
        inputs, targets = batch
        outputs = self.network(inputs)
        loss = nn.functional.cross_entropy(outputs, targets)
        right = accuracy(outputs, targets, task="multiclass", num_classes=2)
        self.log_dict({f"{stage}/loss": loss, f"{stage}/accuracy": right}, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, index: int) -> None:
        self.step(batch, "val")

    def test_step(self, batch: Any, index: int) -> None:
        self.step(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


@hydra.main(config_name="plain", version_base="1.3")
def main(config: Any) -> None:
    torch.set_num_threads(1)
    pl.seed_everything(config.seed)
    inputs, labels = make_classification(
        1000, 20, n_informative=2, n_redundant=2, flip_y=0.01, class_sep=1.0, random_state=42
    )
    parts = train_test_split(inputs, labels, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(parts[0])
    train, test = (
        TensorDataset(torch.from_numpy(scaler.transform(x)).float(), torch.from_numpy(y))
        for x, y in ((parts[0], parts[2]), (parts[1], parts[3]))
    )
    folder = HydraConfig.get().runtime.output_dir
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=config.epochs,
        default_root_dir=folder,
        logger=TensorBoardLogger(folder),
        callbacks=[ModelCheckpoint(monitor="val/accuracy", mode="max", save_last=True)],
        enable_progress_bar=False,
    )
    loaders = DataLoader(train, 32), DataLoader(test, 32)
    module = Classifier(config.lr)
    trainer.fit(module, *loaders)
    trainer.test(module, loaders[1], verbose=False)


if __name__ == "__main__":
    main()
