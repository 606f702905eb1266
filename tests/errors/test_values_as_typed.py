"""Values that are of the right type at a first glance, and words that are numbers: refused, or what they say."""

from __future__ import annotations

import pytest

SLURM = ("-m", "seed=1,2", "hydra/launcher=slurm")
REFUSED = [
    ('trainer.devices="99"', "trainer.devices=99: more processes than this machine has cores"),
    ("threads=100000", "threads=100000: expected auto, or 1 to 1024"),
    ("optimizer.betas=[0.9,0.9,0.9]", "optimizer.betas=[0.9, 0.9, 0.9]: expected two numbers"),
    ("data.sampling=[inf,1]", "data.sampling=[inf, 1]: expected balanced"),
    ("trainer.max_time={hours:-1}", "trainer.max_time={'hours': -1}: expected DD:HH:MM:SS"),
    ("trainer.max_time={}", "trainer.max_time={}: expected DD:HH:MM:SS"),
    ("trainer.max_time=00:00:00:00", "trainer.max_time=00:00:00:00: expected DD:HH:MM:SS"),
    ("trainer.profiler={_target_:torch.nn.ReLU}", "trainer.profiler._target_=torch.nn.ReLU: expected a lightning"),
    ("data=csv data.file=x data.target=y data.drop=[[a]]", "data.drop[0]=['a']: expected the name of a column"),
    ("data=csv data.file=x data.target=y data.drop=[{a:1}]", "data.drop[0]={'a': 1}: expected the name of a column"),
    ("data=csv data.file=x data.target=", "data.target=: expected the name of a column"),
    ("tags=[{a:1}]", "tags[0]={'a': 1}: expected a word"),
    ("model._target_=gradloop.networks.linear.Linear model.bias=abc", "model.bias=abc: expected true or false"),
    ("data=image_folder data.root=1e3", "data.root=1e3: no such folder"),
    ("-m seed=1,2 hydra.launcher.n_jobs=-99", "hydra.launcher.n_jobs=-99"),
    ("-m sweep=optuna optimizer.lr=1,2 sweep.objectives=[3]", "sweep.objectives[0]=3: expected a word"),
]


@pytest.mark.parametrize(("line", "words"), REFUSED)
def test_what_is_no_such_value_gets_one_line(line, words, command, tmp_path):
    ended = command(*line.split(" "))
    assert ended.code in (2, 3), ended.err
    assert ended.err.startswith(f"error: {words}"), ended.err
    assert ended.err.count("\n") == 1
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    "value",
    ["mem_gb=x", "gpus_per_node=-1", "setup=abc", "additional_parameters=3", "signal_delay_s=x", "partition=[1]",
     "max_num_timeout=-1"],
)  # fmt: skip
def test_an_engines_knobs_are_checked_before_it_is_asked(value, command, tmp_path):
    ended = command(*SLURM, f"hydra.launcher.{value}")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"hydra.launcher.{value.partition('=')[0]}=" in ended.err
    assert list((tmp_path / "here").iterdir()) == []


def test_a_number_is_a_word_where_a_file_has_a_word(command, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndata: {root: 3}\ncallbacks: {freeze: {layers: [2]}}\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(text)
    asked = f"--config-dir={tmp_path}/conf", "experiment=mine", "callbacks=freeze"
    ended = command(*asked, "data=image_folder")
    assert ended.err.startswith("error: data.root=3: no such folder"), ended.err
    ended = command(*asked, "~data.root", "trainer.max_epochs=1")
    assert ended.code == 0, ended.err  # the layer that is called 2
