"""What a newcomer types or writes that can't be: each gets one line, with the place and the right name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradloop.errors import own_frame
from one_line import assert_one_line

MODELS = """
import torch
from torch import nn

class Forward(nn.Module):
    def __init__(self, in_features, num_outputs):
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)

    def forward(self, x):
        return self.helper(x)

    def helper(self, x):
        return x.not_there  # line 14

class Late(Forward):
    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 5:
            raise KeyError("late")  # line 22
        return self.layer(x)

class Broken(nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.layer = nn.Linear("three", num_outputs)  # line 28

class NoSuper(nn.Module):
    def __init__(self, num_outputs):
        self.layer = nn.Linear(3, num_outputs)

class Logarithm(Forward):
    def forward(self, x):
        return (-self.layer(x).exp()).log() if self.training else self.layer(x)

class NoReturn(Forward):
    def forward(self, x):
        self.layer(x)

class NoCallback:
    pass
"""
DATA = """
import torch
from gradloop.data.batches import Split
from gradloop.data.data_module import DataModule

class Good(DataModule):
    input_shape, num_outputs, task = (4,), 2, "multiclass"

    def load(self):
        x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        return self.parts(x, (x[:, 0] > 0).long())

    def parts(self, x, y):
        return {"train": Split(x[:40], y[:40]), "val": Split(x[40:50], y[40:50]), "test": Split(x[50:], y[50:])}

class Float64(Good):
    def parts(self, x, y):
        return super().parts(x.double(), y)

class Numpy(Good):
    def parts(self, x, y):
        return super().parts(x.numpy(), y)

class Tuples(Good):
    def parts(self, x, y):
        return {part: (split.inputs, split.targets) for part, split in super().parts(x, y).items()}

class Nothing(Good):
    def load(self):
        super().load()

class NoSuper(Good):
    def __init__(self, *, batch_size):
        self.size = batch_size

class Passing(Good):
    def __init__(self, *, batch_size=32, **others):
        super().__init__(batch_size=batch_size, **others)

class Typo(Good):
    task = "clasification"

class Bug(Good):
    def load(self):
        return {}["rows"]  # line 45
"""
YAML = {
    "broken": "# @package _global_\noptimizer:\n  lr: 0.1\n bad: [1\n",
    "text": '# @package _global_\ntrainer:\n  max_epochs: "1"\n',
    "no_package": "optimizer:\n  lr: 0.1\n",
}
ALSO = ["HYDRA_FULL_ERROR=1 shows the traceback"]

# (command line, exit code, words that the line must hold)
MESSAGES: list[tuple[str, int, list[str]]] = [
    # the network's or the data's own bug: type, file, line, function, and where the traceback is
    ("model._target_=own_models.Forward", 2, ["Forward", "AttributeError", "(own_models.py:14, in helper)", *ALSO]),
    ("model._target_=own_models.Broken", 2, ["Broken", "TypeError", "(own_models.py:28, in __init__)", *ALSO]),
    ("model._target_=own_models.NoSuper", 2, ["NoSuper does not call super().__init__()"]),
    ("model._target_=own_models.NoReturn", 2, ["NoReturn gives None: its forward lacks a return"]),
    ("data._target_=own_data.Bug", 3, ["Bug can't load", "KeyError: 'rows' (own_data.py:45, in load)", *ALSO]),
    ("data._target_=own_data.Float64", 3, ["float64", "expected float32, as inputs.float() gives"]),
    ("data._target_=own_data.Numpy", 3, ["numpy.ndarray", "as torch.from_numpy(…) gives"]),
    ("data._target_=own_data.Tuples", 3, ["the train part is a tuple", "Split(inputs, targets)"]),
    ("data._target_=own_data.Nothing", 3, ["load() of Nothing returned nothing (is a return missing?)"]),
    ("data._target_=own_data.NoSuper", 2, ["NoSuper does not call super().__init__(batch_size=batch_size"]),
    ("data._target_=own_data.Typo", 3, ["task='clasification'", "did you mean 'multiclass'?"]),
    (
        "data=digits data._target_=own_data.Good augmentation=flip_crop",
        2,
        ["flip_crop: data._target_", "takes no augm"],
    ),
    # YAML files of one's own
    ("--config-dir own_conf experiment=broken", 2, ["own_conf/experiment/broken.yaml:4: no YAML"]),
    ("--config-dir own_conf experiment=text", 2, ["trainer.max_epochs=1", "a whole number, not '1'"]),
    ("--config-dir own_conf experiment=no_package", 2, ["experiment/no_package.yaml", "'# @package _global_'"]),
    ("+callbacks.mine._target_=own_models.NoCallback", 2, ["expected a callback, a lightning.pytorch.Callback"]),
    # keys as other projects have them
    ("lr=0.1", 2, ["'lr'", "did you mean 'optimizer.lr'?"]),
    ("model.optimizer.lr=0.1", 2, ["'model.optimizer.lr'", "did you mean 'optimizer.lr'?"]),
    ("batch_size=8", 2, ["'batch_size'", "did you mean 'data.batch_size'?"]),
    ("epochs=3", 2, ["'epochs'", "did you mean 'trainer.max_epochs'?"]),
    ("trainer=cpu", 2, ["trainer=cpu", "did you mean 'accelerator=cpu'?"]),
    ("ckpt_path=x.ckpt", 2, ["'ckpt_path'", "resume=<run folder>", "gradloop-evaluate run=<run folder>"]),
    ("logger=null", 2, ["logger=null", "did you mean 'logger=none'?"]),
    ("+optimizer.lr=1", 2, ["+optimizer.lr=1: there is one already; change it with optimizer.lr=1"]),
    ("+data=digits", 2, ["+data=…: there is one already; change it with data=…"]),
    ("++trainer.enable_progress_bar=false", 2, ["trainer.enable_progress_bar=False", "callbacks.progress=null"]),
    ("trainer.enable_progress_bar=false", 2, ["'trainer.enable_progress_bar'", "callbacks.progress=null"]),
    ("+trainer.logger=true", 2, ["trainer.logger=True", "choose one with logger=…"]),
    ("trainer.max_epochs=-1 trainer.max_steps=10", 2, ["trainer.max_epochs=-1", "1 or more", "trainer.max_steps"]),
    ("trainer.check_val_every_n_epoch=30", 2, ["check_val_every_n_epoch=30", "max_epochs=20", "expected 1 to 20"]),
    ("allow=own_models", 2, ["allow=own_models", "a list", "as in allow=[own_models]"]),
]


@pytest.fixture
def own(command, tmp_path, monkeypatch):
    """The command, in a folder with code and YAML files of one's own."""
    here = tmp_path / "here"
    (here / "own_models.py").write_text(MODELS)
    (here / "own_data.py").write_text(DATA)
    (here / "own_conf" / "experiment").mkdir(parents=True)
    for name, text in YAML.items():
        (here / "own_conf" / "experiment" / f"{name}.yaml").write_text(text)
    monkeypatch.syspath_prepend(str(here))
    return command


@pytest.mark.parametrize(("line", "code", "words"), MESSAGES, ids=[line for line, _, _ in MESSAGES])
def test_a_message_is_one_line_with_the_right_name(line, code, words, own):
    assert_one_line(own(*line.split()), code, words)


def test_own_data_that_hands_its_arguments_on_and_lies_in_the_current_folder_trains(command, tmp_path):
    (tmp_path / "here" / "passing_data.py").write_text(DATA)
    ended = command(
        "data._target_=passing_data.Passing", "data.batch_size=8", "trainer.max_epochs=1", "callbacks=none"
    )
    assert ended.code == 0, ended.err


FAST = ["data.samples=100", "trainer.max_epochs=2", "callbacks.curves=null", "callbacks.tensorboard=null"]


def test_nan_before_any_step_is_not_the_rates_fault(own):
    ended = own("model._target_=own_models.Logarithm", "callbacks.progress=null", *FAST)
    assert ended.code == 5
    assert ended.err.count("\n") == 1
    for words in ("error: diverged at step 0", "smaller optimizer.lr can't help", "the data"):
        assert words in ended.err


def test_a_bug_in_training_names_its_line_and_the_log_with_the_traceback(own):
    ended = own("model._target_=own_models.Late", "callbacks.progress=null", *FAST)
    assert ended.code == 1
    assert ended.err.startswith("error: KeyError: 'late' (own_models.py:22, in forward); the traceback: ")
    log = Path(ended.err.strip().rpartition("the traceback: ")[2])
    assert "Traceback" in log.read_text()
    assert 'raise KeyError("late")' in log.read_text()


def test_a_saved_run_of_own_code_says_how_to_allow_it_and_a_checkpoint_is_no_run(own):
    line = ["data._target_=own_data.Good", "data.batch_size=10", "callbacks.progress=null", "name=own", *FAST[1:]]
    assert own(*line).code == 0
    (run,) = Path("outputs/train").iterdir()
    refused = own(f"run={run}", program="evaluate")
    assert_one_line(refused, 2, ["data._target_=own_data.Good", "name it on the command line, 'allow=[own_data]')"])
    for name in ("last.ckpt", "checkpoints/last.ckpt"):
        assert_one_line(own(f"resume={run}/{name}"), 4, ["a checkpoint", f"resume={run}"])
        assert_one_line(own(f"run={run}/{name}", program="evaluate"), 4, ["a checkpoint", f"run={run}"])


def test_resuming_remembers_the_folder_of_own_configs(own):
    folder = Path("own_conf/optimizer")
    folder.mkdir()
    (folder / "mine.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.01\n")
    assert own("--config-dir", "own_conf", "optimizer=mine", "callbacks.progress=null", *FAST).code == 0
    (run,) = Path("outputs/train").iterdir()
    assert own(f"resume={run}", "trainer.max_epochs=3", "callbacks.progress=null").code == 0


def test_a_key_given_twice_the_last_one_holds_and_a_line_says_so(own):
    shown = own("seed=1", "--cfg", "job", "optimizer=sgd", "seed=2", "optimizer=adam", "-p", "seed")
    assert (shown.code, shown.out) == (0, "2\n")
    assert shown.err.splitlines() == [
        "seed is given twice: seed=2 holds, not seed=1",
        "optimizer is given twice: optimizer=adam holds, not optimizer=sgd",
    ]


def test_what_cython_names_is_no_file_of_the_users():
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", "pandas/_libs/parsers.pyx", "exec"))
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # this file is the user's
    assert own_frame(caught.value) is None
