"""The worked notebook runs, cell by cell; and what `gradloop.train` takes and returns in one."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import Logger
from torch import nn
from torchmetrics import CohenKappa

import gradloop
from gradloop.errors import ConfigError

NOTEBOOK = Path(__file__).parent / "notebook.ipynb"
TINY = [
    "data.samples=100",
    "trainer.max_epochs=1",
    "logger=none",
    "callbacks.pictures=null",
    "callbacks.progress=null",
]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Return what the notebook's cells leave behind."""
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    names: dict[str, Any] = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        for cell in cells:
            exec(compile("".join(cell["source"]), "<cell>", "exec"), names)
    return names


def test_the_notebook_runs_and_its_networks_learn(names):
    assert names["run"]["status"] == "completed"
    assert names["run"]["metrics"]["test/accuracy"] > 0.6
    assert names["own"]["model"]["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert names["rings"]["metrics"]["test/accuracy"] > 0.8
    assert names["answers"].tolist() == [1, 0]


def test_a_result_is_a_record_and_shows_itself(names):
    run = names["run"]
    assert isinstance(run, dict)
    shown = run._repr_html_()
    assert "<td>val/accuracy</td>" in shown
    assert "from_a_notebook" in shown
    assert "data:image/png;base64," in shown
    run["name"] = "<script>"
    assert "<script>" not in run._repr_html_()


class Local(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_words_lists_and_objects(tmp_path, capsys):
    network = Local(20, 2)
    before = network.layer.weight.clone()
    place = f"output_dir={tmp_path}"
    one = gradloop.train(*TINY, place, "seed=1", model=network, seed=2, tags=["a", "b"])
    assert "seed is given twice: seed=2 holds, not seed=1" in capsys.readouterr().err
    assert (one["seed"], one["tags"]) == (2, ["a", "b"])
    torch.testing.assert_close(network.layer.weight, before, rtol=0, atol=0)  # a copy was trained
    two = gradloop.train([*TINY, place], model=Local, seed=2)
    assert two["model"]["parameters"] == one["model"]["parameters"] == 42
    assert isinstance(gradloop.load(one["folder"]).network, Local)
    with pytest.raises(ConfigError, match="expected texts, as in"):
        gradloop.train([1, 2])
    with pytest.raises(ConfigError, match=r"gradloop.train\(model=\{\}\)"):
        gradloop.train(model={})


def test_a_loss_is_a_class_an_object_or_a_function(tmp_path):
    smooth = partial(torch.nn.functional.cross_entropy, label_smoothing=0.3)
    given = [nn.CrossEntropyLoss(label_smoothing=0.3), lambda outputs, targets: smooth(outputs, targets)]
    trained = [gradloop.train([*TINY, f"output_dir={tmp_path}", "seed=0"], loss=loss) for loss in given]
    lines = [*TINY, f"output_dir={tmp_path}", "seed=0", "loss=cross_entropy", "loss.label_smoothing=0.3"]
    expected = gradloop.train(lines)["metrics"]
    assert [run["metrics"] for run in trained] == [expected, expected]
    assert (
        expected != gradloop.train([*TINY, f"output_dir={tmp_path}", "seed=0"], loss=nn.CrossEntropyLoss)["metrics"]
    )


def test_two_functions_without_a_name_stay_two(tmp_path):
    place = f"output_dir={tmp_path}"

    def trained(width: int) -> dict:
        layers = lambda in_features, num_classes: nn.Sequential(  # noqa: E731
            nn.Linear(in_features, width), nn.Linear(width, num_classes)
        )
        loss = lambda outputs, targets: torch.nn.functional.cross_entropy(outputs, targets)  # noqa: E731
        return gradloop.train([*TINY, place], model=layers, loss=loss)

    runs = [trained(3), trained(5)]
    assert [gradloop.load(run["folder"]).network[0].out_features for run in runs] == [3, 5]


def test_a_text_a_path_and_a_number_are_what_they_say(tmp_path):
    import numpy as np

    quiet = {"callbacks.progress": None, "callbacks.curves": None, "logger": "none", "test": False}
    knobs = {"trainer.max_epochs": torch.tensor(1), "optimizer.lr": "1e-3", "model.hidden_dims": "[16]"}
    told = {"notes": "first, second: a=b", "tags": ["3 (b)"], "output_dir": tmp_path / "out (2), é"}
    record = gradloop.train(data="digits", seed=np.int64(3), **told, **quiet, **knobs)
    assert (record["notes"], record["tags"], record["seed"]) == ("first, second: a=b", ["3 (b)"], 3)
    assert record["folder"].startswith(f"{tmp_path}/out (2), é/train/")
    assert record["model"]["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    with pytest.raises(ConfigError, match=r"seed=ndarray\): expected one number"):
        gradloop.train(data="digits", seed=np.zeros(2))


def test_two_objects_of_one_class_stay_two(tmp_path):
    def net(activation: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(20, 4), activation, nn.Linear(4, 2))

    first = gradloop.train([*TINY, f"output_dir={tmp_path}"], model=net(nn.ReLU()))
    gradloop.train([*TINY, f"output_dir={tmp_path}"], model=net(nn.Tanh()))
    assert isinstance(gradloop.load(first["folder"]).network[1], nn.ReLU)


class Counting(pl.Callback):
    seen: ClassVar[list[str]] = []

    def on_train_epoch_end(self, trainer, module):
        self.seen.append("epoch")


class Rows(Logger):
    seen: ClassVar[list[dict]] = []
    name = version = "rows"

    def log_hyperparams(self, *_, **__):
        pass

    def log_metrics(self, metrics, step=None):
        self.seen.append(metrics)


def test_one_several_or_named_objects_join_a_group(tmp_path):
    kappa = {"kappa": CohenKappa(task="multiclass", num_classes=10)}
    short = ["data=digits", "trainer.max_epochs=1", "logger=none", f"output_dir={tmp_path}"]
    given = {"callbacks": Counting(), "logger": Rows(), "metrics": kappa, "model.hidden_dims": (4, 4)}
    run = gradloop.train(short, **given)
    assert Counting.seen == ["epoch"]
    assert "val/kappa" in Rows.seen[0]
    assert "test/kappa" in run["metrics"]


@pytest.mark.parametrize(
    ("function", "words", "given", "told"),
    [
        (
            "train",
            [],
            {"callbacks": [Counting(), "ema"]},
            "'ema': expected objects or classes; choices of the config",
        ),
        ("train", [], {"optimizer": {"lr": 0.1}}, "expected a word, a number, a list of these, a class or an object"),
        (
            "train",
            ["-m"],
            {},
            "gradloop.train('-m'): expected texts, as in 'optimizer.lr=0.1'; gradloop.sweep(…) is for",
        ),
        ("train", ["optimizer.lr=0.1,0.2"], {}, "several values are a sweep; add -m, or call gradloop.sweep"),
        (
            "train",
            [],
            {"optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters())},
            "gradloop.train(optimizer=…): SGD: expected a class or a functools.partial of one",
        ),
        ("train", [], {"data": np.zeros(3)}, "gradloop.train(data=ndarray): expected one number; a table comes in"),
        ("train", [], {"config_dir": ""}, "gradloop.train(config_dir=''): expected a folder"),
        (
            "sweep",
            ["seed=0,1"],
            {"model": nn.Linear(2, 2)},
            "gradloop.sweep(model=…): each run is a process of its own",
        ),
        ("train", [], {"hydra.run.dir": "a${b}"}, "'hydra.run.dir': Interpolation key 'b' not found"),
        ("sweep", ["seed=0,1"], {"hydra.sweep.dir": "a${b}"}, "'hydra.sweep.dir': Interpolation key 'b' not found"),
        ("load", [], {"allow": 3}, "gradloop.load(…, allow=3): expected names, as in ['my_models']"),
        ("sweep", ["seed=0,1"], {"population": "off"}, "'population': no such key; did you mean 'sweep.population'?"),
    ],
)
def test_what_python_can_not_be_given_is_one_line(function, words, given, told, tmp_path):
    lines = tmp_path if function == "load" else ["data=digits", f"output_dir={tmp_path}", *words]
    with pytest.raises(ConfigError) as caught:
        getattr(gradloop, function)(lines, **given)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_run_of_the_session_goes_on_in_it_and_leaves_it_as_it_was(tmp_path):
    class Mine(Local):
        pass

    threads = torch.get_num_threads()
    run = gradloop.train([*TINY, f"output_dir={tmp_path}"], model=Mine)
    assert gradloop.train("trainer.max_epochs=2", resume=run["folder"])["epochs"] == 2
    assert torch.get_num_threads() == threads
    assert "GRADLOOP_RUN" not in os.environ
