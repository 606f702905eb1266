"""What sweep.json may hold: it may come from a stranger."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradloop.config.rules import is_whole
from gradloop.errors import CheckpointError
from gradloop.runs.foreign_text import all_printable
from gradloop.runs.record import STATUSES

REPEATED = ("seed", "data.fold")  # the repetitions, never a setting, and never lists


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _whole(value: Any) -> bool:
    return is_whole(value, 0) and value < 2**63


def _maybe_word(value: Any) -> bool:
    return value is None or isinstance(value, str)


# what sweep.json holds; a job's folder is its number: it can't lead elsewhere
JOB_TYPES: dict[str, Callable[[Any], bool]] = {
    "number": _whole,
    "values": lambda value: (
        isinstance(value, dict) and not any(isinstance(value.get(k), list | dict) for k in REPEATED)
    ),
    "overrides": _words,
    "signature": lambda value: isinstance(value, str),
    "trial": lambda value: value is None or _whole(value),
    "status": lambda value: value is None or value in STATUSES,
    "reason": _maybe_word,
}
PLAN_TYPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("name", "method", "command"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("metric", "mode", "study", "storage"), _maybe_word),
    "keys": _words,
    "earlier": lambda value: value is None or _words(value),
    "options": lambda value: value is None or _words(value),
    "objectives": lambda value: value is None or (isinstance(value, dict) and _words([*value, *value.values()])),
    "seed": lambda value: value is None or _whole(value),
    "started": lambda value: value is None or isinstance(value, int | float),
    **dict.fromkeys(("finished", "cut"), lambda value: value is None or isinstance(value, bool)),
}


def checked_plan(file: Path, plan: Any) -> dict[str, Any]:
    """Return what is known of a sweep and its jobs, without control characters; else raise CheckpointError."""
    if not isinstance(plan, dict) or not isinstance(plan.get("jobs", []), list):
        raise CheckpointError(f"{file}: not the plan of a sweep")
    plan = all_printable(plan)
    checked = _checked(file, plan, PLAN_TYPES)
    checked["jobs"] = [_checked(file, job, JOB_TYPES) for job in plan.get("jobs", [])]
    numbers = [job["number"] for job in checked["jobs"]]
    if len(set(numbers)) < len(numbers):
        raise CheckpointError(f"{file}: two jobs have one number")
    try:  # it is shown as what to type next
        checked["command"] = shlex.join(shlex.split(plan["command"]))
    except ValueError as error:
        raise CheckpointError(f"{file}: command={plan['command']}: {error}") from error
    if checked["command"] and not checked["command"].startswith("gradloop-"):
        raise CheckpointError(f"{file}: command={plan['command']}: expected gradloop-train …")
    return checked


def _checked(file: Path, values: Any, types: dict[str, Callable[[Any], bool]]) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise CheckpointError(f"{file}: {json.dumps(values)[:80]}: not the plan of a sweep")
    for key, fits in types.items():
        if not fits(values.get(key)):
            raise CheckpointError(f"{file}: {key}={json.dumps(values.get(key))[:80]}: not the plan of a sweep")
    return {key: values[key] for key in types if values.get(key) is not None}
