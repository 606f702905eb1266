from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from gradloop.commands.compare import as_sweep, main
from sweeps_on_disk import make_sweep, record
from terminal import on_a_terminal


def make_run(folder: Path, config: dict[str, Any], value: float) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    data = record(value, seed=config.get("seed", 0), overrides=[], status="completed", name=folder.name)
    (folder / "summary.json").write_text(json.dumps(data))
    epochs = [{"epoch": e, "step": 10 * e, "train/loss": 1 / e, "val/loss": 1.2 / e} for e in range(1, 6)]
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, epochs[0])
        writer.writeheader()
        writer.writerows(epochs)
    return folder


def read_csv(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))


@pytest.fixture
def runs(tmp_path):
    def config(lr: float, seed: int) -> dict[str, Any]:
        return {"name": f"run{lr}{seed}", "seed": seed, "optimizer": {"lr": lr, "momentum": 0.9}}

    return [make_run(tmp_path / "runs" / f"{lr}-{seed}", config(lr, seed), 0.5 + lr + seed / 100)
            for lr in (0.1, 0.2) for seed in (0, 1)]  # fmt: skip


def test_runs_are_grouped_over_seeds_and_only_differences_are_shown(runs, tmp_path, capsys):
    assert main([*map(str, runs), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "optimizer.lr" in out
    assert "momentum" not in out
    assert re.search(r"^1 +0\.2-0 \+1 +0\.2 ", out, re.M)  # whose row it is
    assert "0.7050 ± 0.0071" in out
    rows = read_csv(tmp_path / "out")
    assert [(row["optimizer.lr"], row["n"]) for row in rows] == [("0.2", "2"), ("0.1", "2")]
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000
    assert "curves.png" in (tmp_path / "out" / "comparison.md").read_text()


def test_patterns_and_folders_of_runs(runs, tmp_path, capsys):
    pattern = str(runs[0].parent / "*-0")
    assert main([pattern, "--out", str(tmp_path / "out")]) == 0
    assert "2 runs" in capsys.readouterr().out
    assert main([str(runs[0].parent), "--out", str(tmp_path / "out")]) == 0
    assert "4 runs" in capsys.readouterr().out


def test_a_sweep_beside_a_run_and_nothing_twice(runs, tmp_path, capsys):
    sweep = make_sweep(tmp_path / "sweep", [({"optimizer.lr": 0.1}, s, 0.5, "completed") for s in (0, 1)])
    assert main([str(sweep.folder), str(sweep.folder / "0"), str(runs[0]), "--out", str(tmp_path / "o")]) == 0
    assert "3 runs" in capsys.readouterr().out


def test_another_metric_sorts(runs, tmp_path, capsys):
    assert main([*map(str, runs), "--metric", "val/loss", "--out", str(tmp_path / "o")]) == 0
    rows = read_csv(tmp_path / "o")
    assert float(rows[0]["val/loss"]) < float(rows[1]["val/loss"])
    assert main([*map(str, runs), "--metric", "val/los", "--out", str(tmp_path / "o")]) == 4
    assert "did you mean 'val/loss'" in capsys.readouterr().err


def test_equal_configs_say_so(tmp_path, capsys):
    same = {"seed": 0, "optimizer": {"lr": 0.1}}
    folders = [make_run(tmp_path / name, same, 0.5) for name in ("a", "b")]
    assert main([*map(str, folders), "--out", str(tmp_path / "o")]) == 0
    assert "the configs are the same" in capsys.readouterr().out


def test_default_folder_for_the_files(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(runs[0])]) == 0
    assert main([str(runs[0])]) == 0
    assert len(list((tmp_path / "outputs" / "compare").iterdir())) == 2


@pytest.mark.parametrize("name", ["nowhere", "empty", "noth*ing", "file"])
def test_what_is_no_run_is_one_line(tmp_path, name, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert main([str(tmp_path / name)]) == 4
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_near_miss_is_named(runs, capsys):
    assert main([str(runs[0].parent / "0.1-00")]) == 4
    assert "did you mean '0.1-0'" in capsys.readouterr().err


def test_a_broken_record_is_one_line(runs, tmp_path, capsys):
    (runs[0] / "summary.json").write_text("{")
    assert main([str(runs[0]), str(runs[1]), "--out", str(tmp_path / "o")]) == 4
    assert "summary.json" in capsys.readouterr().err


def test_no_argument_and_help(capsys):
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "--out" in capsys.readouterr().out


def test_the_seed_that_the_data_follows_is_a_repetition(tmp_path):
    runs = []
    for seed in (0, 1):
        config = OmegaConf.create({"seed": seed, "data": {"seed": seed, "batch_size": 8}})
        (tmp_path / str(seed) / ".hydra").mkdir(parents=True)
        OmegaConf.save(config, tmp_path / str(seed) / ".hydra" / "config.yaml")
        (tmp_path / str(seed) / "summary.json").write_text(
            json.dumps({"status": "completed", "seed": seed, "overrides": [], "metrics": {"val/loss": 1.0}})
        )
        runs.append(tmp_path / str(seed))
    assert as_sweep(runs)[0].keys == []


def test_what_only_one_optimizer_has_is_counted_where_there_is_no_room_for_a_table(command, tmp_path):
    fast = ["data=digits", "trainer.max_epochs=1", "callbacks=none", "logger=none", "seed=0"]
    for name, more in (("a", []), ("b", ["optimizer=sgd"]), ("c", ["model.hidden_dims=[128]", "optimizer.lr=0.02"])):
        assert command(*fast, *more, f"hydra.run.dir=runs/{name}").code == 0
    code, shown = on_a_terminal(70, "runs", "--out", "out", program="compare", cwd=Path.cwd())
    assert code == 0, shown
    assert re.search(r"^  optimizer\._target_: torch\.optim\.\w+ \(#", shown, re.M)
    assert re.search(r"^  … and \d+ knobs that only some of these have: comparison.md", shown, re.M)
    assert "betas" not in shown.partition("differs:")[2]
    assert "| optimizer.betas |" in Path("out/comparison.md").read_text()


def test_the_monitor_says_which_way_its_metric_is_better(tmp_path):
    for name, value in (("a", 0.2), ("b", 0.6)):
        (tmp_path / name).mkdir()
        record = {"status": "completed", "seed": 0, "overrides": [], "monitor": {"metric": "test/own", "mode": "min"},
                  "metrics": {"test/own": value, "test/nll": value}}  # fmt: skip
        (tmp_path / name / "summary.json").write_text(json.dumps(record))
    for metric in ("test/own", "test/nll"):
        assert as_sweep([tmp_path / "a", tmp_path / "b"], metric=metric)[0].mode == "min"


def test_a_run_that_failed_before_it_had_a_config_changes_nothing_for_the_others(runs, tmp_path):
    failed = tmp_path / "failed"
    failed.mkdir()
    typed = ["data=digits", "optimizer.lr=0.5", "seed=1"]
    (failed / "summary.json").write_text(json.dumps(record(None, seed=1, overrides=typed, status="failed")))
    alone, (sweep, _) = as_sweep(runs)[0], as_sweep([*runs, failed])
    assert sweep.keys == alone.keys
    assert [job.values for job in sweep.jobs[:-1]] == [job.values for job in alone.jobs]
    assert sweep.jobs[-1].values["optimizer.lr"] == 0.5
