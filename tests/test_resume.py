"""A run that was stopped and went on equals one that was never stopped, bit for bit."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import gradloop
from gradloop.callbacks.stop_on_signal import StopOnSignal
from gradloop.errors import CheckpointError, ConfigError, RunInterrupted
from gradloop.modules import epoch_loop
from gradloop.runs.checkpoint_files import read_checkpoint

HOOKS = ("on_train_batch_end", "on_validation_batch_end", "on_train_epoch_end")
SMALL = [
    "seed=3", "trainer.max_epochs=2", "model.dropout=0.2", "scheduler=one_cycle",
    "callbacks.progress=null", "callbacks.curves=null", "callbacks.tensorboard=null",
]  # fmt: skip
DIGITS = ["data=digits", "data.batch_size=288"]
PICTURES = ["data=image_folder", "data.batch_size=24", "augmentation=flip_crop_cutout", "augmentation.cutout.side=4"]
EMA = ["+callbacks.ema._target_=lightning.pytorch.callbacks.EMAWeightAveraging", "+callbacks.ema.decay=0.9"]
KINDS = {
    "plain": DIGITS,
    "ema": [*DIGITS, *EMA],
    "accumulation": [*DIGITS, "trainer.accumulate_grad_batches=2"],
    "lightning_loop": [*DIGITS, "trainer.gradient_clip_val=1.0", "optimizer=sgd", "optimizer.momentum=0.9"],
    "muon": [*DIGITS, "optimizer=muon", "scheduler.cycle_momentum=false"],
    "swa": [*DIGITS, "callbacks=[default,swa]"],
    "pictures_in_memory": [*PICTURES, *EMA],
    "pictures_of_2_workers": [*PICTURES, "data.in_memory=false", "data.num_workers=2"],
}


class Signal:
    """Pretends that SIGTERM arrives at the n-th hook of the training; counts the hooks otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.at = 0, 0
        monkeypatch.setattr(epoch_loop, "TURN", 0.0)  # the fast path, too, gives every batch a say
        for name in HOOKS:
            monkeypatch.setattr(StopOnSignal, name, self._wrapped(getattr(StopOnSignal, name)))

    def _wrapped(self, hook: Any) -> Any:
        def wrapper(callback: StopOnSignal, trainer: Any, *arguments: Any) -> None:
            if trainer.state.fn == "fit":
                self.calls += 1
                if self.calls == self.at:
                    callback.received = signal.SIGTERM
            hook(callback, trainer, *arguments)

        return wrapper


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        found = [] if a.keys() == b.keys() else [f"{path}: keys"]
        return found + [d for key in a.keys() & b.keys() for d in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple):
        found = [] if len(a) == len(b) else [f"{path}: length"]
        return found + [
            d for i, (x, y) in enumerate(zip(a, b, strict=False)) for d in differences(x, y, f"{path}[{i}]")
        ]
    return [] if a == b else [f"{path}: {a} != {b}"]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    # sorted: TensorBoard reads files by name, and two of one process and second are not named in their order
    return {tag: sorted((e.step, e.value) for e in events.Scalars(tag)) for tag in events.Tags()["scalars"]}


def pictures(root: Path) -> Path:
    """Write 114 pictures of two classes: 11 are for the test, 10 for validation, 4 batches of 24 for training."""
    noise = torch.Generator().manual_seed(0)
    for name in ("dark", "light"):
        (root / name).mkdir(parents=True)
        for number in range(57):
            pixels = torch.randint(128, (12, 12, 3), generator=noise, dtype=torch.uint8) + 127 * (name == "light")
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(root / name / f"{number}.png")
    return root


def essence(folder: Path) -> dict[str, Any]:
    """All of a checkpoint but Lightning's counters of events, which note that there was an interruption."""
    checkpoint = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    for key in ("event_files", "seconds"):
        checkpoint["gradloop"].pop(key)
    for key in ("loops", "epoch", "current_model_state"):
        checkpoint.pop(key, None)
    return checkpoint


