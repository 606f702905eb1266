"""Own networks, losses and data that draw more than weights by the seed: each run of a sweep is what it is alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import gradloop
from gradloop.runs.planning import plan
from gradloop.runs.record import read_record
from gradloop.training.population.as_one import run_population

OWN = """
from dataclasses import replace
import torch
from torch import nn
from gradloop.data.digits import Digits

class Layers(nn.Sequential):
    def __init__(self, in_features, num_classes):
        drawn = nn.ReLU() if torch.rand(()) < 0.5 else nn.Tanh()
        super().__init__(nn.Flatten(), nn.Linear(in_features, 16), drawn, nn.Linear(16, num_classes))

class Number(nn.Module):
    def __init__(self, in_features, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(in_features, 16), nn.ReLU(), nn.Linear(16, num_classes))
        self._scale = float(torch.rand(()))

    def forward(self, inputs):
        return self._scale * self.layers(inputs)

class Width(nn.Sequential):
    def __init__(self, in_features, num_classes):
        width = int(torch.randint(4, 32, ()))
        super().__init__(nn.Flatten(), nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes))

class Smoothed(nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__(label_smoothing=float(torch.rand(())) / 2)

class Noisy(Digits):
    def load(self):
        splits = super().load()
        inputs = splits["train"].inputs
        noise = 20 * torch.rand(inputs.shape, generator=torch.Generator().manual_seed(self.seed))
        return splits | {"train": replace(splits["train"], inputs=inputs + noise.to(inputs.dtype))}

class Drawing(Digits):
    def load(self):
        splits = super().load()
        inputs = splits["train"].inputs
        noise = 20 * torch.rand(inputs.shape)
        return splits | {"train": replace(splits["train"], inputs=inputs + noise.to(inputs.dtype))}
"""
DIGITS = ["data=digits", "trainer.max_epochs=2", "seed=range(3)", "callbacks.pictures=null"]


@pytest.mark.parametrize(
    "own",
    [
        "model._target_=drawn_by_seed.Layers",
        "model._target_=drawn_by_seed.Number",
        pytest.param("model._target_=drawn_by_seed.Width", marks=pytest.mark.slow),
        "loss._target_=drawn_by_seed.Smoothed",
        pytest.param("data._target_=drawn_by_seed.Noisy", marks=pytest.mark.slow),
        "data._target_=drawn_by_seed.Drawing optimizer.lr=1e-3,1e-2",
    ],
)
def test_what_own_code_draws_is_that_of_each_run(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawn_by_seed.py").write_text(OWN)
    stacked, alone = (
        gradloop.sweep([*DIGITS, *own.split(), f"sweep.population={how}", f"output_dir={tmp_path / how}"])
        for how in ("auto", "off")
    )
    runs = sorted(path.name for path in alone.folder.iterdir() if path.name.isdecimal())
    assert len(runs) == 3 * (1 + ("lr" in own))
    tables = [[(swept.folder / run / "metrics.csv").read_text() for run in runs] for swept in (stacked, alone)]
    assert tables[0] == tables[1]
    assert len(set(tables[1])) == len(runs)


def test_tables_that_do_not_fit_into_memory_together_are_trained_one_by_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gradloop.training.population.data.free_memory", lambda: 2**17)
    lines = ["trainer.max_epochs=1", "logger=none", "seed=0"]
    planned = []
    for state in range(3):
        folder = tmp_path / str(state)
        folder.mkdir()
        config = plan([*lines, f"data.random_state={state}", f"hydra.run.dir={folder}"], None, "train")
        planned.append(replace(config, new=False, place=folder))
    run_population(*planned)
    assert "alone: data: 3 tables of 0 MB, twice each, do not fit into memory" in capsys.readouterr().out
    assert {read_record(each.place)["status"] for each in planned} == {"completed"}
    assert not any("population" in read_record(each.place) for each in planned)
