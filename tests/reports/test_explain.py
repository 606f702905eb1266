"""gradloop-explain, from a run folder to pages, for every kind of data."""

from __future__ import annotations

import csv
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import gradloop
from gradloop.commands.explain import idle_knobs, main, run
from gradloop.commands.help import help_text
from gradloop.config.conf_folder import conf_folder
from gradloop.drawing import figures
from gradloop.errors import CheckpointError, ConfigError, DataError, GradloopError
from gradloop.training.saved_run import open_run

pytest.importorskip("captum")

OVERRIDES = {
    "digits": ["data=digits", "trainer.max_epochs=2"],
    "table": ["data.samples=200", "data.features=5", "trainer.max_epochs=2"],
    "binary": ["data.samples=200", "data.features=5", "data.task=binary", "trainer.max_epochs=2"],
    "line": ["data=linear_regression", "model=linear", "trainer.max_epochs=5"],
    "curve": ["data=linear_regression", "trainer.max_epochs=2"],
    "pictures": [
        "data=image_folder",
        "model=simple_nn",
        "data.batch_size=4",
        "trainer.max_epochs=2",
    ],
}
CLASSIFIER = {"confusion.png", "reliability.png", "per_class.png", "most_wrong.png", "most_wrong.csv", "explain.json"}
TABLE = {"feature_attributions.png", "permutation_importance.png", "features.csv"}
EXPECTED = {
    "digits": CLASSIFIER | {"maps.png"},
    "pictures": CLASSIFIER | {"maps.png"},
    "table": CLASSIFIER | TABLE,
    "binary": CLASSIFIER | TABLE,
    "line": {"fit.png", "residuals.png", "loss_surface.png", "explain.json"},
    "curve": {"fit.png", "residuals.png", "explain.json"},
}
QUICK = ["explain.steps=4", "explain.samples=3", "explain.repeats=2"]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PAGE_DOTS", 40)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return name -> the folder of a run of that kind, trained once."""
    folders: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in folders:
            folder = tmp_path_factory.mktemp("runs") / name
            overrides = [*OVERRIDES[name], f"hydra.run.dir={folder}", "name=" + name, "seed=0", "accelerator=cpu"]
            if name == "pictures":
                root = picture_folder(folder.parent / "data")
                overrides += [f"data.root={root}", f"data.cache_dir={folder.parent / 'cache'}"]
            gradloop.train([*overrides, "callbacks.tensorboard.graph=false"])
            folders[name] = folder
        return folders[name]

    return make


def picture_folder(root: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for name, low in (("dark", 0), ("light", 128)):
        (root / name).mkdir(parents=True)
        for number in range(20):
            values = torch.randint(low, low + 128, (6, 8, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(values.numpy()).save(root / name / f"{number}.png")
    return root


def explain(folder: Path, *overrides: str) -> set[str]:
    own = any(line.startswith("explain.inputs=") for line in overrides)
    idle = idle_knobs(open_run(folder).recipe["facts"], own=own)
    quick = [line for line in QUICK if line.partition("=")[0] not in idle]
    return {path.name for path in run([f"run={folder}", *quick, *overrides], None, "explain")}


def refused(error: type[GradloopError], message: str, *overrides: str) -> None:
    with pytest.raises(error, match=message) as caught:
        run(list(overrides), None, "explain")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [name if name in ("digits", "table") else pytest.param(name, marks=pytest.mark.slow) for name in OVERRIDES],
)
def test_every_kind_of_run_is_explained(trained: Callable[[str], Path], name: str) -> None:
    folder = trained(name)
    assert explain(folder) == EXPECTED[name] == {path.name for path in (folder / "explain").iterdir()}
    pages = {path.stem: path.read_bytes() for path in (folder / "explain").glob("*.png")}
    for png in pages.values():
        width, height = struct.unpack(">II", png[16:24])
        assert width >= 5 * 40
        assert height >= 4 * 40
    if name == "line":
        explain(folder)  # a second time replaces the first
    shown = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0}).Reload()
    tags = [tag for tag in shown.Tags()["images"] if tag.startswith("explain/")]
    assert {tag.removeprefix("explain/") for tag in tags} == set(pages)
    for tag in tags:
        assert len(shown.Images(tag)) == 1


def test_the_numbers_are_those_of_the_run(trained: Callable[[str], Path]) -> None:
    folder = trained("digits")
    if not (folder / "explain" / "explain.json").exists():
        explain(folder)
    numbers = json.loads((folder / "explain" / "explain.json").read_text())
    record = json.loads((folder / "summary.json").read_text())
    assert numbers["accuracy"] == pytest.approx(record["metrics"]["test/accuracy"])
    assert 0 < numbers["ece"] < 1
    with open(folder / "explain" / "most_wrong.csv") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses == sorted(losses, reverse=True)


def test_the_path_of_a_line_is_in_the_history(trained: Callable[[str], Path]) -> None:
    folder = trained("line")
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    network = gradloop.load(folder, checkpoint="last").network
    assert len(rows) == 5
    assert float(rows[-1]["weight"]) == network.weight.item()
    assert float(rows[-1]["bias"]) == network.bias.item()


@pytest.mark.parametrize("name", ["digits", "curve"])
def test_any_other_network_logs_no_line(trained: Callable[[str], Path], name: str) -> None:
    assert "weight" not in (trained(name) / "metrics.csv").read_text()


