"""What a run says of itself, in curves, records and lines, where an epoch is cut, validated inside, or diverges."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.errors import ConfigError, DivergedError
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.labels import has_direction, mode_of, tag
from resume.drawn_stops import TEMPLATE, curves
from small_runs import train

DIGITS = ["data=digits", "seed=0", "trainer.max_epochs=1"]
OWN = ["module._target_=own_lightning.DigitsLitModule", *TEMPLATE[:-1], "allow=[own_lightning]"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is already saved during checkpointing.*"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval.*"),
]


def test_an_own_module_is_validated_at_an_epochs_end_too(tmp_path: Path) -> None:
    run = train(tmp_path, *DIGITS, *OWN, "trainer.val_check_interval=0.6")
    best = read_checkpoint(Path(run["folder"]) / "checkpoints" / "best.ckpt")
    module = gradloop.load(run["folder"], allow=("own_lightning",))
    data = read_validation(run["folder"])
    with torch.no_grad():
        right = (module(data[0]).argmax(1) == data[1]).float().mean()
    assert best["gradloop"]["metrics"]["val/acc"] == pytest.approx(float(right), abs=1e-6)


def read_validation(folder: str) -> tuple[torch.Tensor, torch.Tensor]:
    from gradloop.runs.record import read_config
    from gradloop.training.build import Builder

    values = read_config(Path(folder))
    data = Builder(()).data(values["data"], values["seed"])
    data.setup("fit")
    rows = torch.arange(len(data.splits["val"]))
    return data.seen("val", rows), data.splits["val"].targets


def test_a_validation_that_ends_a_run_is_one_point(tmp_path: Path) -> None:
    run = train(tmp_path, *DIGITS, "trainer.max_epochs=2", "trainer.max_steps=50", "logger=tensorboard")
    steps = [step for step, _ in curves(Path(run["folder"]))["loss/val"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 50


@pytest.mark.parametrize("alone", ["sweep.population=off", "sweep.population=auto"])
def test_a_last_step_that_diverges_ends_the_run_so(alone: str, tmp_path: Path) -> None:
    line = ["data=linear_regression", "model=linear", "optimizer=sgd", "trainer.max_epochs=1", "trainer.test=false"]
    if alone.endswith("off"):
        with pytest.raises(DivergedError, match=r"diverged at step \d+ \(epoch 1\).*the weights in"):
            train(tmp_path, *[each for each in line if "test" not in each], "optimizer.lr=1e38", "seed=0")
        return
    quiet = ["logger=none", "callbacks.progress=null", f"hydra.sweep.dir={tmp_path}/s"]
    board = gradloop.sweep([*line[:-1], "optimizer.lr=1e38,1e-3", "seed=0,1", alone, *quiet])
    assert sorted(row["status"] for row in board.rows) == ["completed", "diverged"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("callbacks=batch_size_finder trainer.limit_train_batches=0.5", "trainer.limit_train_batches=0.5: not even"),
        ("callbacks=batch_size_finder trainer.limit_val_batches=0.5", "trainer.limit_val_batches=0.5: not even one"),
        ("trainer.limit_train_batches=3 trainer.val_check_interval=9", "val_check_interval=9: an epoch has only 3"),
    ],
)
def test_limits_that_leave_nothing_are_refused(line: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        train(tmp_path, *DIGITS, *line.split())


def test_a_finder_that_finds_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finder = ["callbacks=lr_finder", "callbacks.lr_finder.min_lr=1", "callbacks.lr_finder.max_lr=1e6"]
    run = train(tmp_path, *DIGITS, *finder)
    assert "the loss falls at no rate from 1 to 1e+06; the run keeps optimizer.lr=0.001" in capsys.readouterr().out
    assert not run.get("found")


def test_a_finder_takes_as_many_batches_a_step_as_the_run(tmp_path: Path) -> None:
    given = [*DIGITS, "callbacks=lr_finder", "data.batch_size=16"]
    found = [train(tmp_path, *given, f"trainer.accumulate_grad_batches={n}")["found"] for n in (1, 8)]
    assert found[0] != found[1]


def test_throughput_counts_samples_and_short_runs(tmp_path: Path) -> None:
    given = [*DIGITS, "callbacks=throughput", "logger=csv", "data.batch_size=1000", "callbacks.throughput.window=100"]
    rates = {}
    for drop in ("true", "false"):
        folder = Path(train(tmp_path, *given, "trainer.max_epochs=4", f"data.drop_last={drop}")["folder"])
        (file,) = (path for path in folder.rglob("*.csv") if path.parent != folder)
        rows = [row for row in read_rows(file) if row.get("throughput/device/flops_per_sec")]
        rates[drop] = [
            float(r["throughput/device/flops_per_sec"]) / float(r["throughput/device/samples_per_sec"]) for r in rows
        ]
    assert rates["true"]
    assert rates["false"][-1] == pytest.approx(rates["true"][-1], rel=1e-3)


def read_rows(file: Path) -> list[dict[str, str]]:
    import csv

    return list(csv.DictReader(file.read_text().splitlines()))


def test_an_own_modules_steps_are_logged_as_often_as_asked(tmp_path: Path) -> None:
    run = train(tmp_path, *DIGITS, *OWN, "+trainer.log_every_n_steps=1", "logger=tensorboard")
    points = curves(Path(run["folder"]))
    assert len(points["metric/raw_loss/train_step"]) == run["best"]["step"]
    assert len(points["metric/raw_loss/train"]) == run["epochs"] == 1
    with pytest.raises(ConfigError, match="log_every_n_steps"):
        train(tmp_path, *DIGITS, "+trainer.log_every_n_steps=1")


@pytest.mark.parametrize(
    ("name", "mode"),
    [("val/MulticlassAccuracy", "max"), ("val_top1", "max"), ("val/BinaryF1Score", "max"), ("val/mAP50", "max"),
     ("val_acc1", "max"), ("val/r2score", "max"), ("val/MeanSquaredError", "min"), ("g_loss", "min"),
     ("val/negative_log_likelihood", "min"), ("val/loss", "min")],
)  # fmt: skip
def test_a_metrics_name_says_which_way_is_better(name: str, mode: str) -> None:
    assert has_direction(name)
    assert mode_of(name) == mode


def test_a_name_that_does_not_is_asked_for_it(tmp_path: Path) -> None:
    own = ["+callbacks.own._target_=own_callbacks.LogBatches", "allow=[own_lightning,own_callbacks]"]
    with pytest.raises(ConfigError, match=r"monitor=mine/index: says not which way is better; add monitor_mode"):
        train(tmp_path, *DIGITS, *OWN[:-1], *own, "monitor=mine/index")


def test_the_mean_of_an_epoch_is_the_curve() -> None:
    assert tag("train/loss_epoch") == tag("train/loss") == "loss/train"
    assert tag("train_acc_step") == "metric/acc/train_step"


def test_no_schedule_is_none_to_an_own_module(tmp_path: Path) -> None:
    own = ["module._target_=own_lightning.DigitsLitModule", TEMPLATE[0], TEMPLATE[1], "allow=[own_lightning]"]
    run = train(tmp_path, *DIGITS, *own, "+module.scheduler=${scheduler}")
    assert run["status"] == "completed"


def test_one_tracker_of_a_kind(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    other = "{_target_: gradloop.callbacks.trackers.Wandb, save_dir: x, offline: true}"
    with pytest.raises(ConfigError, match=r"logger\.other: a second wandb, beside logger\.wandb"):
        train(tmp_path, *DIGITS, "logger=wandb", "logger.wandb.offline=true", f"+logger.other={other}")


def test_wandb_that_is_disabled_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody answers there
    run = train(tmp_path, *DIGITS, "logger=wandb")
    assert (run["status"], run.get("warning")) == ("completed", None)


def test_what_a_callback_logs_of_accumulated_batches_is_a_point_a_step(tmp_path: Path) -> None:
    own = ["+callbacks.own._target_=own_callbacks.LogBatches", "allow=[own_callbacks]"]
    run = train(
        tmp_path, *DIGITS, *own, "trainer.accumulate_grad_batches=5", "data.batch_size=100", "logger=tensorboard"
    )
    steps = [step for step, _ in curves(Path(run["folder"]))["mine/index"]]
    assert steps == list(range(3))  # 12 batches


def test_several_values_under_one_name_are_curves_of_their_own(tmp_path: Path) -> None:
    from gradloop.callbacks.tensorboard_logger import TensorBoard

    logger = TensorBoard(save_dir=str(tmp_path))
    logger.log_metrics({"losses": {"train": 1.0, "val": 2.0}, "x": 3.0}, step=1)
    logger.close()
    assert curves(tmp_path) == {"losses/train": [(1, 1.0)], "losses/val": [(1, 2.0)], "parameter/x": [(1, 3.0)]}


def test_a_regression_that_has_learned_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.csv").write_text("x,price\n" + "".join(f"{k},{300_000 + 1000 * k}\n" for k in range(200)))
    train(tmp_path, "data=csv", f"data.file={tmp_path}/t.csv", "data.target=price", "trainer.max_epochs=1")
    out = capsys.readouterr().out
    assert "a network begins near 0: divided by 100,000, say" in out
    assert "warning: test/r2 -" in out
    assert "more epochs, or targets divided by their standard deviation" in out
