"""A main config that a stranger wrote, and places that a folder or a line names: nothing of theirs is imported."""

from __future__ import annotations

import sys

import pytest

from strangers import TOY, assert_refused, copied, edit_json, finished, gift  # noqa: F401 - a fixture


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """Write a main config that lets Hydra look into a package; return the file that this leaves, once imported."""
    (tmp_path / "evil_package").mkdir()
    (tmp_path / "evil_package" / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    (tmp_path / "conf").mkdir()
    searchpath = "hydra: {searchpath: ['pkg://evil_package']}\n"
    (tmp_path / "conf" / "evil.yaml").write_text(f"defaults: [train, _self_]\n{searchpath}")
    (tmp_path / "conf" / "fine.yaml").write_text("defaults: [train, _self_]\nname: fine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil_package", raising=False)
    return tmp_path / "imported"


@pytest.mark.parametrize("how", [(), ("--info",), ("--info", "searchpath"), ("--cfg", "job"), ("-m",)])
def test_hydra_looks_into_no_package(how, evil, command, tmp_path):
    conf = str(tmp_path / "conf")
    assert_refused(command("--config-dir", conf, "--config-name", "evil", *how), 2, "evil.yaml", "hydra.searchpath")
    assert_refused(command("--config-name", f"{conf}/evil", *how), 2, f"--config-name={conf}/evil")
    assert not evil.exists()


def test_completion_looks_into_no_package(evil, command, tmp_path, monkeypatch):
    given = ("--config-dir", str(tmp_path / "conf"), "--config-name", "evil")
    monkeypatch.setenv("COMP_LINE", f"gradloop-train {' '.join(given)} mod")
    assert_refused(command(*given, "-sc", "query=bash"), 2, "hydra.searchpath")
    assert not evil.exists()


def test_a_record_names_no_config_elsewhere(evil, finished, command, tmp_path):  # noqa: F811
    run = copied(finished, tmp_path / "run")
    edit_json(run / "summary.json", lambda record: record.update(config_name=f"{tmp_path}/conf/evil"))
    assert_refused(command(f"resume={run}", "trainer.max_epochs=2"), 4, "summary.json", "--config-name=")
    assert not evil.exists()


@pytest.mark.parametrize("what", ["config", "searchpath", "defaults"])
def test_info_of_ones_own_main_config(what, evil, command, tmp_path):
    ended = command("--config-dir", str(tmp_path / "conf"), "--config-name", "fine", "--info", what)
    assert ended.code == 0, ended.err
    assert command("--config-dir", str(tmp_path / "conf"), "--config-name", "fine", "--cfg", "job").code == 0


@pytest.mark.parametrize("where", ["", ".", "../here", "..", "a/.."])
@pytest.mark.parametrize("line", ["hydra.run.dir={}", "-m hydra.sweep.dir={} seed=1,2"])
def test_nothing_lies_beside_the_current_folder(line, where, command, tmp_path):
    asked = line.format(where).split(" ")
    assert_refused(command(*TOY[:3], *asked), 2, f".dir={where}: expected a folder of the")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("key", ["output_dir", "resume", "folds", "sweep.n_trials", "seeds"])
def test_a_search_space_of_a_file_varies_what_a_run_has(key, command, tmp_path):
    asked = gift(tmp_path, sweep={"search_space": {key: "a,b"}})
    assert_refused(command("-m", *asked, *TOY), 2, f"sweep.search_space.{key}=a,b")


def test_a_file_does_not_ask_to_go_on(command, tmp_path):
    assert_refused(command(*gift(tmp_path, resume="/elsewhere"), *TOY), 2, "resume=/elsewhere", "type it")
