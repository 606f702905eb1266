"""logger=wandb|mlflow|comet|trackio: one run of theirs for each of ours, gone on with by resume=; or one line."""

from __future__ import annotations

import json

import pytest

from gradloop.config import trackers
from trackers_for_tests import TOY, has, history, nobody_logged_in  # noqa: F401 - a fixture

WANDB = ("logger=wandb", "logger.wandb.offline=true")
AWAY = "http://127.0.0.1:9"  # nobody listens there


@pytest.mark.parametrize("sweep", [(), ("-m", "optimizer.lr=0.1,0.2")], ids=["run", "sweep"])
@pytest.mark.parametrize("label", ["wandb", "mlflow", "comet", "trackio"])
def test_a_missing_package_is_named_and_nothing_created(label, sweep, command, monkeypatch, tmp_path):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    ended = command(*TOY, f"logger={label}", *sweep)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert f"pip install 'gradloop[{label}]'" in ended.err
    assert list((tmp_path / "here").iterdir()) == []


REFUSED = [
    pytest.param(["logger=wandb"], ["nobody is logged in", "logger.wandb.offline=true"], marks=has("wandb")),
    pytest.param(["logger=mlflow"], ["no server", "MLFLOW_TRACKING_URI="], marks=has("mlflow")),
    pytest.param(["logger=comet"], ["no key", "COMET_API_KEY"], marks=has("comet_ml")),
    (["logger=neptune"], ["there are comet, csv, mlflow", "ended its service"]),
    (["logger=mlflow", "logger.mlflow.tracking_uri=http://x"], ["tracking_uri", "MLFLOW_TRACKING_URI"]),
    (["logger=wandb", "+logger.wandb.dir=/tmp/x"], ["logger.wandb.dir"]),
    (["logger=wandb", "+logger.wandb.save_dir=/tmp/x"], ["logger.wandb.save_dir", "inside the run's own"]),
    (["logger=trackio", "logger.trackio.project=../x"], ["logger.trackio.project=../x"]),
    (["+logger.mine._target_=lightning.pytorch.loggers.WandbLogger"], ["use logger=wandb"]),
    (["+logger.mine._target_=lightning.pytorch.loggers.MLFlowLogger"], ["use logger=mlflow"]),
]


@pytest.mark.parametrize(("lines", "words"), REFUSED)
def test_what_cannot_be_is_one_line_and_nothing_created(lines, words, command, monkeypatch, tmp_path):
    offline = ("logger.wandb.offline=true",) if "logger=wandb" in lines and len(lines) > 1 else ()
    ended = command(*TOY, *lines, *offline)
    assert ended.code == 2
    assert ended.err.count("\n") == 1, ended.err
    for word in words:
        assert word in ended.err
    assert list((tmp_path / "here").iterdir()) == []


