"""Callbacks, optimizers and loggers of other projects, with a network that gradloop trains."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import Logger

import gradloop
from gradloop.runs.checkpoint_files import read_checkpoint
from one_line import assert_one_line

SMALL = ["data=digits", "trainer.max_epochs=2", "trainer.limit_train_batches=6", "seed=1", "logger=none"]


class Noise(pl.Callback):
    """Draws from every generator before a batch is trained on."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, number: int) -> None:
        batch[0].add_(torch.randn_like(batch[0]) * random.random() * np.random.rand())


class Chance(torch.nn.Module):
    """Skips a layer by Python's own chance."""

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(in_features, in_features)
        self.last = torch.nn.Linear(in_features, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.last(x + self.first(x) if not self.training or random.random() < 0.5 else x)


class Skips(pl.LightningModule):
    """Leaves out the rest of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)

    def on_train_batch_start(self, batch: Any, number: int) -> int | None:
        return -1 if number >= 3 else None

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def validation_step(self, batch: Any, number: int) -> None:
        self.log("val_loss", self.training_step(batch, number))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class ByUrl(Logger):
    name, version = "by_url", "0"
    rows: list[dict[str, float]] = []  # noqa: RUF012

    def __init__(self, url: str) -> None:
        super().__init__()

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append(metrics)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


class Climbs(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        assert closure is not None, "two passes"
        return super().step(closure)


def weights(run: dict) -> dict[str, torch.Tensor]:
    return read_checkpoint(Path(run["folder"]) / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.mark.parametrize("own", [{"callbacks": [Noise()]}, {"model": Chance}])
def test_equal_seeds_give_equal_weights_whatever_draws(own, train, tmp_path):
    one, two = (gradloop.train([*SMALL, f"output_dir={tmp_path}"], **own) for _ in range(2))
    for name, weight in weights(one).items():
        assert torch.equal(weight, weights(two)[name])


def test_a_stop_changes_nothing_where_a_callback_draws_before_a_batch(tmp_path, monkeypatch):
    lines = [*SMALL, "+callbacks.noise._target_=test_own_callbacks.Noise"]
    whole = gradloop.train([*lines, f"output_dir={tmp_path}"])
    monkeypatch.setenv("STOP_AT", f"{int(signal.SIGTERM)} 9")
    stop = ["+callbacks.stop._target_=own_callbacks.StopInBatch", f"hydra.run.dir={tmp_path / 'stopped'}"]
    with pytest.raises(gradloop.errors.RunInterrupted):
        gradloop.train([*lines, *stop])
    monkeypatch.delenv("STOP_AT")
    gradloop.train([f"resume={tmp_path / 'stopped'}", "allow=[test_own_callbacks,own_callbacks]"])
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights({"folder": tmp_path / "stopped"})[name])


def test_a_module_that_leaves_out_the_rest_of_an_epoch_trains_in_the_next(tmp_path):
    lines = [
        "module._target_=test_own_callbacks.Skips",
        "data=digits",
        "seed=1",
        "logger=none",
        "trainer.max_epochs=3",
    ]
    run = gradloop.train([*lines, f"output_dir={tmp_path}"])
    table = (Path(run["folder"]) / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in table] == ["step", "3", "6", "9"]


def test_a_logger_gets_a_folder_only_if_it_asks_for_one(tmp_path):
    ByUrl.rows.clear()
    lines = [*SMALL, "+logger.own._target_=test_own_callbacks.ByUrl", "+logger.own.url=here"]
    gradloop.train([line for line in lines if line != "logger=none"] + [f"output_dir={tmp_path}"])
    assert any("val/loss" in row for row in ByUrl.rows)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["+callbacks.x._target_=lightning.pytorch.callbacks.StochasticWeightAveraging", "+callbacks.x.swa_lrs=0.1"],
         ["StochasticWeightAveraging", "callbacks=swa"]),
        (["+callbacks.x._target_=lightning.pytorch.callbacks.BatchSizeFinder"], ["callbacks=batch_size_finder"]),
        (["optimizer._target_=test_own_callbacks.Climbs", "~optimizer.betas", "~optimizer.eps", "~optimizer.fused"],
         ["Climbs steps with a closure; a LightningModule of your own"]),
    ],
)  # fmt: skip
def test_what_takes_another_loop_for_granted_is_refused(lines, words, command, tmp_path):
    ended = command(*lines)
    assert ended.code == 2
    assert all(word in ended.err for word in words), ended.err
    assert not list(tmp_path.glob("here/outputs/train/*"))


def test_lightnings_model_checkpoint_keeps_as_many_as_it_is_told(tmp_path):
    lines = ["+callbacks.all._target_=lightning.pytorch.callbacks.ModelCheckpoint", "+callbacks.all.save_top_k=-1"]
    run = gradloop.train([*SMALL, *lines, f"output_dir={tmp_path}"])
    assert len(list(Path(run["folder"]).rglob("epoch=*.ckpt"))) == 2


def test_an_own_file_that_can_not_replace_ours_is_named(command, tmp_path):
    file = tmp_path / "own" / "model" / "simple_nn.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("_target_: mine.Net\n")
    given = command(f"--config-dir={tmp_path / 'own'}", "model=simple_nn")
    assert_one_line(given, 2, [str(file), "gradloop has a file of that name"])


def test_threads_train_one_after_the_other(tmp_path):
    given = [*SMALL, "model.dropout=0.3", f"output_dir={tmp_path}"]
    alone = {seed: gradloop.train(given, seed=seed)["metrics"] for seed in (5, 6)}
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: gradloop.train(given, seed=seed)["metrics"]}))
        for seed in alone
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_several_processes_that_no_file_can_start_are_refused(tmp_path):
    code = f"import gradloop; gradloop.train({SMALL}, 'accelerator=ddp_cpu', 'output_dir={tmp_path}')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert "trainer.devices=2: each further process is started as this one was, and '-c' is no file" in last
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("words", [["-m", "gradloop", "train"], ["-m", "gradloop.train"]])
def test_each_way_to_call_the_command_starts_several_processes(words, tmp_path):
    line = [sys.executable, *words, *SMALL, "accelerator=ddp_cpu", f"output_dir={tmp_path}"]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr


def test_what_a_session_holds_is_no_command_to_paste(tmp_path, capsys):
    class Mine(pl.Callback):
        pass

    gradloop.train([*SMALL, f"output_dir={tmp_path}"], callbacks=[Mine()])
    assert "gradloop_session" not in capsys.readouterr().out
