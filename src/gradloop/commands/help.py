"""`--help`: every group and its choices, in the words at the top of the YAML files. It imports next to nothing."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from gradloop.config.conf_folder import conf_folder

GROUPS = {
    "data": "what to learn from",
    "augmentation": "how training pictures are varied",
    "model": "the network; any nn.Module of yours by model._target_=…",
    "loss": "what training makes small",
    "optimizer": "how weights are changed",
    "scheduler": "how the learning rate changes over the run",
    "trainer": "how long and how precisely to train",
    "accelerator": "what to train on",
    "callbacks": "what happens around the training",
    "logger": "where curves go",
    "experiment": "a whole run by name; what you add after it still counts",
    "debug": "a run that finds mistakes",
    "sweep": "how -m searches",
    "hydra": "output folders and launchers",
}
KNOBS = {
    "data.batch_size": "samples a step",
    "model.hidden_dims=[64,32]": "units of each hidden layer (simple_nn)",
    "optimizer.lr=3e-4": "learning rate",
    "trainer.max_epochs=50": "passes over the training part",
    "trainer.precision=bf16-mixed": "32-true, bf16-mixed, 16-mixed, 64-true, auto",
    "seed=0": "equal seeds give equal weights; without one, a drawn one is recorded",
    "monitor=val/loss": 'what "best" means; null follows the task',
    "name=my_run": "becomes part of the run folder's name",
    "output_dir=outputs": "where run folders go",
    "resume=<run folder>": "go on where a run stopped; resume=last for the newest",
    "'allow=[my_models]'": "your own packages that configs may call",
}
EXAMPLES = {
    "gradloop-train": "the default run: offline, a few seconds",
    "gradloop-train data=digits optimizer.lr=0.01": "other data, another learning rate",
    "gradloop-train experiment=linear_regression": "a ready experiment",
    "gradloop-train -m seed=1,2,3 optimizer=adam,sgd": "a sweep: 6 runs and a comparison",
    "gradloop-train resume=last": "go on with the newest run",
    "gradloop-train data=digits --cfg job": "print the composed config, run nothing",
}
SWEEP = {"-m": "run every combination of the values given, as in seed=1,2"}
OPTIONS = {
    "--cfg job": "print the composed config and stop (hydra, all; -p optimizer: one part; --resolve: no ${…})",
    "--config-dir DIR": "look for your own YAML files in DIR as well",
    "-sc install=bash": 'print shell completion: eval "$(gradloop-train -sc install=bash)" (zsh, fish too)',
    "--version": "print the version",
    "--hydra-help": "Hydra's own options",
}
EXIT_CODES = {
    "0": "done",
    "2": "a mistake on the command line or in a YAML file",
    "3": "data missing, unreadable or unfit",
    "4": "a checkpoint, run folder or disk that can't be used",
    "5": "training diverged",
    "130, 143": "stopped by Ctrl-C or SIGTERM, state saved",
}


def help_text(config_name: str) -> str:
    """Return the help of a command; that of the main job lists groups and knobs."""
    options = OPTIONS
    if config_name == "train":
        options = SWEEP | OPTIONS
        parts = [
            "gradloop-train trains a model, tests it and records the run:",
            "  gradloop-train [group=choice …] [key=value …] [option …]",
            "",
            "GROUPS, each a folder of YAML files; * is taken if you say nothing",
            *_groups(),
            "",
            "KNOBS that are turned most (all of them: --cfg job)",
            *_table(KNOBS),
            "",
            "EXAMPLES",
            *_table(EXAMPLES),
        ]
    else:
        text = (conf_folder() / f"{config_name}.yaml").read_text()
        parts = [f"gradloop-{config_name} [key=value …] [option …]", "", *_described(text)]
    return "\n".join([*parts, "", "OPTIONS", *_table(options), "", "EXIT CODES", *_table(EXIT_CODES)])


def _groups() -> list[str]:
    defaults = dict(re.findall(r"^  - (\w+): (\w+)", (conf_folder() / "train.yaml").read_text(), re.M))
    lines = []
    for group in sorted(_folders(), key=lambda name: [*GROUPS, name].index(name)):
        lines.append(f"  {group + '=…':<15} {GROUPS.get(group, '')}")
        for path in sorted((conf_folder() / group).glob("*.yaml")):
            star = "*" if defaults.get(group) == path.stem else " "
            lines += _wrapped(f"    {star} {path.stem:<24} ", _first_comment(path))
    return lines


def _folders() -> list[str]:
    return [path.name for path in conf_folder().iterdir() if path.is_dir() and any(path.glob("*.yaml"))]


def _first_comment(path: Path) -> str:
    """Return what a YAML file says of itself: its first comment line."""
    for line in path.read_text().splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ").strip()
        if line and not line.startswith("#"):
            break
    return ""


def _described(text: str) -> list[str]:
    """Return a YAML file's opening comment, and its keys with the comments beside them; one level of nesting."""
    lines = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    rows, group = {}, ""
    for nested, key, value, what in re.findall(r"^(  )?(\w+): *([^#\n]*?) *(?:# (.*))?$", text, re.M):
        if not nested:
            group = f"{key}."
        if what:
            rows[f"{group if nested else ''}{key}={'…' if value == '???' else value}"] = what
    return [*lines, "", *_table(rows)]


def _table(rows: dict[str, str]) -> list[str]:
    width = min(max(map(len, rows)), 46)
    return [line for name, what in rows.items() for line in _wrapped(f"  {name:<{width}}  ", what)]


def _wrapped(start: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, 108 - len(start)) or [""]
    return [(start + wrapped[0]).rstrip(), *(" " * len(start) + line for line in wrapped[1:])]
