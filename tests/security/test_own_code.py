"""The user's own code: it runs only if the command line allows it, and its data is checked first."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from gradloop.runs.checkpoint_files import read_checkpoint
from one_line import assert_one_line, listing
from own_code import DATA

BROKEN = {
    "raises": (3, ["Broken", "OSError", "the disk is gone"]),
    "not_a_number": (3, ["train", "NaN"]),
    "one_class": (3, ["training part", "one class only"]),
    "labels": (3, ["targets from 1 to 2", "0 to 1"]),
    "width": (3, ["(4,)", "(3,)"]),
    "floats": (3, ["float", "int64"]),
    "uneven": (3, ["30 inputs", "40 targets"]),
    "empty": (3, ["val", "empty"]),
    "missing": (3, ["test", "part"]),
    "float64": (3, ["train part's inputs are float64", "float32"]),
    "whole_inputs": (3, ["train part's inputs are int64", "float32", "eval_transform"]),
    "array_inputs": (3, ["train part's inputs are a numpy.ndarray", "torch.Tensor", "from_numpy"]),
    "array_targets": (3, ["train part's targets are a numpy.ndarray", "torch.Tensor"]),
    "sparse": (3, ["train part's inputs are sparse", "to_dense()"]),
    "names": (3, ["2 names", "40 targets"]),
    "tuples": (3, ["val part is a tuple", "Split(inputs, targets)", "Split(*…) in load() of Broken"]),
    "none": (3, ["val part is a NoneType", "Split(inputs, targets)"]),
    "list": (3, ["returned a list", "dict"]),
    "nothing_returned": (3, ["returned nothing", "is a return missing?", "dict"]),
}
DECLARED = {
    "task:clasification": ["task='clasification'", "did you mean 'multiclass'?"],
    "task:binari,num_outputs:1": ["task='binari'", "did you mean 'binary'?"],
    "task:binary": ["task='binary'", "num_outputs=2", "one output", "multi"],
    "task:binary,num_outputs:1": ["float64 [40, 1]", "float32 [N, 1]"],
    "task:regression,num_outputs:1": ["float64 [40, 1]", "float32 [N, 1]"],
    "num_outputs:1": ["task='multiclass'", "num_outputs=1", "binary"],
    "num_outputs:0": ["num_outputs=0"],
    "num_outputs:np2": ["num_outputs=np.int64(2)", "whole number"],
    "input_shape:3": ["input_shape=3", "(3,)"],
    "input_shape:[]": ["input_shape=[]"],
    "class_names:[a]": ["1 class_names", "expected 2"],
    "class_names:ab": ["class_names as a str", "tuple"],
    "input_names:[a]": ["1 input_names", "expected 3"],
}
PARTS = {
    "model._target_=own_code.Lit": [
        "own_code.Lit",
        "LightningModule",
        "training_step",
        "module._target_=own_code.Lit",
    ],
    "model._target_=own_code.lit": [
        "own_code.lit",
        "LightningModule",
        "training_step",
        "module._target_=own_code.lit",
    ],
    "model._target_=own_code.NoSuperNet": ["NoSuperNet", "super().__init__()"],
    "model._target_=own_code.Hidden": ["Hidden", "no parameters to train", "nn.ModuleList"],
    "model._target_=own_code.NoLoad": ["NoLoad", "torch.nn.Module"],
    "data._target_=own_code.NoSuper": ["NoSuper", "super().__init__(batch_size=batch_size, seed=seed)"],
    "data._target_=own_code.LightningData": ["LightningData", "gradloop.data.data_module.DataModule"],
    "data._target_=own_code.Net": ["Net", "gradloop.data.data_module.DataModule"],
    "optimizer._target_=own_code.Net": ["optimizer._target_", "Net", "torch.optim.Optimizer"],
    "+callbacks.x._target_=own_code.Net": ["callbacks.x._target_", "Net", "lightning.pytorch.Callback"],
    "+callbacks.x._target_=torch.nn.ReLU": ["callbacks.x._target_", "ReLU", "lightning.pytorch.Callback"],
    "+callbacks.x._target_=lightning.pytorch.cli.SaveConfigCallback": ["SaveConfigCallback", "LightningCLI"],
    "+logger.x._target_=torch.nn.ReLU": ["logger.x._target_", "ReLU", "lightning.pytorch.loggers.Logger"],
    "trainer._target_=torch.nn.ReLU": ["trainer._target_", "ReLU", "lightning.pytorch.Trainer"],
}


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """Put a module `own_code` of the user's on the path, and a YAML file that names its data."""
    code = tmp_path / "code"
    (code / "conf" / "data").mkdir(parents=True)
    (code / "own_code.py").write_text(textwrap.dedent(DATA))
    (code / "conf" / "data" / "broken.yaml").write_text(
        "_target_: own_code.Broken\nkind: nothing\nbatch_size: 10\nseed: ${seed}\n"
    )
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.delitem(sys.modules, "own_code", raising=False)
    return ["--config-dir", str(code / "conf"), "data=broken"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN)
