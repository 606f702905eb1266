"""A study that lies elsewhere, or that others search with: what is written there, and where that is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from gradloop.errors import CheckpointError, ConfigError
from gradloop.sweeps.search_space import Interval
from gradloop.sweeps.study import Study
from gradloop.sweeps.sweep_folder import read_sweep
from strangers import TOY, edit_json
from toy_sweep import Outcome, run_toy


def states(done: Outcome) -> list[str]:
    study = optuna.load_study(study_name=done.sweep.study, storage=done.sweep.storage)
    return [trial.state.name for trial in study.trials]


@pytest.mark.parametrize("shared", [False, True])
def test_a_plan_opens_no_trial_in_the_study(tmp_path, shared):
    asked = ["sweep=optuna", "optimizer.lr=0.1,0.01", "trainer.max_epochs=range(2,9,2)", "seed=0"]
    asked += [f"sweep.storage=sqlite:///{tmp_path}/shared.db"] if shared else []
    done = run_toy(tmp_path, *asked, "sweep.n_trials=2")
    plan = run_toy(tmp_path, *asked, "sweep.n_trials=4", "sweep.resume=last", "sweep.plan=true")
    assert "run 2: alone" in plan.out
    assert states(done) == ["COMPLETE"] * 2
    assert len(read_sweep(done.sweep.folder).jobs) == len(done.sweep.jobs)


def test_sweeps_that_share_a_study_draw_different_settings(tmp_path):
    options = {"method": "optuna", "storage": f"sqlite:///{tmp_path}/s.db", "sampler": {"seed": 0, "startup": 99}}
    space = {"optimizer.lr": Interval(0.0, 1.0, log=False, whole=False)}
    drawn: list[float] = []

    def search(_: int) -> None:
        study = Study(tmp_path, options, ["maximize"], name="s", epochs=1)
        for number in range(5):
            drawn.append(study.ask(space, range(number))[1]["optimizer.lr"].data)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(search, range(4)))
    assert len(set(drawn)) == len(drawn) == 20


def test_a_relative_storage_is_found_from_any_folder(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    asked = ["sweep=optuna", "optimizer.lr=0.1,0.01", "trainer.max_epochs=range(2,9,2)", "seed=0"]
    monkeypatch.chdir(tmp_path / "here")
    done = run_toy(tmp_path, *asked, "sweep.n_trials=2", "sweep.storage=sqlite:///s.db")
    assert done.sweep.storage == f"sqlite:///{tmp_path}/here/s.db"
    assert f"sweep.storage={done.sweep.storage}" in done.sweep.command
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(
        CheckpointError, match=f"its study lies outside of it; .* add sweep.storage={done.sweep.storage}"
    ):
        run_toy(tmp_path, *asked, "sweep.n_trials=3", "sweep.resume=last")
    where = f"sweep.storage={done.sweep.storage}"
    more = run_toy(tmp_path, *asked, "sweep.n_trials=3", "sweep.resume=last", where)
    assert len(states(more)) == 3
    with pytest.raises(ConfigError, match=r"there/s\.db: no such file, and this sweep's trials are of study"):
        run_toy(tmp_path, *asked, "sweep.n_trials=3", "sweep.storage=sqlite:///s.db", "sweep.resume=last")
    assert not list((tmp_path / "there").iterdir())


def test_a_sweep_folder_names_no_study_elsewhere(tmp_path, command):
    """It may come from a stranger: SQLite would make the file, and the folders above it."""
    asked = "-m", "sweep=optuna", "sweep.n_trials=2", "sweep.population=off", *TOY
    assert command(*asked, "optimizer.lr=interval(0.1,0.2)").code == 0
    (plan,) = (tmp_path / "here").glob("outputs/sweeps/*/sweep.json")
    url = f"sqlite:///{tmp_path}/victim/deep/x.db"
    edit_json(plan, lambda content: content.update(storage=url))
    again = *asked, "optimizer.lr=interval(0.1,0.2)", "sweep.resume=last"
    assert command(*again).code == 0  # by the study that lies in the folder
    edit_json(plan, lambda content: content.update(storage=url))
    (plan.parent / "study.db").unlink()
    ended = command(*again)
    assert ended.code == 4
    assert f"its study lies outside of it; to go on with that, add sweep.storage={url}" in ended.err
    assert not (tmp_path / "victim").exists()


def test_a_sweep_that_was_moved_goes_on_with_the_study_that_lies_in_it(tmp_path, command):
    asked = "-m", "sweep=optuna", "sweep.population=off", *TOY, "optimizer.lr=interval(0.1,0.2)"
    assert command(*asked, "sweep.n_trials=1", "hydra.sweep.dir=old").code == 0
    (tmp_path / "here" / "old").rename(tmp_path / "here" / "new")
    ended = command(*asked, "sweep.n_trials=2", "sweep.resume=new")
    assert ended.code == 0, ended.err
    assert "2 runs: 2 completed" in ended.out