def test_the_seconds_of_fitting_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrives = Signal(monkeypatch)
    arrives.at = 3
    with pytest.raises(RunInterrupted):
        gradloop.train([*SMALL, *DIGITS, f"output_dir={tmp_path}"])
    (folder,) = (tmp_path / "train").glob("*")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(checkpoint)
    assert 0 < saved["gradloop"]["seconds"] < 60
    saved["gradloop"]["seconds"] = 1000.0  # as if it had trained that long
    torch.save(saved, checkpoint)
    arrives.at = 0
    durations = gradloop.train([f"resume={folder}"])["durations"]
    assert 1000 < durations["fit"] < 1060
    assert durations["total"] < 60
    assert 1000 < read_checkpoint(checkpoint)["gradloop"]["seconds"] <= durations["fit"]


def check_points(kind: str, points: list[int] | None, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrives = Signal(monkeypatch)
    command = [*SMALL, *KINDS[kind], f"output_dir={root}"]
    if kind.startswith("pictures"):
        command += [f"data.root={pictures(root / 'pictures')}", f"data.cache_dir={root / 'cache'}"]
    whole = gradloop.train(command)
    expected, expected_curves = essence(Path(whole["folder"])), curves(Path(whole["folder"]))
    total = arrives.calls
    assert total == 2 * (4 + 1 + 1)  # two epochs of four batches, one validation batch, one end
    for point in points or range(1, total + 1):
        arrives.calls, arrives.at = 0, point
        with pytest.raises(RunInterrupted):
            gradloop.train([*command, f"name=stopped_at_{point}"])
        arrives.at = 0
        (folder,) = (root / "train").glob(f"*_stopped_at_{point}")
        resumed = gradloop.train([f"resume={folder}"])
        found = differences(expected, essence(folder))
        found = [d for d in found if not d.endswith(f"run != stopped_at_{point}")]
        found += differences(expected_curves, curves(folder), "curves")
        found += differences(whole["metrics"], resumed["metrics"], "metrics")
        assert not found, f"stopped at hook {point}: {found[:5]}"


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_run_equals_an_uninterrupted_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # in the middle of an epoch, in its validation, at its end
    check_points(kind, [3, 5, 6], tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_point_resumes_exactly(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_points(kind, None, tmp_path, monkeypatch)


TINY = ["data=linear_regression", "model=linear", "seed=0", "trainer.max_epochs=3", "callbacks.progress=null",
        "callbacks.curves=null", "logger=none", "callbacks.tensorboard=null"]  # fmt: skip


def test_more_epochs_continue_a_finished_run(tmp_path: Path) -> None:
    root = f"output_dir={tmp_path}"
    longer = gradloop.train(
        [*[o for o in TINY if "max_epochs" not in o], "trainer.max_epochs=5", root, "name=longer"]
    )
    short = gradloop.train([*TINY, root])
    with pytest.raises(ConfigError, match=r"finished.*max_epochs"):
        gradloop.train([f"resume={short['folder']}"])
    resumed = gradloop.train([f"resume={short['folder']}", "trainer.max_epochs=5"])
    assert resumed["folder"] == short["folder"]
    assert resumed["metrics"] == longer["metrics"]
    assert resumed["epochs"] == 5


def test_changed_config_is_refused_key_by_key(tmp_path: Path) -> None:
    run = gradloop.train([*TINY, f"output_dir={tmp_path}"])
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 0\.001 -> 0\.5"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=5", "optimizer.lr=0.5"])
    with pytest.raises(ConfigError, match=r"optimizer\._target_: torch.optim.Adam -> torch.optim.SGD"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=5", "optimizer=sgd"])


def test_resume_last_takes_the_newest_run(tmp_path: Path) -> None:
    root = f"output_dir={tmp_path}"
    gradloop.train([*TINY, root, "name=older"])
    newer = gradloop.train([*TINY, root, "name=newer"])
    resumed = gradloop.train(["resume=last", root, "trainer.max_epochs=4"])
    assert resumed["folder"] == newer["folder"]


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run folder"):
        gradloop.train([f"resume={tmp_path / 'nowhere'}"])
    with pytest.raises(CheckpointError, match="no run"):
        gradloop.train(["resume=last", f"output_dir={tmp_path}"])
    run = gradloop.train([*TINY, f"output_dir={tmp_path}"])
    for name in ("last.ckpt", "previous.ckpt"):
        (Path(run["folder"]) / "checkpoints" / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=9"])
