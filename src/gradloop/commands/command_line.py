"""What the commands share: Hydra's grammar, one line for a mistake, exit codes that mean something."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from gradloop.errors import ConfigError, GradloopError, did_you_mean, disk_is_full, too_long
from gradloop.runs.foreign_text import printable
from gradloop.runs.slurm import requeue
from gradloop.streams import steady_streams

Job = Callable[[list[str], str | None, str], Any]


def command(config_name: str, run: Job, sweep: Job | None = None) -> None:
    """Run a command: `run(overrides, config_dir, config_name)` for one run, Hydra itself for everything else.

    A GradloopError becomes one line on stderr and its exit code. HYDRA_FULL_ERROR=1 shows the traceback as well.
    Output that nobody reads (`| head -1`) changes neither the run nor the exit code.
    """
    show_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    steady_streams()
    # let Hydra raise, instead of printing and exiting by itself
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        _dispatch(config_name, run, sweep)
        sys.stdout.flush()
        sys.exit(0)
    except GradloopError as error:
        _report(str(error), show_traceback)
        if error.exit_code == 128 + signal.SIGUSR1 and (done := requeue()):
            print(done, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _report("stopped by Ctrl-C", show_traceback)
        sys.exit(130)
    except Exception as error:
        if disk_is_full(error):
            _report("no space left on the disk; earlier checkpoints are untouched", show_traceback)
            sys.exit(4)
        if (message := too_long(error)) is not None:
            _report(message, show_traceback)
            sys.exit(4)
        message = _explain(error)
        if message is not None:
            _report(message, show_traceback)
            sys.exit(2)
        log = next((h.baseFilename for h in logging.root.handlers if isinstance(h, logging.FileHandler)), None)
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        _report(
            f"{type(error).__name__}: {first} (the traceback: {'HYDRA_FULL_ERROR=1' if log is None else log})",
            show_traceback,
        )
        sys.exit(1)


def _dispatch(config_name: str, run: Job, sweep: Job | None) -> None:
    if any(argument in ("--help", "-h") for argument in sys.argv[1:]):
        from gradloop.commands.help import help_text

        print(help_text(config_name))
        return
    if "--version" in sys.argv[1:]:
        from gradloop import __version__

        print(f"gradloop {__version__}")
        return
    arguments = _parse()
    config_name = arguments.config_name or config_name
    overrides = list(arguments.overrides)
    if arguments.config_path:
        raise ConfigError("--config-path: not taken here; --config-dir=<folder> adds your own configs")
    if arguments.hydra_help or arguments.shell_completion:
        _hydra(config_name, None)
    elif arguments.cfg or arguments.info:
        from gradloop.config.compose import compose_config

        compose_config(overrides, config_name=config_name, config_dir=arguments.config_dir)  # refuses in our words
        _hydra(config_name, None)
    elif arguments.multirun:
        if sweep is None:
            raise ConfigError("-m: only gradloop-train sweeps")
        sweep(overrides, arguments.config_dir, config_name)
    else:
        run(overrides, arguments.config_dir, config_name)


def _parse() -> Any:
    """Return Hydra's own options; raise ConfigError for one that there is not."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    names = [name for action in parser._actions for name in action.option_strings]

    def refuse(message: str) -> NoReturn:
        unknown = [word.partition("=")[0] for word in message.split() if word.startswith("-")]
        near = did_you_mean(unknown[0], names) if unknown else ""
        raise ConfigError(f"{message}{near or '; see --help'}")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args()


def _hydra(config_name: str, job: Callable[[Any], Any] | None) -> None:
    """Hand over to Hydra: completion, printing a config, and sweeps."""
    import hydra

    from gradloop.config.conf_folder import conf_folder

    def nothing(config: Any) -> None:
        """Stand in for the job where Hydra only prints."""

    main = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)
    main(job or nothing)()


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
