"""The main job, top to bottom: `gradloop-train data=… model=… optimizer.lr=…`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradloop.commands.command_line import command
from gradloop.errors import ConfigError, RunInterrupted
from gradloop.process import SESSION, collector_at_rest, is_second
from gradloop.runs.record import Record
from gradloop.streams import Waiting, fitted

if TYPE_CHECKING:
    from gradloop.commands.notebook import Result
    from gradloop.sweeps.sweep_run import Ended


class Swept(NamedTuple):
    """What a sweep came to: its leaderboard, best first, a dict a row with the columns of `leaderboard.csv`."""

    rows: list[dict[str, Any]]
    folder: Path

    def _repr_markdown_(self) -> str:  # a notebook shows the table
        table = self.folder / "leaderboard.md"
        return table.read_text(encoding="utf-8") if table.is_file() else ""  # of a plan there is none


def main() -> None:
    """Run the command `gradloop-train`."""
    command("train", run, run_many)


def train(*overrides: str | Sequence[str], config_dir: str | Path | None = None, **objects: Any) -> Result:
    """Do from Python what `gradloop-train <overrides>` does; return the run's record, which a notebook shows.

    overrides: `"data=digits", "optimizer.lr=0.01"`, or a list of them. objects: what the command line can't hold, as
    `model=MyNet`, `data=my_module`, `loss=my_function`, `callbacks=[Mine()]`: classes, functions and objects, also
    those of a notebook. config_dir: a folder of your own configs, as `--config-dir`. Raises GradloopError.
    """
    from gradloop.commands.caller import left_as_it_was
    from gradloop.commands.notebook import Result, as_overrides, of_this_session
    from gradloop.config.overrides import last_of_each

    lines, folder = given("train", overrides, config_dir)
    lines += as_overrides(objects)
    if any(line.startswith("resume=") for line in lines) and not any(line.startswith("allow=") for line in lines):
        lines += [f"allow=[{','.join(names)}]" for names in [of_this_session()] if names]
    with left_as_it_was():
        return Result(run(last_of_each(lines), folder, "train"))


def sweep(*overrides: str | Sequence[str], config_dir: str | Path | None = None, **values: Any) -> Swept:
    """Do from Python what `gradloop-train -m <overrides>` does; return the leaderboard's rows and the sweep's folder.

    overrides: `"optimizer.lr=1e-3,1e-2", "seed=range(3)"`, or a list of them. values: `seeds=3`; not the objects of a
    session, which the runs' own processes know nothing of. config_dir: as `--config-dir`. Runs that fail don't raise:
    their row's status says so. Raises GradloopError for what can't be swept, and RunInterrupted where a signal has
    stopped the sweep.
    """
    from gradloop.commands.caller import left_as_it_was
    from gradloop.commands.notebook import as_overrides
    from gradloop.config.overrides import last_of_each
    from gradloop.sweeps.results.files import as_rows

    lines, where = given("sweep", overrides, config_dir)
    lines += as_overrides(values)
    if held := next((line for line in lines if SESSION in line), None):
        key = held.lstrip("+").partition("=")[0]
        raise ConfigError(
            f"gradloop.sweep({key.partition('.')[0]}=…): each run is a process of its own, that knows nothing of the "
            f"session; put it into a file: {key}=my_file.MyClass"
        )
    with left_as_it_was():
        ended = _swept(last_of_each(lines), where, "train")
    folder = ended.board.sweep.folder
    if ended.exit_code > 128:
        raise RunInterrupted(f"{folder}: the sweep was stopped", signal_number=ended.exit_code - 128)
    header, rows = as_rows(ended.board)
    return Swept([dict(zip(header, row, strict=True)) for row in rows], folder)


def given(function: str, overrides: Sequence[Any], config_dir: str | Path | None) -> tuple[list[str], str | None]:
    """Return what was given to a function, words or lists of them, as a command takes it."""
    lines: list[Any] = [line for each in overrides for line in (each if isinstance(each, list | tuple) else [each])]
    if wrong := [line for line in lines if not isinstance(line, str) or line.startswith("-")]:
        options = "; gradloop.sweep(…) is for -m, config_dir=… for --config-dir" if isinstance(wrong[0], str) else ""
        raise ConfigError(f"gradloop.{function}({wrong[0]!r}): expected texts, as in 'optimizer.lr=0.1'{options}")
    if config_dir == "":
        raise ConfigError(f"gradloop.{function}(config_dir=''): expected a folder")
    return lines, None if config_dir is None else str(config_dir)


def run(overrides: list[str], config_dir: str | None, config_name: str) -> Record:
    """Compose, check and run one config; or go on with a run that was stopped."""
    from gradloop.config.wording import explained
    from gradloop.runs.planning import plan
    from gradloop.runs.screen import opening

    with explained():
        config = plan(overrides, config_dir, config_name)
    if not is_second():
        print(fitted(opening(config.values)), flush=True)
    with collector_at_rest(), Waiting("importing torch and Lightning"):  # the libraries are imported in less time
        from gradloop.training.fit import run as run_config
    record = run_config(config, config.place)
    if not is_second():
        write_page(Path(record["folder"]))
    return record


def write_page(folder: Path) -> None:
    """Write report.html and README.md of a run: of one alone, since the many runs of a sweep have a page together."""
    from gradloop.drawing.run_page import write_run_page

    try:
        print(f"page: {write_run_page(folder)}")
    except Exception:  # a page must not end a run that has its results
        logging.getLogger("gradloop").exception("the page of %s could not be written", folder)


def run_many(overrides: list[str], config_dir: str | None, config_name: str) -> None:
    """Run a sweep, which `-m` asks for."""
    if code := _swept(overrides, config_dir, config_name).exit_code:
        raise SystemExit(code)


def _swept(overrides: list[str], config_dir: str | None, config_name: str) -> Ended:
    from gradloop.config.wording import explained
    from gradloop.sweeps.sweep import run_sweep

    if {"\n", "\r"} & set(here := str(Path.cwd())):
        raise ConfigError(f"{here!r}: a line break in its name; expected a folder that a sweep can name to its runs")
    with explained():
        return run_sweep(overrides, config_dir, config_name)


if __name__ == "__main__":  # by its own name: whoever looks the job up finds it there
    from gradloop.commands.train import main as command_main

    command_main()
