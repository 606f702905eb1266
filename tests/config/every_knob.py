"""Every knob of every YAML file, given what it does not take. A program of its own: nothing here has torch.

It prints each command line that is answered otherwise than by one line, exit code 2 and the knob's name.
Its argument is the share of them that is tried, drawn anew each time: 1 by default.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gradloop.config.conf_folder import conf_folder
from gradloop.config.limits import ANY, rule_of

# one file of each at a time: composing takes longer than checking
TOGETHER = ("accelerator", "augmentation", "callbacks", "data", "logger", "loss", "model", "optimizer", "scheduler")
OUTSIDE = (-1, 0, 3, 0.5, -0.5, 1.5, 200.5, 2**40, "zzz", "", [0], [-1], [1.5], ["zzz"])


def leaves(values: dict[str, Any], prefix: str, target: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield (key, value, target of the dict that holds it)."""
    for name, value in values.items():
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict) and value:
            yield from leaves(value, key, str(value.get("_target_", "")))
        else:
            yield key, value, target


def together(index: int, tried: str) -> list[str]:
    """Return the choices of the file of that number in each group; of data and augmentation, what fits the tried."""
    names = {group: sorted(path.stem for path in (conf_folder() / group).glob("*.yaml")) for group in TOGETHER}
    chosen = {group: choices[index % len(choices)] for group, choices in names.items()}
    fixed = {"data": "cifar10"} if tried == "augmentation" else {"augmentation": "none"}
    return [f"{group}={choice}" for group, choice in (chosen | fixed).items()]


def knobs(path: Path) -> Iterator[tuple[str, list[str], str, Any, str]]:
    """Yield (command, arguments that choose the file, key, value, target) for each knob of a YAML file."""
    group, _, name = str(path.relative_to(conf_folder()).with_suffix("")).rpartition("/")
    text = path.read_text()
    values = yaml.safe_load(text) or {}
    values.pop("defaults", None)
    program = name if name in ("evaluate", "explain", "list") else "train"
    if "# @package _global_" in text or not group:
        prefix = ""
    elif "# @package " in text:
        prefix = text.split("# @package ")[1].split()[0]
    else:
        prefix = group.replace("/", ".").removesuffix(".core")
    chosen = [f"{group}={name}"] if group else []
    if group in TOGETHER:
        chosen = together(sorted(path.parent.glob("*.yaml")).index(path), group)
    elif group == "callbacks/core":
        chosen = [f"callbacks/core@callbacks={name}"]
    elif group.startswith("experiment"):
        chosen = [f"experiment={f'{group}/{name}'.partition('/')[2]}"]
    elif group in ("sweep", "hydra/launcher"):
        chosen.append("-m")
    elif program != "train":
        chosen = []
    for key, value, target in leaves(values, prefix, str(values.get("_target_", ""))):
        if (value == {} and key == prefix) or key.startswith("sweep.search_space."):
            continue
        needs = ["data.root=x"] if "image_folder" in " ".join(chosen) and key != "data.root" else []
        if "data=csv" in chosen:
            needs = [line for line in ("data.file=x", "data.target=y") if line.split("=")[0] != key]
        needs += ["run=x"] if program in ("evaluate", "explain") and key not in ("run", "sweep") else []
        yield program, [*chosen, *needs], key, value, target


def wrong(key: str, value: Any, target: str) -> Iterator[str]:
    """Yield what a knob does not take: another type, and a value outside of its range or words."""
    linked = isinstance(value, str) and value.startswith("${")
    yield "zzz" if isinstance(value, bool | int | float | list) else "{zzz:1}"
    parameter = key.rpartition(".")[2]
    switched_off = value is None and key.startswith("callbacks.") and key.count(".") == 1
    if (
        isinstance(value, bool | dict)
        or linked
        or parameter.startswith("_")
        or switched_off
        or (key.startswith("hydra.") and not key.startswith("hydra.launcher."))
    ):
        return
    rule = rule_of(key, target)
    if rule is None:
        yield "there is no rule"
    elif rule.says != ANY.says:
        like = rule.like if value is None else value
        kinds = (object,) if rule.any_type else (int, float) if isinstance(like, float) else (type(like),)
        several = isinstance(like, list) and not rule.any_type
        given = [value for value in OUTSIDE if isinstance(value, kinds)]
        outside = [o for o in given if not any(_holds(rule, item) for item in (o if several else [o]))]
        yield str(outside[0]).replace("'", "") if outside else "nothing is outside"


def _holds(rule: Any, value: Any) -> bool:
    try:
        return rule.holds(value)
    except TypeError:
        return False


def answered(program: str, arguments: list[str], key: str) -> bool:
    """Return whether a command line is answered by one line that names the key."""
    main = importlib.import_module(f"gradloop.commands.{program}").main
    sys.argv = [f"gradloop-{program}", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "0"
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
    line = told.getvalue()
    if code == 2 and line.startswith("error: ") and line.count("\n") == 1 and key in line:
        return True
    print(code, *arguments, "->", line.strip()[:200])
    return False


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment] # who asks for it fails
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    dice = random.Random(seed)
    count = failed = 0
    seen = set()
    files = sorted(conf_folder().rglob("*.yaml"))
    turners = ("experiment", "debug")  # these turn the knobs of other files: what was tried there is not tried again
    for path in sorted(files, key=lambda path: any(name in path.parts for name in turners)):
        turns = any(name in path.parts for name in turners)
        for program, chosen, key, value, target in knobs(path):
            for given in wrong(key, value, target) if dice.random() < share else ():
                if not (turns and (key, given) in seen):
                    failed += not answered(program, [*chosen, f"{key}={given}"], key)
                    count += 1
                seen.add((key, given))
    print(f"seed {seed}: {count} mistakes", file=sys.stderr)
    sys.exit(failed > 0)
