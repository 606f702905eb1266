"""What is measured and learned loses no digits, and no picture: of late, large, tied and transformed values."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

import gradloop
from gradloop.commands.evaluate import run as evaluate
from gradloop.config.check import plain
from gradloop.config.compose import compose_config
from gradloop.errors import ConfigError, DataError
from gradloop.training.build import Builder
from gradloop.training.task import task_of

QUIET = ["seed=0", "logger=none", "callbacks.curves=null", "callbacks.progress=null", "trainer.max_epochs=1"]


def table(folder: Path, text: str, *more: str) -> list[str]:
    pytest.importorskip("pyarrow")
    (folder / "t.csv").write_text(text)
    return ["data=csv", f"data.file={folder}/t.csv", "data.batch_size=8", *more]


def pictures(root: Path) -> list[str]:
    dice = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(dice.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return ["data=image_folder", f"data.root={root}", f"data.cache_dir={root}_cache", "data.batch_size=4"]


def test_a_column_whose_first_values_are_missing_keeps_its_digits(tmp_path: Path) -> None:
    lines = "".join(f"{'' if k < 40_000 else 1_700_000_000 + k % 100},{k % 2}\n" for k in range(80_000))
    config, _ = compose_config([*table(tmp_path, f"a,y\n{lines}", "data.target=y"), "seed=0"])
    data = Builder(()).data(plain(config)["data"], 0)
    data.setup("fit")
    assert len(data.splits["train"].inputs[:, 0].unique()) >= 100


def test_a_target_of_more_digits_than_float32_has_is_refused(tmp_path: Path) -> None:
    lines = "".join(f"{k},{1.7e9 + 0.7 * k}\n" for k in range(60))
    with pytest.raises(DataError, match=r"data\.target=y: 1\.7.* has more digits than"):
        gradloop.train([*QUIET, f"output_dir={tmp_path}", *table(tmp_path, f"a,y\n{lines}", "data.target=y")])


def test_numbers_in_another_notation_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "".join(f'"{k},5",{k}%,{k % 2}\n' for k in range(60))
    gradloop.train([*QUIET, f"output_dir={tmp_path}/runs", *table(tmp_path, f"a,b,y\n{lines}", "data.target=y")])
    out = capsys.readouterr().out
    assert "column 'a' is read as words: '0,5' is no number" in out
    assert "column 'b' is read as words: '0%' is no number" in out


@pytest.mark.parametrize("task", ["auto", "regression"])
def test_the_word_that_keeps_a_target_from_being_numbers_is_named(task: str, tmp_path: Path) -> None:
    lines = "".join(f"{k},{'bad' if k == 30 else k / 7}\n" for k in range(60))
    given = table(tmp_path, f"a,y\n{lines}", "data.target=y", f"data.task={task}")
    with pytest.raises(DataError, match="'bad' is n"):
        gradloop.train([*QUIET, f"output_dir={tmp_path}/runs", *given])


def test_spaces_around_words_and_words_for_nothing_are_no_words(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    words = ["yes", " yes", "no", "no "] * 15
    columns = {"w": ["red", " red", "", "NA"] * 15, "a": list(range(60)), "y": words}
    parquet.write_table(Table.from_pydict(columns), tmp_path / "t.parquet")
    config, _ = compose_config(
        ["data=csv", f"data.file={tmp_path}/t.parquet", "data.target=y", "data.batch_size=8", "seed=0"]
    )
    data = Builder(()).data(plain(config)["data"], 0)
    data.setup("fit")
    assert list(data.class_names) == ["no", "yes"]
    assert list(data.input_names) == ["w=red", "w=(missing)", "a"]


@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel"])
def test_auroc_ranks_sure_answers(name: str) -> None:
    dice = torch.Generator().manual_seed(0)
    outputs = 100 * torch.randn(400, 1 if name == "binary" else 3, generator=dice) + 50
    if name == "multiclass":
        targets = torch.randint(3, (400,), generator=dice)
        others = [[c for c in range(3) if c != k] for k in range(3)]
        odds = torch.stack([outputs[:, k] - outputs[:, o].double().logsumexp(1) for k, o in enumerate(others)], 1)
        expected = np.mean([roc_auc_score(targets == k, odds[:, k]) for k in range(3)])
    else:
        targets = torch.randint(2, outputs.shape, generator=dice).float()
        expected = np.mean([roc_auc_score(t, o) for t, o in zip(targets.T, outputs.T, strict=True)])
    task = task_of({"task": name, "num_outputs": outputs.shape[1]})
    assert task.measure(outputs, targets, ["auroc"])["auroc"] == pytest.approx(expected, abs=1e-6)


def test_own_pictures_are_decoded_as_in_training(tmp_path: Path) -> None:
    rgb = "[{_target_: torchvision.transforms.v2.RGB}]"
    own = [f"data.train_transforms={rgb}", f"data.eval_transforms={rgb}", "data.mean=[.5,.5,.5]"]
    given = [*pictures(tmp_path / "p"), *own, "data.std=[.25,.25,.25]", "data.channels=1"]
    folder = gradloop.train([*QUIET, f"output_dir={tmp_path}/runs", *given])["folder"]
    evaluate([f"run={folder}", "predictions=true"], None, "evaluate")
    (tested,) = Path(folder).glob("predictions*.csv")
    rows = list(csv.DictReader(tested.read_text().splitlines()))
    evaluate([f"run={folder}", f"inputs={tmp_path}/p/{rows[0]['name']}", "predictions=true"], None, "evaluate")
    (again,) = (path for path in Path(folder).rglob("predictions*.csv") if path != tested)
    (row,) = csv.DictReader(again.read_text().splitlines())
    shares = [name for name in row if name.startswith("p_")]
    assert shares, row
    for name in shares:
        assert float(row[name]) == pytest.approx(float(rows[0][name]), abs=1e-5)


@pytest.mark.parametrize(
    ("transform", "words"),
    [("RandomZoomOut", r"data\.train_transforms: gives pictures of"), ("Grayscale", "give data.mean and data.std")],
)
def test_transforms_that_change_shapes_are_refused(transform: str, words: str, tmp_path: Path) -> None:
    own = f"[{{_target_: torchvision.transforms.v2.{transform}}}]"
    own_eval = [f"data.eval_transforms={own}"] if transform == "Grayscale" else []
    given = [*pictures(tmp_path / "p"), f"data.train_transforms={own}", *own_eval]
    with pytest.raises(ConfigError, match=words):
        gradloop.train([*QUIET, f"output_dir={tmp_path}/runs", *given])
    assert not (tmp_path / "runs").exists()