@has("mlflow")
def test_a_server_that_is_away_is_told_before_anything_is_created(command, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ended = command(*TOY, "logger=mlflow")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"MLFLOW_TRACKING_URI={AWAY} does not answer" in ended.err
    assert list((tmp_path / "here").iterdir()) == []


def rows_of(attempts: list[dict], name: str) -> list[tuple[int, float]]:
    rows = [row for attempt in attempts for row in attempt["rows"] if name in row]
    return [(row["trainer/global_step"], row[name]) for row in rows]


@has("wandb")
def test_wandb_offline_has_all_of_a_run_and_goes_on_with_it(command, tmp_path):
    from wandb_files import told

    lines = ["tags=[a,b]", "notes=tried", "callbacks.checkpoints.every_seconds=0"]
    toy = [line for line in TOY if "curves" not in line]
    ended = command(*toy, *WANDB, *lines, "trainer.max_epochs=3")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    assert f"wandb: wandb sync {run}/wandb/offline-run-" in ended.out
    assert "tensorboard" not in ended.out
    (first,) = told(run)
    assert first["name"] == run.name
    assert (first["tags"], first["notes"], first["exit"]) == (["a", "b"], "tried", 0)
    assert first["config"]["optimizer"]["lr"] == 0.001
    assert first["config"]["trainer"]["max_epochs"] == 3
    assert rows_of([first], "val/loss") == history(run, "val/loss")
    results = json.loads((run / "summary.json").read_text())["metrics"]
    assert rows_of([first], "test/loss") == [(3, pytest.approx(results["test/loss"]))]
    assert rows_of([first], "best/val/loss") == [(3, pytest.approx(results["val/loss"]))]
    assert list(run.glob("wandb/*/files/media/images/fit_*.png"))
    assert not [p for p in run.rglob("*") if p.is_symlink() and not p.resolve().is_relative_to(run)]

    # as if it had been killed after it sent its third epoch, and before that was saved
    (run / "checkpoints" / "last.ckpt").unlink()
    ended = command(f"resume={run}", "trainer.max_epochs=5")
    assert ended.code == 0, ended.err
    attempts = told(run)
    assert len(attempts) == 2
    assert {attempt["id"] for attempt in attempts} == {json.loads((run / "wandb.json").read_text())["id"]}
    assert [step for step, _ in rows_of(attempts, "val/loss")] == [1, 2, 3, 4, 5]
    assert rows_of(attempts, "val/loss") == history(run, "val/loss")
    assert attempts[1]["config"]["trainer"]["max_epochs"] == 5
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["outputs"]


@has("wandb")
def test_a_tracker_that_fails_is_off_and_the_run_goes_on(command, monkeypatch, tmp_path):
    from gradloop.callbacks.trackers import Wandb

    send = Wandb.send

    def fail(self, metrics, step):
        if step > 1:
            raise OSError("the server is away\nand more")
        send(self, metrics, step)

    monkeypatch.setattr(Wandb, "send", fail)
    ended = command(*[line for line in TOY if "curves" not in line], *WANDB, "trainer.max_epochs=3")
    assert ended.code == 0
    assert ended.err.count("\n") == 1, ended.err
    assert "logger=wandb failed and is off for the rest of this run, which goes on:" in ended.err
    assert "the server is away" in ended.err
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    record = json.loads((run / "summary.json").read_text())
    assert record["status"] == "completed"
    assert record["warning"] in ended.err
    assert len(history(run, "val/loss")) == 3


@pytest.mark.slow
@has("wandb")
@pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:.*is already saved during checkpoint")
def test_a_lightning_module_of_ones_own_logs_to_several_at_once(command, tmp_path):
    from wandb_files import told

    lines = ["module._target_=own_lightning.LitAutoEncoder", "data=digits", "seed=1", "callbacks.progress=null"]
    ended = command(*lines, "trainer.max_epochs=2", "logger=[tensorboard,wandb]", "logger.wandb.offline=true")
    assert (ended.code, ended.err) == (0, "")
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    assert f"curves: tensorboard --logdir '{run}'" in ended.out
    assert list(run.glob("tensorboard/events.out.tfevents.*"))
    (theirs,) = told(run)
    assert theirs["exit"] == 0
    assert theirs["config"]["module"]["_target_"] == "own_lightning.LitAutoEncoder"
    assert [value for _, value in rows_of([theirs], "val_loss")] == [value for _, value in history(run, "val_loss")]


@has("wandb")
def test_an_id_that_cannot_be_one_is_refused(command, tmp_path):
    assert command(*TOY, "logger=none", "trainer.max_epochs=1").code == 0
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    (run / "wandb.json").write_text('{"id": "../../x", "steps": {}}')
    ended = command(f"resume={run}", "trainer.max_epochs=2", *WANDB)
    assert (ended.code, ended.err.count("\n")) == (4, 1)
    assert "wandb.json: id='../../x'" in ended.err
    assert not (run / "wandb").exists()


@pytest.mark.slow
@has("wandb")
def test_a_sweeps_runs_have_one_each_and_go_on_with_it(command, tmp_path):
    from wandb_files import told

    ended = command("-m", *TOY, *WANDB, "trainer.max_epochs=2", "optimizer.lr=0.1,0.2")
    assert ended.code == 0, ended.err + ended.out
    assert "follows one run" in ended.out + ended.err  # why the two are no population
    (sweep,) = (tmp_path / "here").glob("outputs/*/*/sweep.json")
    runs = [sweep.parent / "0", sweep.parent / "1"]
    before = [told(run) for run in runs]
    assert [len(attempts) for attempts in before] == [1, 1]
    assert before[0][0]["id"] != before[1][0]["id"]
    assert [attempts[0]["name"] for attempts in before] == ["lr=0.1", "lr=0.2"]
    assert {attempts[0]["group"] for attempts in before} == {sweep.parent.name}
    record = json.loads((runs[1] / "summary.json").read_text())
    (runs[1] / "summary.json").write_text(json.dumps(record | {"status": "interrupted"}))
    ended = command("-m", f"sweep.resume={sweep.parent}")
    assert ended.code == 0, ended.err + ended.out
    assert len(told(runs[0])) == 1
    again = told(runs[1])
    assert [attempt["id"] for attempt in again] == [before[1][0]["id"]] * 2
    assert [step for step, _ in rows_of(again, "val/loss")] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "label", [pytest.param("comet", marks=has("comet_ml")), pytest.param("trackio", marks=has("trackio"))]
)
def test_others_keep_to_the_runs_folder_and_go_on(label, command, tmp_path):
    offline = ["logger.comet.offline=true"] if label == "comet" else []
    assert command(*TOY, f"logger={label}", *offline, "trainer.max_epochs=2").code == 0
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    first = json.loads((run / f"{label}.json").read_text())
    ended = command(f"resume={run}", "trainer.max_epochs=3")
    assert ended.code == 0, ended.err
    kept = json.loads((run / f"{label}.json").read_text())
    assert kept["id"] == first["id"]
    assert (first["steps"]["val/loss"], kept["steps"]["val/loss"]) == (2, 3)
    assert "warning" not in json.loads((run / "summary.json").read_text())
    assert list((run / label).iterdir())
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["outputs"]
