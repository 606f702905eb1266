"""Networks, losses and optimizers of one's own: what is theirs stays theirs, and what can't work is one line."""

from __future__ import annotations

import textwrap

import pytest

from one_line import assert_one_line

TOY = ["data=digits", "trainer.max_epochs=1", "logger=none", "callbacks.curves=null", "callbacks.tensorboard=null"]
NETWORKS = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        def forward(self, inputs):
            return self.net(inputs)

    class OwnInitialize(Net):  # a method of theirs, which asks for something else
        def __init__(self):
            super().__init__()
            self.initialize()
        def initialize(self, gain=1.0):
            assert gain == 1.0, "not from outside"
            nn.init.xavier_uniform_(self.net[1].weight, gain)

    class Forgetful(Net):
        def initialize(self, inputs):
            self.mean = inputs.mean(0)

    class Auxiliary(Net):
        def forward(self, inputs):
            outputs = self.net(inputs)
            return (outputs, outputs) if self.training else outputs

    class Counting(Net):
        calls = 0
        def forward(self, inputs):
            self.calls = self.calls + 1
            return self.net(inputs) / self.calls

    class WeighedLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))
        def forward(self, outputs, targets):
            return self.factor * nn.functional.cross_entropy(outputs, targets)

    class Closure(torch.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})
        def step(self, closure):
            return closure()
"""


@pytest.fixture(autouse=True)
def _theirs(tmp_path, monkeypatch):
    (tmp_path / "their_nets.py").write_text(textwrap.dedent(NETWORKS))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


def test_a_method_of_their_own_is_not_called(command):
    assert command(*TOY, "model._target_=their_nets.OwnInitialize").code == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("model._target_=their_nets.Forgetful", ["Forgetful.initialize sets none of its weights or buffers"]),
        ("model._target_=their_nets.Auxiliary", ["Auxiliary gives a tuple in training, not a tensor"]),
        ("optimizer._target_=their_nets.Closure optimizer.lr=0.1", ["their_nets.Closure steps with a closure"]),
        ("optimizer._target_=their_nets.Closure", ["optimizer", "their_nets.Closure", "'lr'"]),
    ],
)  # fmt: skip
def test_what_can_not_be_trained_is_said_before_anything_is_created(line, words, command, tmp_path):
    assert_one_line(command(*TOY, *line.split()), 2, words)
    assert not list((tmp_path / "here").iterdir())


def test_a_network_that_counts_is_not_stacked(command):
    ended = command(
        "-m", *TOY, "model._target_=their_nets.Counting", "optimizer.lr=0.01,0.02", "seed=1", "sweep.plan=true"
    )
    assert "alone: model: calls changes as it trains, and is none of its weights" in ended.out


def test_a_loss_with_weights_is_evaluated(command, tmp_path):
    assert command(*TOY, "loss._target_=their_nets.WeighedLoss", f"hydra.run.dir={tmp_path / 'run'}").code == 0
    ended = command(f"run={tmp_path / 'run'}", "allow=[their_nets]", program="evaluate")
    assert ended.code == 0, ended.err
    assert "as in training" in ended.out
