"""Every lesson holds what its head claims, and ends in a picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.text import Text
from torch import Tensor

import gradloop
from gradloop.callbacks.augmented_grid import blanked
from gradloop.callbacks.lessons import page
from gradloop.callbacks.lessons.autograd import accumulated, tutorial_gradient
from gradloop.callbacks.lessons.before_and_after import seen
from gradloop.callbacks.lessons.functions import classification, with_derivative
from gradloop.callbacks.lessons.linear_fit import least_squares
from gradloop.callbacks.lessons.saliency import blanking, saliency
from gradloop.config.check import plain
from gradloop.config.compose import compose_config
from gradloop.config.conf_folder import conf_folder
from gradloop.networks.simple_nn import ACTIVATIONS
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.training.build import Builder
from gradloop.training.saved_run import open_run

LESSONS = sorted((conf_folder() / "experiment" / "lesson").glob("*.yaml"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a lesson, each but once."""
    done: dict[tuple[str, ...], dict[str, Any]] = {}
    folder = tmp_path_factory.mktemp("lessons")

    def train(lesson: str, *overrides: str) -> dict[str, Any]:
        key = (lesson, *overrides)
        if key not in done:
            options = [f"experiment=lesson/{lesson}", f"output_dir={folder}", "callbacks.progress=null", *overrides]
            done[key] = gradloop.train([*options, "callbacks.tensorboard=null", "logger=none"])
        return done[key]

    return train


def weights(record: dict[str, Any]) -> dict[str, Tensor]:
    return read_checkpoint(Path(record["folder"]) / "checkpoints" / "last.ckpt")["state_dict"]


def data_of(lesson: str, *overrides: str) -> Any:
    values = plain(compose_config([f"experiment=lesson/{lesson}", *overrides])[0])
    data = Builder()("data", values["data"])
    data.setup()
    return data


def test_there_are_six() -> None:
    assert [path.stem[0] for path in LESSONS] == list("123456")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_head_says_what_to_run_what_to_see_and_why_in_two_languages(path: Path) -> None:
    head = re.match(r"(#.*\n)+", path.read_text())
    assert head
    english, korean = re.split(r"# \d과: ", head[0])
    for text, words in (
        (english, ("Run:", "Look:", "Why:", "Try:")),
        (korean, ("실행:", "볼 것:", "이유:", "해보기:")),
    ):
        assert all(word in text for word in words)
        assert f"gradloop-train experiment=lesson/{path.stem}" in text
        assert 9 <= len([line for line in text.splitlines() if len(line) > 3]) <= 13
    assert len(re.findall(r"[가-힣]", korean)) > 200
    assert not re.search(r"[가-힣]", english)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_each_ends_in_a_picture(path: Path, run: Any) -> None:
    record = run(path.stem)
    assert record["status"] == "completed"
    assert record["durations"]["total"] < 60
    assert (Path(record["folder"]) / "lesson.png").read_bytes().startswith(b"\x89PNG")
    assert "could not draw" not in (Path(record["folder"]) / "train.log").read_text()


def test_1_autograd_finds_the_derivative_by_hand() -> None:
    x = torch.tensor([-3.0, 0.0, 0.5, 2.0])
    torch.testing.assert_close(tutorial_gradient(x), x + 1)


def test_1_accumulating_two_batches_equals_one_of_twice_the_size(run: Any) -> None:
    lesson = "1_autograd"
    two, one = run(lesson), run(lesson, "data.batch_size=16", "trainer.accumulate_grad_batches=1")
    for name, weight in weights(two).items():
        torch.testing.assert_close(weight, weights(one)[name], rtol=0, atol=1e-6)
    split = data_of(lesson).splits["train"]
    bars = accumulated(gradloop.load(two["folder"]), split.inputs[:16], split.targets[:16])
    first, second, both, halved, whole = (torch.tensor(values) for values in bars.values())
    torch.testing.assert_close(first + second, both)
    torch.testing.assert_close(halved, whole)


def test_2_the_line_is_the_least_squares_line(run: Any) -> None:
    lesson = "2_training_loop"
    slope, intercept = (float(weight) for weight in weights(run(lesson)).values())
    assert slope == pytest.approx(2, abs=0.1)
    assert intercept == pytest.approx(0.5, abs=0.15)
    split = data_of(lesson).splits["train"]
    assert (slope, intercept) == pytest.approx(least_squares(split.inputs[:, 0], split.targets[:, 0]), abs=2e-3)


def test_2_the_steepest_curvature_bounds_the_learning_rate(run: Any) -> None:
    x = data_of("2_training_loop").splits["train"].inputs[:, 0]
    design = torch.stack([x, torch.ones_like(x)], 1)
    curvature = float(torch.linalg.eigvalsh(2 * design.T @ design / len(x)).max())
    assert curvature == pytest.approx(12.3, abs=0.05)
    short = "trainer.max_epochs=60"
    assert run("2_training_loop", short, f"optimizer.lr={0.97 * 2 / curvature}")["metrics"]["train/loss"] < 25
    wild = weights(run("2_training_loop", short, f"optimizer.lr={1.05 * 2 / curvature}"))
    assert float(wild["network.weight"].abs()) > 100


def test_3_sigmoid_passes_on_a_quarter_at_most_and_relu_all_or_nothing() -> None:
    z = torch.linspace(-6, 6, 1201)
    assert with_derivative(ACTIVATIONS["sigmoid"](), z)[1].max() == pytest.approx(0.25)
    assert set(with_derivative(ACTIVATIONS["relu"](), z)[1].tolist()) == {0.0, 1.0}
    at = torch.tensor([-8.0])  # badly wrong: cross-entropy still pulls, the squared error has let go
    pull = [abs(float(with_derivative(function, at)[1])) for function in classification().values()]
    assert pull[0] > 0.99
    assert pull[1] < 0.01


