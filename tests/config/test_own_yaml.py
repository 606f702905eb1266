"""The user's own YAML files: what they choose works, and what means nothing is named with its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from one_line import assert_one_line, listing

QUICK = ["trainer.max_epochs=1", "callbacks=none", "logger=none", "test=false", "threads=1"]


@pytest.fixture
def conf(tmp_path):
    """Return a function that writes a file into the user's own folder and returns that folder's option."""

    def write(name: str, text: str) -> str:
        file = tmp_path / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        head = "# @package _global_\n" if name.startswith("experiment/") else ""
        file.write_text(head + text)
        return f"--config-dir={tmp_path / 'conf'}"

    return write


# what an experiment says, and words that the line must hold
EXPERIMENTS = {
    "tset: false": ["experiment/mine.yaml", "'tset'", "'test'"],
    "optimiser: {lr: 0.1}": ["experiment/mine.yaml", "'optimiser'", "'optimizer'"],
    "trainer: {max_epoch: 3}": ["'trainer.max_epoch'", "'max_epochs'"],
    "model: {hiden_dims: [3]}": ["'model.hiden_dims'", "'hidden_dims'"],
    "sweep: {sedes: 3}": ["experiment/mine.yaml", "'sweep.sedes'", "'seeds'"],
    "augmentation: {cutot: {side: 3}}": ["experiment/mine.yaml", "'augmentation.cutot'", "'cutout'"],
    "trainer: {max_epochs: 1e20}": ["trainer.max_epochs=1e+20", "whole number"],
    "trainer: {max_epochs: ten}": ["trainer.max_epochs=ten", "whole number"],
    "data: {batch_size: 1e2}": ["data.batch_size=100.0", "whole number"],
    "seed: 1.5": ["seed=1.5", "whole number"],
    "test: 3": ["test=3", "true or false"],
    "trainer: {check_val_every_n_epoch: 30}": ["check_val_every_n_epoch=30", "max_epochs=20"],
    "trainer: {strategy: ddp_spawn}": ["ddp_spawn", "use ddp"],
    "hydra: {job: {chdir: true}}": ["hydra.job.chdir=True"],
}


@pytest.mark.parametrize("text", EXPERIMENTS)
def test_a_mistake_in_an_experiment(text, conf, command, tmp_path):
    own = conf("experiment/mine.yaml", text)
    conf("experiment/another.yaml", text)
    before = listing(tmp_path)
    assert_one_line(command(own, "experiment=mine"), 2, EXPERIMENTS[text])
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("data/mine.yaml", "defaults: [digits, _self_]\nbatch_size: 1e2", ["data.batch_size=100.0", "whole number"]),
        ("data/mine.yaml", 'defaults: [digits, _self_]\nshuffle: "no"', ["data.shuffle=no", "true or false"]),
        ("optimizer/mine.yaml", "_target_: torch.optim.Adam\nlr: fast", ["optimizer.lr=fast", "number"]),
    ],
)
def test_a_mistake_in_a_choice_of_ones_own(name, text, words, conf, command, tmp_path):
    own = conf(name, text)
    before = listing(tmp_path)
    assert_one_line(command(own, f"{name.partition('/')[0]}=mine", *QUICK), 2, words)
    assert listing(tmp_path) == before


def test_a_mistake_under_a_sweep_and_in_a_sweep_of_ones_own(conf, command):
    own = conf("experiment/mine.yaml", "tset: false")
    assert_one_line(command(own, "-m", "experiment=mine", "seed=1,2"), 2, ["mine.yaml", "'tset'", "'test'"])
    conf("sweep/mine.yaml", "defaults: [random, _self_]\nn_trails: 3")
    assert_one_line(command(own, "-m", "sweep=mine"), 2, ["sweep/mine.yaml", "'sweep.n_trails'", "'n_trials'"])


def test_a_key_of_ones_own_that_something_refers_to(conf, command):
    own = conf("experiment/mine.yaml", "width: 7\nmodel: {hidden_dims: ['${width}']}\ncallbacks: {progress: null}")
    assert command(own, "experiment=mine", "width=8", *QUICK).code == 0
    (run,) = Path("outputs/train").iterdir()
    assert "- 8" in (run / ".hydra" / "config.yaml").read_text()


def test_gradloops_own_choices_keep_their_types(conf, command):
    own = conf(
        "experiment/mine.yaml", "defaults:\n  - override /optimizer: sgd\n  - override /callbacks: [default, ema]"
    )
    assert_one_line(command(own, "experiment=mine", "optimizer.momentum=x"), 2, ["optimizer.momentum=x", "number"])
    assert_one_line(command(own, "experiment=mine", "callbacks.progress.every_seconds=x"), 2, ["every_seconds=x"])
    assert command(own, "experiment=mine", "data=linear_regression", "model=linear", *QUICK[:1], *QUICK[2:]).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["model=linear,mine", "model=mine,linear", "model=glob(*in*)"])
def test_choices_of_ones_own_in_a_sweep(choice, conf, command, tmp_path):
    own = conf("model/mine.yaml", "_target_: gradloop.networks.linear.Linear\nbias: false")
    ended = command(own, "-m", choice, *QUICK)
    assert ended.code == 0, ended.err
    assert "model=mine" in ended.out
    known = len(list(tmp_path.glob("here/outputs/sweeps/*/[0-9]")))
    assert command(own, "-m", choice, "sweep.resume=last", *QUICK).code == 0
    assert len(list(tmp_path.glob("here/outputs/sweeps/*/[0-9]"))) == known


def test_a_mistyped_choice_of_ones_own_in_a_sweep(conf, command):
    own = conf("optimizer/lion.yaml", "_target_: torch.optim.RMSprop\n_partial_: true\nlr: 0.1")
    assert_one_line(command(own, "-m", "optimizer=adam,loin"), 2, ["optimizer=loin", "'lion'"])
