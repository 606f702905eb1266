"""The command before anything is trained: help, completion, the composed config, and how soon a mistake is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gradloop.config.conf_folder import conf_folder
from one_line import assert_one_line

PACKAGE = Path(__file__).parents[2] / "src"


def test_the_traceback_is_there_for_who_asks(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gradloop-train", "optimizer.lr=fast"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    from gradloop.commands.train import main

    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.splitlines()[-1].startswith("error: optimizer.lr=fast")


HEAVY = {"torch", "lightning", "sklearn", "matplotlib", "torchvision", "optuna", "numpy"}


def in_a_fresh_process(code: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONWARNINGS": "default"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=cwd, env=environment
    )


def test_mistakes_and_help_do_not_wait_for_torch(tmp_path):
    """One fresh interpreter, many commands: none of them may import what takes seconds."""
    lines = [
        "--help", "--version", "--cfg job", "-sc install=bash", "data=digts", "dat=digits", "optimizer.lr=fast",
        "optimizer.lrr=1", "+foo=1", "trainer.max_epochs=0", "seed=1,2", "name=../x", "output_dir=/dev/null/x",
        "resume=nowhere", "model._target_=os.system", "data=image_folder", "-m optimizer=adam,nope", "--foo",
    ]  # fmt: skip
    done = in_a_fresh_process(
        f"""
        import contextlib, io, os, sys
        from gradloop.commands.train import main
        for line in {lines!r}:
            sys.argv = ["gradloop-train", *line.split()]
            os.environ["HYDRA_FULL_ERROR"] = "0"
            with contextlib.redirect_stdout(io.StringIO()):
                try:
                    main()
                except SystemExit as ended:
                    pass
            heavy = {HEAVY!r} & set(sys.modules)
            assert not heavy, (line, heavy)
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", ["train", "evaluate", "explain", "compare", "list"])
def test_help_waits_for_no_library_at_all(program, tmp_path):
    code = f"""
        import sys
        from gradloop.commands.{program} import main
        sys.argv = ["gradloop", "--help"]
        try:
            main()
        finally:
            print(sorted({HEAVY | {"hydra", "omegaconf"}!r} & set(sys.modules)))
        """
    assert in_a_fresh_process(code, tmp_path).stdout.splitlines()[-1] == "[]"