def test_3_the_gradient_vanishes_through_sigmoids(run: Any) -> None:
    def first_to_last(record: dict[str, Any]) -> float:
        states = read_checkpoint(Path(record["folder"]) / "checkpoints" / "last.ckpt")["callbacks"]
        row = next(state["rows"][0] for name, state in states.items() if name.startswith("Gradients"))
        return row["gradient_norm/1"] / row["gradient_norm/9"]

    relu = run("3_losses_and_activations")
    sigmoid = run("3_losses_and_activations", "model.activation=sigmoid")
    assert first_to_last(sigmoid) < first_to_last(relu) / 20
    assert relu["metrics"]["test/accuracy"] > 0.7
    assert sigmoid["metrics"]["test/accuracy"] < 0.5
    assert (Path(relu["folder"]) / "gradients.png").exists()


def test_4_a_square_of_zeros_anew_in_every_epoch_and_none_in_evaluation(run: Any) -> None:
    data, again = data_of("4_augmentation"), data_of("4_augmentation")
    whole = seen(data, 500, epoch=0, training=False)
    assert torch.equal(whole, data.splits["train"].inputs[:500])
    epochs = [seen(data, 500, epoch=epoch, training=True) for epoch in (0, 1)]
    assert torch.equal(epochs[1], seen(again, 500, epoch=1, training=True))
    assert not torch.equal(*epochs)
    changed = (epochs[0] - whole).abs() > 0.01
    assert (epochs[0][changed] == 0).all()
    rows, columns = changed.any(3).sum((1, 2)), changed.any(2).sum((1, 2))
    assert int(rows.max()) == int(columns.max()) == 3
    assert float(changed.flatten(1).any(1).float().mean()) == pytest.approx(0.5, abs=0.08)
    metrics = run("4_augmentation")["metrics"]
    assert metrics["train/loss"] > metrics["val/loss"]


def test_4_what_cutout_blanks_is_outlined() -> None:
    data = data_of("4_augmentation")
    whole = seen(data, 200, epoch=0, training=False)
    pictures = seen(data, 200, epoch=1, training=True)
    squares = blanked(data.train_transform(), 1, torch.arange(200))
    for before, after, found in zip(whole, pictures, squares, strict=True):
        expected = before.clone()
        for row, column, side in found:
            expected[:, row : row + side, column : column + side] = 0
        torch.testing.assert_close(after, expected)
    assert 70 < sum(map(len, squares)) < 130


@pytest.mark.slow
@pytest.mark.parametrize("lesson", [path.stem for path in LESSONS])
def test_pictures_speak_korean(lesson: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(page, "publish", lambda figure, *_: drawn.append(figure))
    run(lesson, "lang=ko", "trainer.max_epochs=1")
    texts = {text.get_text() for figure in drawn for text in figure.findobj(Text)}
    assert any(re.search("[가-힣]", text) for text in texts)
    formulas = r"backward|x\.grad|∂|loss/|relu|leaky_relu|sigmoid|tanh|gelu|huber|mse|l1|mean\("
    english = [text for text in texts if re.search("[A-Za-z]{3}", text) and not re.search("[가-힣]", text)]
    assert not [text for text in english if not re.search(formulas, text)]


def test_5_what_is_loaded_answers_as_what_was_trained(run: Any) -> None:
    from gradloop.commands.evaluate import evaluate

    record = run("5_save_and_load")
    trained = {name: value for name, value in record["metrics"].items() if name.startswith("test/")}
    assert trained["test/accuracy"] > 0.93
    saved = open_run(record["folder"])
    module, data = saved.module(), saved.data()
    data.setup()
    assert not module.training
    split = data.splits["test"]
    with torch.no_grad():
        loss = module.loss(module(split.inputs), split.targets).item()
    assert loss == pytest.approx(trained["test/loss"], rel=1e-5)
    values = plain(compose_config([f"run={record['folder']}"], config_name="evaluate")[0])
    assert evaluate(Path(record["folder"]), values) == trained


def test_6_the_answer_hangs_on_the_pixels_that_the_map_names(run: Any) -> None:
    record = run("6_saliency")
    module, split = gradloop.load(record["folder"]), data_of("6_saliency").splits["test"]
    maps = saliency(module, split.inputs, split.targets)
    assert maps.shape == (len(split), 8, 8)
    counts, most, least = blanking(module, split.inputs, split.targets, maps)
    assert counts[0] == 0
    assert most[0] == least[0] == pytest.approx(record["metrics"]["test/accuracy"], abs=1e-6)
    assert most[-1] < 0.3
    assert least[-1] > 0.9


def test_6_the_map_is_the_derivative_by_the_pixels(run: Any) -> None:
    module = gradloop.load(run("6_saliency")["folder"]).double()
    split = data_of("6_saliency").splits["test"]
    picture, target = split.inputs[:1].double(), split.targets[:1]
    step = torch.zeros_like(picture)
    step[0, 0, 4, 3] = 1e-6
    with torch.no_grad():
        difference = (module(picture + step) - module(picture - step))[0, target] / 2e-6
    assert saliency(module, picture, target)[0, 4, 3] == pytest.approx(abs(float(difference)), rel=1e-4)


def test_a_lesson_of_which_nothing_was_drawn_does_not_say_look(command):
    ended = command("experiment=lesson/6_saliency", "data=synthetic_classification", "trainer.max_epochs=1")
    assert ended.code == 0
    assert "warning: Saliency could not draw: " in ended.err
    assert "Look:" not in ended.out
    ended = command("experiment=lesson/2_training_loop", "model.bias=false")
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "draws y = weight x + bias" in line
