"""Composing: as Hydra does it, and the reference beside it."""

from __future__ import annotations

import shlex
import shutil
from datetime import datetime

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gradloop.config.check import check_config
from gradloop.config.compose import VERSION, compose_config
from gradloop.config.conf_folder import conf_folder
from gradloop.config.overrides import parse_overrides, typed
from gradloop.errors import ConfigError


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data=digits"],
        ["optimizer.lr=0.5", "data=digits", "+model.extra={a:[1,2]}", "~optimizer.eps"],
        ["experiment=linear_regression", "name=x", "hydra.job.chdir=true", "++trainer.new=3", "seed=null"],
        ["callbacks=[default,ema]", "~debug", "callbacks.curves=null", "hydra.run.dir=a/${name}"],
        [
            "model.hidden_dims=[8,8]",
            "~optimizer.eps=1e-8",
            "++model.dropout=0.5",
            "hydra.job.name=x",
            "+sweep.n_trials=3",
        ],
        [
            "hydra.job.config.override_dirname.exclude_keys=[seed]",
            "seed=1",
            "optimizer.lr=1",
            "callbacks/core@callbacks=none",
        ],
    ],
)
def test_it_gives_what_hydra_gives(overrides):
    config, reference = compose_config(overrides)
    with initialize_config_dir(str(conf_folder()), job_name="train", **VERSION):
        expected = compose("train", overrides, return_hydra_config=True)
    ours, theirs = (OmegaConf.to_container(c, resolve=False) for c in (config, expected))
    assert ours == theirs
    groups = [line for line in overrides if "." not in line.split("=")[0] and not line.startswith(("name", "seed"))]
    if len(groups) == len(overrides):
        known, composed = (OmegaConf.to_container(c) for c in (reference, config))
        known.pop("hydra")  # of the folder in which it was composed first
        composed.pop("hydra")
        assert known == composed


def test_the_reference_does_not_remember():
    compose_config(["optimizer.lr=0.5", "name=changed"])
    config, reference = compose_config([])
    assert config.optimizer.lr == reference.optimizer.lr == 0.001
    assert config.name == "run"
    assert config is not reference


def test_time_and_place_of_a_run_are_its_own(monkeypatch, tmp_path):
    class Clock(datetime):
        hours = 0

        @classmethod
        def now(cls, *_):
            cls.hours += 1
            return datetime(2030, 1, 1, cls.hours)

    monkeypatch.setattr("hydra.core.utils.datetime", Clock)
    assert len({str(compose_config([])[0].hydra.run.dir) for _ in range(3)}) == 3
    monkeypatch.chdir(tmp_path)
    assert compose_config([])[0].hydra.runtime.cwd == str(tmp_path)


def test_a_folder_of_the_users_own_is_searched_after_ours(tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("mine", "linear"):
        (tmp_path / "model" / f"{name}.yaml").write_text("_target_: gradloop.networks.linear.Linear\nbias: false\n")
    for choice in ("mine", "linear"):
        with pytest.raises(ConfigError, match=r"model/linear\.yaml: gradloop has a file of that name"):
            compose_config([f"model={choice}"], config_dir=str(tmp_path))
    shutil.copy(conf_folder() / "model" / "linear.yaml", tmp_path / "model")  # which says nothing else
    config, _ = compose_config(["model=mine"], config_dir=str(tmp_path))
    assert config.model.bias is False
    (tmp_path / "train.yaml").write_text("defaults:\n  - model: mine\n")
    with pytest.raises(ConfigError, match=r"train\.yaml: gradloop has a file of that name"):
        compose_config([], config_dir=str(tmp_path))
    (tmp_path / "train.yaml").unlink()
    (tmp_path / "own.yaml").write_text("defaults:\n  - train\n  - override model: mine\n  - _self_\nname: own\n")
    config, _ = compose_config([], config_name="own", config_dir=str(tmp_path))
    assert (config.name, config.model.bias) == ("own", False)


def test_a_file_that_changed_is_read_again(tmp_path):
    for value in (3, 5):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "mine.yaml").write_text(
            f"_target_: gradloop.networks.resnet9.ResNet9\nwidth: {value}\n"
        )
        assert compose_config(["model=mine"], config_dir=str(tmp_path))[0].model.width == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+optimizer.lr=3", "there is one already; change it with optimizer.lr=3"),
        ("~optimizer.lr=3", "its value is 0.001"),
        ("~resume", "nothing to delete, it is null"),
        ("model@nowhere=3", "expected one of"),
        ("hydra.job.chdir=maybe", r"hydra\.job\.chdir=maybe: .*bool"),
    ],
)
def test_what_can_not_be_put_in(override, words):
    with pytest.raises(ConfigError, match=words):
        compose_config([override])


@pytest.mark.parametrize("override", ["seed=null", "augmentation.random_crop.size=null", "monitor=null"])
def test_what_a_group_leaves_null_can_be_null_again_on_top_of_an_experiment(override):
    config, reference = compose_config(["experiment=cifar10_fast", override])
    key = override.split("=")[0]
    assert OmegaConf.select(reference, key) is not None
    check_config(config, reference)
    assert OmegaConf.select(config, key) is None


@pytest.mark.parametrize(
    "override", ["trainer.max_epochs=null", "augmentation.random_crop.padding=null", "data.batch_size=null"]
)
def test_what_no_file_leaves_null_can_not(override):
    config, reference = compose_config(["experiment=cifar10_fast", override])
    with pytest.raises(ConfigError, match="not nothing"):
        check_config(config, reference)


@pytest.mark.parametrize(
    "path", ["/plain/x", "/a b", "/한 글/학습", "/x[1],y", "it's", "/x=3", "~/x", "/a (1)", "/한글 [1]"]
)
def test_a_path_that_is_shown_to_be_typed_comes_back(path):
    (word,) = shlex.split(typed("run", path))
    assert parse_overrides([word])[0].value() == path


def test_a_bare_value_may_have_letters_of_any_language():
    assert parse_overrides(["run=학습/1 2"])[0].value() == "학습/1 2"


@pytest.mark.parametrize("word", ["1_0", "1e3", "2024_11_30", "007", "true", "nan", "1.50"])
def test_a_word_that_looks_like_a_number_stays_one(word):
    config, _ = compose_config([f"name={word}", f"hydra.run.dir={word}"])
    assert (config.name, config.hydra.run.dir) == (word, word)
    assert compose_config(["notes=null"])[0].notes is None
