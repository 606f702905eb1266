"""A sweep from its command line to its leaderboard: `gradloop-train -m …`."""

import contextlib
import functools
import os
import shlex
from collections.abc import Callable
from typing import Any

from omegaconf import OmegaConf

from gradloop.config.overrides import typed
from gradloop.errors import ConfigError
from gradloop.runs.finding import SWEEP_FILE
from gradloop.streams import Waiting
from gradloop.sweeps.composing import Composer, values_of_run
from gradloop.sweeps.engines import Engine, RunSpec, make_engine
from gradloop.sweeps.engines.server import elsewhere
from gradloop.sweeps.methods import make_method
from gradloop.sweeps.opening import check_folds, check_sweep, first_of, folds_of, seeds_of, working_on
from gradloop.sweeps.planner import Planner
from gradloop.sweeps.progress import announce
from gradloop.sweeps.results.leaderboard import Leaderboard
from gradloop.sweeps.search_space import given_space, read_space
from gradloop.sweeps.study import absolute
from gradloop.sweeps.sweep_run import Ended, SweepRun

# of a command: how to run, not what
HOW = ("sweep=", "sweep.", "hydra.", "hydra/", "output_dir=", "allow=", "lang=", "--config-")
WHAT = ("sweep.search_space", "sweep.n_trials", "sweep.seeds")


def names_nothing(overrides: list[str], command: str) -> bool:
    """Whether a command says which sweep is to go on, and nothing of its runs. command: that sweep's own."""
    now, own = (
        [line for line in lines if line.lstrip("+").startswith(WHAT) or not line.lstrip("+").startswith(HOW)]
        for lines in (overrides, shlex.split(command)[2:])
    )
    return not now and bool(own)


def run_sweep(
    overrides: list[str], config_dir: str | None, config_name: str, engine_of: Callable[[Any], Engine] = make_engine
) -> Ended:
    """Run what `-m` asks for. Raises ConfigError and CheckpointError before the first run."""
    if int(os.environ.get("LOCAL_RANK") or 0) > 0 or int(os.environ.get("RANK") or 0) > 0:
        raise ConfigError("-m: a second process of one run must not sweep; use devices=1 under -m")
    config, allow = check_sweep(overrides, config_dir, config_name)
    options: dict[str, Any] = OmegaConf.to_container(config.sweep, resolve=True)  # type: ignore[assignment]
    if options.get("storage") is not None:
        options["storage"] = absolute(options["storage"])
    if options["plan"] and options["resume"] is None:
        options["storage"] = None  # a study that others search with is not to wait for settings that nobody tries
    engine = engine_of(config)
    fixed, space = read_space(overrides, given_space(config), config, config_dir)
    named = [f"--config-dir={config_dir}"] if config_dir else []
    named += [f"--config-name={config_name}"] if config_name != "train" else []
    asked = [line for line in overrides if not line.startswith(("sweep.resume=", "sweep.rerun="))]
    storage = "sweep.storage=sqlite:///"  # the command is to be found good from any folder
    asked = [f"sweep.storage={absolute(line[14:])}" if line.startswith(storage) else line for line in asked]
    command = shlex.join(["gradloop-train", "-m", *named, *asked])
    with working_on(config, options, named, command) as sweep, contextlib.closing(engine):
        only_left = options["resume"] is not None and names_nothing(overrides, sweep.command)
        if only_left and sweep.cut:
            again = f"{sweep.command} {typed('sweep.resume', sweep.folder)}"
            told = f"stopped before it was planned; repeat its command: {again}"
            raise ConfigError(f"sweep.resume={options['resume']}: {told}")
        seeds, fixed = seeds_of(config, fixed, space, sweep)
        folds = folds_of(config, space)
        if not only_left:
            check_folds(config, sweep)
        only_left &= not seeds and not folds and bool(sweep.jobs)
        if only_left and options.get("rerun"):
            raise ConfigError("sweep.rerun=true: this command names no run; give the sweep's own with it")
        if not only_left:
            sweep.cut |= sweep.command != command or not sweep.jobs  # until it is planned
            if sweep.command != command:  # one that goes on may ask for more than before
                sweep.earlier = [line for line in (*sweep.earlier, sweep.command) if line not in ("", command)]
            sweep.command = command
            announce(config, space, seeds, folds)
        composer = Composer(config_dir, config_name, allow)
        composer.check_recorded(sweep.jobs, sweep.folder / SWEEP_FILE)
        launcher = str(config.hydra.runtime.choices["hydra/launcher"])
        planner = Planner(sweep, composer, fixed, seeds, folds, launcher=launcher, rerun=bool(options.get("rerun")))
        example = sweep.jobs[0].overrides if only_left else [*fixed, *first_of(space, seeds, folds)]
        engine.prepare(sweep.folder, planner.spec_of([RunSpec(sweep.folder, example)], engine.cores))
        first = functools.partial(elsewhere, values_of_run, example, config_dir, config_name, allow)
        with Waiting("importing torch and Lightning") if options["method"] == "optuna" else contextlib.nullcontext():
            method = make_method(options, space, sweep, first, only_left=only_left)
        run = SweepRun(sweep, method, planner, engine, options, example)
        if options["plan"]:
            return Ended(Leaderboard(sweep, [], [], []), 0 if run.plan_only() else ConfigError.exit_code)
        return run.run()
