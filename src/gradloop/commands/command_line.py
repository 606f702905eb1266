"""What the commands share: Hydra's grammar, one line for a mistake, exit codes that mean something."""

import argparse
import contextlib
import gc
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gradloop.errors import (
    ConfigError,
    GradloopError,
    RunInterrupted,
    did_you_mean,
    disk_is_full,
    own_frame,
    said,
    too_long,
)
from gradloop.process import ends_quickly, is_second, tell, told
from gradloop.runs.foreign_text import printable
from gradloop.runs.signals import Listening, stop_at_once, take_note
from gradloop.runs.slurm import requeue
from gradloop.streams import steady_streams

Job = Callable[[list[str], str | None, str], Any]
TRACEBACK = "HYDRA_FULL_ERROR=1 shows the traceback"
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
# Hydra's options, as far as they mean something here
OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("--help", "-h"): {"action": "store_true"},
    ("--version",): {"action": "store_true"},
    ("--multirun", "-m"): {"action": "store_true"},
    ("--cfg", "-c"): {"choices": ("job", "hydra", "all")},
    ("--package", "-p"): {},
    ("--resolve",): {"action": "store_true"},
    ("--info", "-i"): {"nargs": "?", "const": "all", "choices": INFO},
    ("--config-dir", "-cd"): {},
    ("--config-name", "-cn"): {},
    ("--config-path", "-cp"): {},  # to refuse it
    ("--shell-completion", "-sc"): {"action": "store_true"},
    ("--hydra-help",): {"action": "store_true"},
}


def command(config_name: str, run: Job, sweep: Job | None = None) -> NoReturn:
    """Run a command: `run(overrides, config_dir, config_name)`, or `sweep` for -m. Completion is Hydra's.

    A GradloopError becomes one line on stderr and its exit code. HYDRA_FULL_ERROR=1 shows the traceback as well.
    Output that nobody reads (`| head -1`) changes neither the run nor the exit code. A signal ends the command with
    its exit code at any moment; once there is a result, it changes nothing any more.
    """
    ended = ends_quickly()
    listening = Listening(stop_at_once).__enter__()
    if not gc.get_freeze_count():
        gc.freeze()  # the process ends with the command: what is imported stays
    shows = show_traceback()
    # let Hydra raise, instead of printing and exiting by itself
    os.environ["HYDRA_FULL_ERROR"] = "1"
    tell(traceback=shows)  # to further processes of this run
    try:
        code = code_of(lambda: _dispatch(config_name, run, sweep), shows)
        listening.first = take_note
    except RunInterrupted as stopped:
        code = stopped.exit_code
        if not is_second():
            _report(str(stopped), shows)
    if code == 128 + getattr(signal, "SIGUSR1", 0) and (done := requeue()):
        print(done, file=sys.stderr)
    ended.append(code)
    sys.exit(code)


def show_traceback() -> bool:
    if is_second():
        return bool(told().get("traceback"))
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def code_of(work: Callable[[], None], shows: bool) -> int:
    """Do the work; say in one line what is wrong, if anything is, and return the exit code."""
    steady_streams()
    try:
        work()
        sys.stdout.flush()
    except GradloopError as error:
        own = own_frame(error.__cause__) is not None
        _report(f"{error}; {TRACEBACK}" if own else str(error), shows)
        return error.exit_code
    except KeyboardInterrupt:
        _report("stopped by Ctrl-C", shows)
        return 130
    except Exception as error:
        if disk_is_full(error):
            _report("no space left on the disk; earlier checkpoints are untouched", shows)
            return 4
        if (message := too_long(error)) is not None:
            _report(message, shows)
            return 4
        message = _explain(error)
        if message is not None:
            _report(message, shows)
            return 2
        kind, text = type(error).__name__, said(error)
        notes = getattr(error, "__notes__", [TRACEBACK])  # a run's is in its train.log
        _report(f"{text if text.startswith(kind) else f'{kind}: {text}'}; {notes[0]}", shows)
        return 1
    return 0