def test_data_that_is_unfit(kind, command, own_code, tmp_path):
    before = listing(tmp_path / "here")
    code, words = BROKEN[kind]
    assert_one_line(command(*own_code, f"data.kind={kind}", "allow=[own_code]"), code, words)
    assert listing(tmp_path / "here") == before


@pytest.mark.slow
@pytest.mark.parametrize("facts", DECLARED)
def test_facts_that_no_run_can_be_built_from(facts, command, own_code):
    given = ["data._target_=own_code.Declares", "~data.kind", f"+data.facts={{{facts}}}", "allow=[own_code]"]
    assert_one_line(command(*own_code, *given), 3, DECLARED[facts])


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_kind(part, command, own_code, tmp_path):
    assert_one_line(command(*own_code, "allow=[own_code]", part), 2, PARTS[part])
    assert listing(tmp_path / "here") == []


def test_data_that_declares_or_loads_nothing(command, own_code):
    given = [*own_code, "~data.kind", "allow=[own_code]"]
    assert_one_line(command(*given, "data._target_=own_code.NoTask"), 3, ["NoTask", "does not declare task"])
    assert_one_line(command(*given, "data._target_=own_code.NoLoad"), 3, ["load() of NoLoad", "returned nothing"])


def test_the_users_own_code_runs_if_the_command_line_allows_it(command, own_code):
    extra = ["trainer.max_epochs=1", "callbacks=none", "logger=none"]
    parts = ["model._target_=own_code.Net"]
    assert_one_line(command(*own_code), 2, ["data._target_=own_code.Broken", "allow=[own_code]"])
    assert command(*own_code, "allow=[own_code]", *parts, "loss._target_=own_code.own_loss", *extra).code == 0
    wrong = [*own_code, "allow=[own_code]", *parts, "+model.scal=2"]
    assert_one_line(command(*wrong), 2, ["'model.scal'", "Net", "'scale'"])


def test_a_yaml_file_can_allow_nothing(command, own_code, tmp_path):
    experiment = Path(own_code[1]) / "experiment"
    experiment.mkdir()
    (experiment / "sly.yaml").write_text("# @package _global_\nallow: [own_code]\n")
    assert_one_line(command(*own_code, "experiment=sly"), 2, ["own_code.Broken", "allow=[own_code]"])


QUICK = ["trainer.max_epochs=1", "callbacks=none", "logger=none"]


def test_data_without_a_seed(command, own_code):
    """Neither the seed that every YAML file hands on nor another data's knobs are in its way."""
    (Path(own_code[1]) / "data" / "seedless.yaml").write_text(
        "_target_: own_code.Seedless\nwidth: 3\nseed: ${seed}\n"
    )
    by_file = [*own_code[:2], "data=seedless", "allow=[own_code]"]
    assert command(*by_file, *QUICK).code == 0
    assert command("data._target_=own_code.Seedless", "seed=3", *QUICK).code == 0
    assert command("-m", "data._target_=own_code.Seedless", "seed=1,2", *QUICK).code == 0
    mistyped = ["data._target_=own_code.Seedless", "+data.wdith=4"]
    assert_one_line(command(*mistyped), 2, ["'data.wdith'", "Seedless", "'width'"])
    assert_one_line(command(*by_file, "data.seed=7"), 2, ["data.seed=7", "Seedless takes no seed"])


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [("Undeclared", 3, ["does not declare input_shape"]), ("Net", 2, ["data module"]), ("own_loss", 2, ["missing"])],
)
def test_data_that_is_none(target, code, words, command, own_code):
    assert_one_line(command(f"data._target_=own_code.{target}"), code, [target, *words])


CENTRED = """
from torch import nn

class Centred(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(*input_shape), nn.Linear(*input_shape, num_outputs)

    def initialize(self, inputs):
        self.norm.running_mean.copy_(inputs.mean(0) + 1000)

    def forward(self, inputs):
        return self.linear(self.norm(inputs))
"""


def test_a_network_of_ones_own_may_set_itself_from_any_data(tmp_path, command):
    (tmp_path / "here" / "mine.py").write_text(CENTRED)
    own = ["model._target_=mine.Centred", "~model.hidden_dims", "~model.activation", "~model.dropout"]
    ended = command(*own, *QUICK[:1], "logger=none", "test=false", "trainer.limit_train_batches=1", "seed=0")
    assert ended.code == 0, ended.err
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    kept = read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]["network.norm.running_mean"]
    assert kept.min() > 800  # a tenth is renewed by the only batch