def test_own_pictures(trained: Callable[[str], Path], tmp_path: Path) -> None:
    folder = trained("pictures")
    for number, grey in enumerate((30, 220, 60, 190)):
        Image.new("RGB", (8, 6), (grey, grey, grey)).save(tmp_path / f"{number}.png")
    written = explain(folder, f"explain.inputs={tmp_path}")
    assert written == {"predictions.csv", "inputs_maps_1.png", "inputs_maps_2.png"}
    with open(folder / "explain" / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["name"]).name for row in rows] == ["0.png", "1.png", "2.png", "3.png"]
    for row in rows:
        assert float(row["p_dark"]) + float(row["p_light"]) == pytest.approx(1)
        assert row["predicted"] == ("dark" if float(row["p_dark"]) > 0.5 else "light")
    one = explain(folder, f"explain.inputs=[{tmp_path}/2.png]")
    assert one == {"predictions.csv", "inputs_maps.png"}
    with open(folder / "explain" / "predictions.csv") as file:
        (row,) = csv.DictReader(file)
    assert float(row["p_dark"]) == pytest.approx(float(rows[2]["p_dark"]), abs=1e-6)


def test_a_test_picture_given_as_ones_own_is_predicted_alike(trained: Callable[[str], Path]) -> None:
    from gradloop.commands.evaluate import run as evaluate

    folder = trained("pictures")
    evaluate([f"run={folder}", "predictions=true", "bootstrap=0"], None, "evaluate")
    with open(folder / "predictions.csv") as file:
        known = list(csv.DictReader(file))
    root = Path(yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())["data"]["root"])
    files = [next(root.rglob(row["name"])) for row in known]
    explain(folder, f"explain.inputs=[{','.join(map(str, files))}]")
    with open(folder / "explain" / "predictions.csv") as file:
        for row, expected in zip(csv.DictReader(file), known, strict=True):
            assert float(row["p_dark"]) == pytest.approx(float(expected["p_dark"]), abs=1e-5)


def test_own_table(trained: Callable[[str], Path], tmp_path: Path) -> None:
    from sklearn.datasets import make_classification

    folder = trained("table")
    config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())["data"]
    table, _ = make_classification(
        n_samples=200, n_features=5, n_informative=config["informative"], n_redundant=config["redundant"],
        n_clusters_per_class=2, flip_y=config["label_noise"], random_state=config["random_state"],
    )  # fmt: skip
    text = "x0,x1,x2,x3,x4\n" + "\n".join(",".join(map(str, row)) for row in table)
    (tmp_path / "own.csv").write_text(text)
    assert explain(folder, f"explain.inputs={tmp_path}/own.csv") == {
        "predictions.csv", "inputs_attributions.csv", "inputs_attributions.png",
    }  # fmt: skip
    # the raw table is scaled as in training: every row of the test part is predicted as the run predicts it
    module, data = gradloop.load(folder), rebuilt(folder)
    with torch.no_grad():
        expected = module.predictions(module(data.splits["test"].inputs))[:, 1]
    with open(folder / "explain" / "predictions.csv") as file:
        found = torch.tensor([float(row["p_1"]) for row in csv.DictReader(file)])
    for value in expected:
        assert (found - value).abs().min() < 1e-5


def rebuilt(folder: Path):
    data = open_run(folder).data()
    data.setup("test")
    return data


def test_mistakes_are_one_line_of_the_right_kind(trained: Callable[[str], Path], tmp_path: Path) -> None:
    folder = trained("digits")
    Image.new("L", (28, 28)).save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    given = f"run={folder}"
    refused(CheckpointError, "no such run folder", f"run={tmp_path / 'nowhere'}")
    refused(CheckpointError, "no run here", f"run={tmp_path}")
    refused(ConfigError, "'run' has no value")
    refused(ConfigError, "did you mean 'explain.inputs'", given, "explain.input=a.png")
    refused(ConfigError, "explain.target=predict: .*did you mean 'predicted'", given, "explain.target=predict")
    refused(ConfigError, "explain.side=0.0: expected above 0", given, "explain.side=0.0")
    refused(ConfigError, "explain.samples=0: expected 1 to 64", given, "explain.samples=0")
    refused(ConfigError, "nobody knows", given, f"explain.inputs={tmp_path}/large.png", "explain.target=actual")
    refused(DataError, "gone.png: no such file", given, "explain.inputs=gone.png")
    refused(DataError, "large.png: 28 x 28 pixels", given, f"explain.inputs={tmp_path}/large.png")
    refused(DataError, "broken.png: can't be read", given, f"explain.inputs={tmp_path}/broken.png")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    refused(DataError, "table.csv: no column 'x0'", f"run={trained('table')}", f"explain.inputs={tmp_path}/table.csv")


def test_a_mistake_ends_the_command_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gradloop-explain", f"run={tmp_path}"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 4
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("name", ["explain", "evaluate"])
def test_help_names_every_knob(name: str) -> None:
    config = yaml.safe_load((conf_folder() / f"{name}.yaml").read_text())
    knobs = [key for key in config if key not in ("defaults", "explain")]
    knobs += [f"explain.{key}" for key in config.get("explain", {})]
    text = help_text(name)
    assert [knob for knob in knobs if f"  {knob}=" not in text] == []