def test_the_command_itself(tmp_path):
    """A subprocess as a user starts it: exit code, one line, nothing created."""
    code = "import sys; sys.argv = ['gradloop-train', {!r}]; from gradloop.commands.train import main; main()"
    done = in_a_fresh_process(code.format("optimizer.lr=fast"), tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: optimizer.lr=fast: expected a number")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_group_choice_and_knob(command):
    from gradloop.config.conf_folder import conf_folder

    shown = command("--help")
    assert (shown.code, shown.err) == (0, "")
    for folder in conf_folder().iterdir():
        if folder.is_dir() and folder.name != "hydra":  # of which only the launchers are chosen
            assert f"\n  {folder.name}=" in shown.out, folder.name
            for path in folder.glob("*.yaml"):
                assert f" {path.stem} " in shown.out or f" {path.stem}\n" in shown.out, path
    for word in ("optimizer.lr", "trainer.max_epochs", "-m ", "resume", "--cfg job", "EXIT CODES", "EXAMPLES"):
        assert word in shown.out
    assert shown.out.index("EXAMPLES") < shown.out.index("GROUPS") < shown.out.index("KNOBS")


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("program", ["train", "evaluate", "explain", "compare", "list"])
def test_help_wraps_to_the_terminal_between_words(program, columns, command, monkeypatch):
    def shown(width):
        monkeypatch.setenv("COLUMNS", str(width))
        return command("--help", program=program)

    ended = shown(columns)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= min(columns, 120)
    assert lines[0].startswith("gradloop")
    titles = [line.split(",")[0] for line in lines if line[:1].isupper() and line.split()[0].isupper()]
    assert titles[0] == "EXAMPLES"  # what most people look for
    assert titles[-2:] == ["OPTIONS", "EXIT CODES"]
    assert set(ended.out.split()) == set(shown(100).out.split())  # the same words, none broken


def test_sentences_of_the_help_are_whole(command):
    text = " ".join(command("--help").out.split())
    assert "Every knob of the augmentation, all off. rotate" in text
    assert "train with the one at which the loss falls fastest." in text


def test_choices_of_ones_own_folder_are_in_the_help_and_completed(command, monkeypatch):
    folder = Path("own/optimizer")
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# My optimizer.\n_target_: torch.optim.SGD\nlr: 0.1\n")
    assert "+ mine                     My optimizer." in command("--help", "--config-dir", "own").out
    for option in ("--config-dir own", "--config-dir=own", "-cd own"):
        line = f"gradloop-train {option} optimizer=m"
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        assert command("-sc", "query=bash").out.split() == ["optimizer=mine", "optimizer=muon"]


def test_cfg_prints_the_composed_config(command):
    import yaml

    shown = command("data=digits", "optimizer.lr=0.5", "--cfg", "job")
    config = yaml.safe_load(shown.out)
    assert config["optimizer"]["lr"] == 0.5
    assert config["data"]["_target_"].endswith("Digits")
    assert "hydra" not in config


def test_cfg_prints_a_part_of_it_resolved(command):
    shown = command("--cfg", "job", "optimizer.lr=0.5", "-p", "scheduler", "scheduler=one_cycle", "--resolve")
    assert "max_lr: 0.5\n" in shown.out
    assert "_target_: torch.optim.lr_scheduler.OneCycleLR" in shown.out
    assert command("--cfg", "job", "-p", "optimizer.lr").out == "0.001\n"
    assert command("--cfg", "hydra").out.startswith("hydra:\n")
    assert {"hydra", "trainer"} <= {line.partition(":")[0] for line in command("-c", "all").out.splitlines()}
    assert_one_line(command("--cfg", "job", "-p", "optimiser"), 2, ["--package=optimiser"])
    assert_one_line(command("--resolve"), 2, ["--resolve", "--cfg"])
    assert_one_line(command("--cfg", "jobs"), 2, ["--cfg", "jobs"])
    assert_one_line(command("--cfg", "job", "seed=1,2"), 2, ["seed=1,2"])


@pytest.mark.parametrize("line", ["seed=1 -m optimizer=adam,sdg", "seed=1 optimizer=adam,sdg --multirun"])
def test_overrides_stand_anywhere_on_the_line(line, command):
    assert_one_line(command(*line.split()), 2, ["optimizer=sdg", "'sgd'"])


def test_hydra_says_what_it_knows(command):
    assert "--config-dir" in command("--hydra-help").out
    assert "conf" in command("data=digits", "--info", "searchpath").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_installs(command, shell):
    shown = command("-sc", f"install={shell}")
    assert (shown.code, shown.err) == (0, "")
    assert "gradloop-train" in shown.out


def test_bash_completes_choices_and_keys(command, monkeypatch):
    def completed(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        return command("-sc", "query=bash").out.split()

    assert completed("gradloop-train data=d") == ["data=digits"]
    assert completed("gradloop-train optimizer.we") == ["optimizer.weight_decay="]
    lessons = [f"experiment=lesson/{path.stem}" for path in sorted((conf_folder() / "experiment/lesson").iterdir())]
    assert completed("gradloop-train experiment=lesson/") == lessons
    assert {*lessons, "experiment=digits"} < {*completed("gradloop-train experiment=")}
    assert completed("gradloop-train -m sweep=") == [
        f"sweep={name}" for name in ("grid", "optuna", "optuna_pruned", "random")
    ]
    assert "hydra/launcher=basic" not in completed("gradloop-train -m hydra/launcher=")


def test_help_shows_what_people_choose_in_whole_sentences(command):
    shown = command("--help").out
    assert all(f"lesson/{number}_" in shown for number in range(1, 7))
    assert "hydra/launcher=…" in shown
    assert "* processes" in shown
    choices = [line.strip("* ").split()[0] for line in shown.splitlines() if line.startswith("    ")]
    assert not {"evaluate", "explain", "list"} & {*choices}
    described = shown.partition("GROUPS")[2].partition("KNOBS")[0]
    whole = re.sub(r"\n {31}", " ", described)  # one line a choice
    assert not [line for line in whole.splitlines() if line.endswith((":", ";", ","))]


def test_what_looks_odd_and_is_fine(command, tmp_path):
    fast = ["trainer.max_epochs=1", "callbacks=none", "logger=none", "test=false"]
    for arguments in (["seed=0", "name=2024"], ["~optimizer.eps", "callbacks.curves=null"]):
        ended = command(*arguments, *(line for line in fast if "curves" not in arguments[-1] or line != fast[1]))
        assert ended.code == 0, ended.err
    assert len(list((tmp_path / "here" / "outputs" / "train").iterdir())) == 2
