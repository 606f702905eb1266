"""What a run begins with, and at which rates: weights of another run, groups of weights, warm-up, plateaus."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import gradloop
import own_callbacks
from gradloop.config.signature import signature, stack_key
from gradloop.errors import CheckpointError, ConfigError, RunInterrupted
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.planning import plan
from gradloop.training.optimizing import matches
from gradloop.training.parts import Parts
from gradloop.training.population.checks import why_alone
from small_runs import assert_equal, train, weights

# 4 steps an epoch
NOTE = "+callbacks.note._target_=own_callbacks.NoteRates"
TINY = ["data.samples=200", "data.batch_size=32", "trainer.max_epochs=3", "logger=none", "test=false"]
WARM = {
    "cosine": "6", "linear": "1epochs", "step": "6", "multi_step": "1epoch", "plateau": "6", "constant": "2 epochs",
}  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("first"), *TINY, "name=first")


@pytest.fixture
def rates() -> list[list[float]]:
    """The rates of all groups, with which each step was taken."""
    own_callbacks.RATES.clear()
    return own_callbacks.RATES


def history(record: dict[str, Any]) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = read_checkpoint(Path(record["folder"]) / "checkpoints" / "last.ckpt")["gradloop"][
        "history"
    ]
    return rows


# warm-up


def test_the_rate_rises_in_a_line_and_the_schedule_begins_after_it(tmp_path: Path, rates: list[list[float]]) -> None:
    train(tmp_path, NOTE, *TINY, "optimizer.lr=0.1", "scheduler=cosine", "scheduler.warmup=1epochs")
    seen = [rate for [rate] in rates]
    assert seen[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    cosine = [0.05 * (1 + torch.tensor(torch.pi * t / 8).cos().item()) for t in range(8)]
    assert seen[4:] == pytest.approx(cosine, abs=1e-6)
    rates.clear()
    train(tmp_path, NOTE, *TINY, "optimizer.lr=0.1", "scheduler=step", "scheduler.step_size=1", "scheduler.warmup=4")
    assert [rate for [rate] in rates] == pytest.approx([0.02, 0.04, 0.06, 0.08, *[0.1] * 4, *[0.01] * 4])


def test_a_cycle_counts_steps(tmp_path: Path, rates: list[list[float]]) -> None:
    cycle = ["scheduler._target_=torch.optim.lr_scheduler.CyclicLR", "scheduler.base_lr=0.1", "scheduler.max_lr=0.5"]
    train(tmp_path, NOTE, *TINY, "optimizer=sgd", *cycle, "scheduler.step_size_up=4")
    assert [rate for [rate] in rates] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", WARM)
def test_a_run_stopped_in_its_warm_up_and_after_it_resumes_exactly(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*TINY, f"scheduler={scheduler}", f"scheduler.warmup={WARM[scheduler]}"]
    given += ["scheduler.patience=0", "scheduler.threshold=10"] if scheduler == "plateau" else []
    given += ["optimizer.groups={bias:{lr:1e-2}}"]
    whole = train(tmp_path, *given)
    monkeypatch.setenv("STOP_AT", f"{signal.SIGTERM.value} 3")
    with pytest.raises(RunInterrupted):
        train(tmp_path, *given, "+callbacks.stop._target_=own_callbacks.StopAtStep", "name=cut")
    [folder] = tmp_path.rglob("*_cut")
    again = [f"resume={folder}", "allow=[own_callbacks]"]
    monkeypatch.setenv("STOP_AT", f"{signal.SIGTERM.value} 9")
    with pytest.raises(RunInterrupted):
        gradloop.train(again)
    monkeypatch.delenv("STOP_AT")
    resumed = gradloop.train(again)
    assert_equal(weights(resumed), weights(whole))
    assert history(resumed) == history(whole)


# plateau


def test_a_plateau_follows_the_monitor_in_its_own_direction(tmp_path: Path, rates: list[list[float]]) -> None:
    given = [*TINY, "trainer.max_epochs=4", "scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5"]
    train(tmp_path, NOTE, *given, "optimizer.lr=0.1", "scheduler.threshold=10", "scheduler.threshold_mode=abs")
    assert [rate for [rate] in rates[::4]] == pytest.approx([0.1, 0.1, 0.05, 0.025])  # nothing gains so much
    rates.clear()
    # val/accuracy rises: with the other direction each epoch that gains would be a bad one
    record = train(tmp_path, NOTE, *given, "optimizer.lr=1e-2", "scheduler.threshold=0")
    best, now, expected = -1.0, 1e-2, []
    for row in history(record):
        expected.append(now)
        value = float(row["val/accuracy"])
        best, now = (value, now) if value > best else (best, now / 2)
    assert [rate for [rate] in rates[::4]] == pytest.approx(expected)


def test_a_plateau_waits_for_an_epoch_that_measures_its_metric(tmp_path: Path, rates: list[list[float]]) -> None:
    given = ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2", "scheduler=plateau"]
    more = ["scheduler.patience=0", "scheduler.threshold=10", "scheduler.threshold_mode=abs", "optimizer.lr=0.1"]
    train(tmp_path, NOTE, *TINY, *given, *more, "monitor=val/loss")
    assert [rate for [rate] in rates[::4]] == pytest.approx([0.1] * 4)  # the second measurement is the last epoch's


# groups


def test_groups_are_trained_with_options_of_their_own(tmp_path: Path, rates: list[list[float]]) -> None:
    given = ["optimizer=sgd", "optimizer.lr=0.1", "optimizer.fused=false"]
    train(tmp_path, NOTE, *TINY, *given, "optimizer.groups={0.weight:{lr:0.2},bias:{lr:1e-2,weight_decay:0}}")
    assert rates[0] == [0.1, 0.2, 0.01]
    rates.clear()
    train(tmp_path, NOTE, *TINY, *given, "optimizer.groups={bias:{lr:1e-2}}", "scheduler=one_cycle")
    assert all(bias == pytest.approx(other / 10) for other, bias in rates)
    same = train(tmp_path, NOTE, *TINY, "optimizer.groups.bias.lr=1e-3")
    assert_equal(weights(same), weights(train(tmp_path, *TINY)))


def test_a_pattern_means_a_name_a_part_of_it_or_a_layer() -> None:
    name = "stages.0.conv.bias"
    assert all(matches(pattern, name) for pattern in (name, "bias", "stages.0", "stages", "*.bias", "b*", "conv"))
    assert not any(matches(pattern, name) for pattern in ("weight", "stages.1", "bia", "0.conv"))


# weights of another run


def test_a_run_begins_with_the_weights_of_another(
    first: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = ["optimizer.lr=1e-30", "trainer.max_epochs=1"]  # so that what is saved is what it began with
    again = train(tmp_path, *TINY, *frozen, f"init_from={first['folder']}")
    assert "init_from: 4 of 4 weights" in capsys.readouterr().out
    assert_equal(weights(again), weights(first, "best"))
    bare = {name.removeprefix("network."): weight for name, weight in weights(first).items()}
    torch.save({f"model.{name}": weight for name, weight in bare.items()}, tmp_path / "theirs.pt")
    assert_equal(weights(train(tmp_path, *TINY, *frozen, f"init_from={tmp_path}/theirs.pt")), weights(first))
    capsys.readouterr()
    other = train(tmp_path, *TINY, *frozen, "data.classes=3", "data.informative=3", f"init_from={first['folder']}")
    out = capsys.readouterr().out
    assert "init_from: 2 of 4 weights" in out
    assert out.count("  left: ") == 2
    assert "left: 2.weight ((2, 64) in it, (3, 64) here)" in out
    assert other["init_from"]["taken"] == 2
    assert torch.equal(weights(other)["network.0.weight"], weights(first, "best")["network.0.weight"])
    # going on needs nothing of the other run
    (tmp_path / "theirs.pt").unlink()
    folder = train(tmp_path, *TINY, f"init_from={first['folder']}", "name=longer")["folder"]
    assert gradloop.train([f"resume={folder}", "trainer.max_epochs=4"])["epochs"] == 4


# refused, or left as it was


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scheduler.warmup=12", "scheduler.warmup=12: 12 steps, and the run has 12 in all"),
        ("scheduler.warmup=5ep", "scheduler.warmup=5ep: expected steps"),
        ("scheduler=one_cycle scheduler.warmup=2", "scheduler.warmup=2: OneCycleLR warms up itself"),
        ("scheduler=plateau scheduler.mode=up", "scheduler.mode=up: expected max or min"),
        ("optimizer.groups={bias:3}", "optimizer.groups="),
        ("optimizer.groups={bia:{lr:1}}", "optimizer.groups.bia: the network has no weight of that name"),
        ("optimizer.groups={bias:{rate:1}}", r"'optimizer.groups.bias.rate': Adam has no such option"),
        (
            "optimizer.groups={bias:{betas:3}}",
            r"optimizer.groups.bias.betas=3: expected two numbers of 0 or more and below 1",
        ),
        ("optimizer.groups={7:{lr:1}}", "optimizer.groups.7: the network has no weight of that name"),
        ("optimizer=muon +optimizer.groups={bias:{lr:1}}", "optimizer.groups: Muon makes groups of its own"),
        ("init_from=nowhere", "init_from=nowhere: no such run folder"),
    ],
)
def test_what_can_not_be_done_is_one_line(line: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, CheckpointError), match=said) as caught:
        train(tmp_path, *TINY, *line.split())
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_which_none_fits_are_refused(first: dict[str, Any], tmp_path: Path) -> None:
    given = ["data=linear_regression", "model=linear", "logger=none"]
    with pytest.raises(ConfigError, match=r"init_from=.*: none of its 4 weights fits by name and shape"):
        train(tmp_path, *given, f"init_from={first['folder']}")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(CheckpointError, match="no file of plain tensors"):
        train(tmp_path, *given, f"init_from={tmp_path}/text.pt")
    content = bytearray((Path(first["folder"]) / "checkpoints" / "best.ckpt").read_bytes())
    content[len(content) // 2] ^= 255  # torch itself would take it
    (tmp_path / "flipped.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"init_from=.*flipped.ckpt: damaged"):
        train(tmp_path, *given, f"init_from={tmp_path}/flipped.ckpt")
    torch.save({"note": "text"}, tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="holds no weights"):
        train(tmp_path, *given, f"init_from={tmp_path}/none.pt")


def test_older_runs_keep_their_signatures_and_populations_leave_out_what_they_do_not_know() -> None:
    values = plan(["seed=1"], None, "train").values
    older = {**values, "optimizer": dict(values["optimizer"]), "scheduler": dict(values["scheduler"])}
    del older["init_from"], older["optimizer"]["groups"], older["scheduler"]["warmup"]
    assert signature(older) == signature(values)
    for line in ("scheduler.warmup=2", "optimizer.groups={bias:{lr:1}}", "init_from=x"):
        given = plan(["seed=1", "callbacks.pictures=null", line], None, "train").values
        assert signature(given) != signature(values)
        assert str(why_alone(Parts(given, (), []))).startswith(line.partition("=")[0])
        assert stack_key(given) != stack_key(values)