def _dispatch(config_name: str, run: Job, sweep: Job | None) -> None:
    options = parse(sys.argv[1:])
    if options.help:
        from gradloop.commands.help import help_text

        print(help_text(config_name, options.config_dir))
        return
    if options.version:
        from gradloop import __version__

        print(f"gradloop {__version__}")
        return
    from gradloop.config.conf_folder import main_config
    from gradloop.config.overrides import last_of_each

    given = options.overrides
    options.overrides = given if options.shell_completion else last_of_each(given)
    config_name = main_config(options.config_name, config_name)
    if options.config_path:
        raise ConfigError("--config-path: not taken here; --config-dir=<folder> adds your own configs")
    if (options.package or options.resolve) and not options.cfg:
        raise ConfigError(f"{'--package' if options.package else '--resolve'}: belongs to --cfg job|hydra|all")
    if options.hydra_help or options.shell_completion:
        _hydra(config_name, options, given)
    elif options.cfg:
        _show(config_name, options)
    elif options.info:
        from gradloop.config.compose import compose_config

        compose_config(options.overrides, config_name=config_name, config_dir=options.config_dir)  # in our words
        _hydra(config_name, options, given)
    elif options.multirun:
        if sweep is None:
            raise ConfigError("-m: only gradloop-train sweeps")
        sweep(options.overrides, options.config_dir, config_name)
    else:
        run(options.overrides, options.config_dir, config_name)


class OneLineParser(argparse.ArgumentParser):
    """Raises ConfigError, with the nearest option, where argparse would print its usage."""

    def error(self, message: str) -> NoReturn:
        words = message.split() if message.startswith("unrecognized") else []
        unknown = [word.partition("=")[0] for word in words if word.startswith("-")]
        unknown = [word for word in unknown if not any(word in names for names in OPTIONS)]
        near = did_you_mean(unknown[0], [name for names in OPTIONS for name in names]) if unknown else ""
        raise ConfigError(f"{message}{near or '; see --help'}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options, and as `overrides` all else, wherever on the line it is. Raises ConfigError."""
    parser = OneLineParser(add_help=False)
    for names, settings in OPTIONS.items():
        parser.add_argument(*names, **settings)
    parser.add_argument("overrides", nargs="*")
    return parser.parse_intermixed_args(list(arguments))


def _show(config_name: str, options: argparse.Namespace) -> None:
    """Print the composed config, or one part of it."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from gradloop.config.compose import compose_config
    from gradloop.config.overrides import parse_overrides, refuse_sweep

    refuse_sweep(parse_overrides(options.overrides))
    config, _ = compose_config(options.overrides, config_name=config_name, config_dir=options.config_dir)
    HydraConfig.instance().set_config(config)  # for ${hydra:…}
    found: Any = config
    if options.package not in (None, "_global_"):
        found = OmegaConf.select(config, options.package, default=options)
        if found is options:  # nothing there; a null is something
            raise ConfigError(f"--package={options.package}: no such part of the config")
    elif options.cfg != "all":
        keys = [str(key) for key in config if (key == "hydra") == (options.cfg == "hydra")]
        found = OmegaConf.masked_copy(config, keys)
    if not OmegaConf.is_config(found):
        print("null" if found is None else found)
        return
    if options.resolve:
        OmegaConf.resolve(found)
    print(OmegaConf.to_yaml(found), end="")


def _hydra(config_name: str, options: argparse.Namespace, words: Sequence[str]) -> None:
    """Hand over to Hydra: completion, and what it says of itself. words: the overrides as they were given."""
    import hydra

    from gradloop.config.compose import VERSION
    from gradloop.config.conf_folder import conf_folder, own_main

    def nothing(config: Any) -> None:
        """Stand in for the job where Hydra only prints."""

    main = hydra.main(config_path=str(conf_folder()), config_name=config_name, **VERSION)
    given = sys.argv
    line = os.environ.get("COMP_LINE", "") if options.shell_completion else ""
    if named := re.search(r"\s(?:--config-dir|-cd)[ =](\S+)", line):  # Hydra does not look for it there
        os.environ["COMP_LINE"] = line.replace(named[0], "", 1)
        given = [*given, f"--config-dir={named[1]}"]
    own_main(config_name, parse(given[1:]).config_dir)  # what Hydra may not read is refused
    # Hydra 1.3 does not find overrides on both sides of an option
    sys.argv = [given[0], *(word for word in given[1:] if word not in words), *options.overrides]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said) if line else contextlib.nullcontext():
            main(nothing)()
    finally:
        sys.argv = given
    if line:
        from gradloop.commands.help import completed

        print(completed(said.getvalue(), line, named[1] if named else None))


def _explain(error: Exception) -> str | None:
    """Return one line for an error of Hydra or OmegaConf; None for any other."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from gradloop.config.wording import explain

    return explain(error) if isinstance(error, HydraException | OmegaConfBaseException) else None


def _report(message: str, show_traceback: bool) -> None:
    if show_traceback:
        traceback.print_exc()
    print(f"error: {printable(' '.join(message.splitlines()))}", file=sys.stderr)
