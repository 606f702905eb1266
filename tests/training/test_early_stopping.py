"""A run ends by itself where what it follows gets no better, whatever is validated, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_runs import train

STOPPING = ["callbacks=early_stopping", "callbacks.early_stopping.patience=2"]
MUCH = "callbacks.early_stopping.min_delta=0.1"
STILL = ["data=digits", "optimizer.lr=1e-12"]
OWN = ["data=digits", "logger=none", "module.lr=1e-12", "allow=[own_lightning]"]
GAN = [*OWN, "module._target_=own_lightning.GAN"]
AUTOENCODER = [*OWN, "module._target_=own_lightning.LitAutoEncoder"]
TWICE = "trainer.check_val_every_n_epoch=2"
pytestmark = pytest.mark.filterwarnings("ignore:.*(no `validation_step`|already saved during checkpointing).*")


def test_early_stopping_follows_the_run_s_monitor(tmp_path: Path) -> None:
    options = ["data=synthetic_classification", "callbacks=early_stopping", "callbacks.early_stopping.patience=2"]
    record = train(tmp_path, *options, "trainer.max_epochs=60", "optimizer.lr=0.05")
    assert record["monitor"]["metric"] == "val/accuracy"
    assert record["epochs"] == record["found"]["stopped_epoch"] == record["best"]["epoch"] + 2
    enough = train(tmp_path, *options, "monitor=val/loss", "callbacks.early_stopping.threshold=0.6")
    assert enough["metrics"]["val/loss"] < 0.6
    assert enough["epochs"] == enough["best"]["epoch"]


@pytest.mark.parametrize(
    ("options", "monitor", "epochs"),
    [
        ([*STILL], "val/accuracy", 3),
        ([*STILL, TWICE], "val/accuracy", 6),
        ([*STILL, TWICE, "monitor=train/loss"], "train/loss", 3),
        ([*STILL, TWICE, "trainer.limit_val_batches=0"], "train/accuracy", 3),
        ([*AUTOENCODER, TWICE], "val_loss", 6),
        ([*GAN], "g_loss", 3),
    ],
)
def test_nothing_that_stands_still_goes_on(options: list[str], monitor: str, epochs: int, tmp_path: Path) -> None:
    record = train(tmp_path, *options, *STOPPING, MUCH, "trainer.max_epochs=9")
    assert record["monitor"]["metric"] == monitor
    assert record["epochs"] == record["found"]["stopped_epoch"] == epochs
