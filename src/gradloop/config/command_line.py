"""What the commands share: Hydra's grammar, one line for a mistake, exit codes that mean something."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from gradloop.errors import ConfigError, GradloopError

Job = Callable[[list[str], str | None, str], Any]


def command(config_name: str, run: Job, sweep_job: Callable[[Any], Any] | None = None) -> None:
    """Run a command: `run(overrides, config_dir, config_name)` for one run, Hydra itself for everything else.

    A GradloopError becomes one line on stderr and its exit code. HYDRA_FULL_ERROR=1 shows the traceback as well.
    """
    show_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    # let Hydra raise, instead of printing and exiting by itself
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.exit(_dispatch(config_name, run, sweep_job))
    except GradloopError as error:
        _report(str(error), show_traceback)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _report("stopped by Ctrl-C", show_traceback)
        sys.exit(130)
    except Exception as error:
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


def _dispatch(config_name: str, run: Job, sweep_job: Callable[[Any], Any] | None) -> int:
    from hydra._internal.utils import get_args_parser

    arguments = get_args_parser().parse_args()
    overrides = list(arguments.overrides)
    for line in overrides:
        if line.startswith("-"):
            raise ConfigError(f"{line}: no such option; see --help")
    shows = any(
        (
            arguments.help,
            arguments.hydra_help,
            arguments.cfg,
            arguments.info,
            arguments.shell_completion,
            arguments.version if hasattr(arguments, "version") else False,
        )
    )
    if arguments.multirun or shows:
        _hydra(arguments.config_name or config_name, sweep_job, overrides, shows=shows, multirun=arguments.multirun)
        return 0
    run(overrides, arguments.config_dir, arguments.config_name or config_name)
    return 0


def _hydra(
    config_name: str, job: Callable[[Any], Any] | None, overrides: list[str], *, shows: bool, multirun: bool
) -> None:
    """Hand over to Hydra: help, completion, printing a config, and sweeps."""
    import hydra

    from gradloop.config.compose import parse_overrides
    from gradloop.config.conf_folder import conf_folder

    if multirun and not shows and job is None:
        raise ConfigError("-m: only gradloop-train sweeps")
    if not shows or multirun:
        parse_overrides(overrides)

    def nothing(config: Any) -> None:
        """Stand in for the job where Hydra only prints."""

    main = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)
    main(job or nothing)()


def _explain(error: Exception) -> str | None:
    """Return one line for an error of Hydra or OmegaConf; None for any other."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from gradloop.config.compose import explain

    return explain(error) if isinstance(error, HydraException | OmegaConfBaseException) else None


def _report(message: str, show_traceback: bool) -> None:
    if show_traceback:
        traceback.print_exc()
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
