"""Kinds of rules: what a knob can be asked to be."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What a knob accepts. A list is held against it element by element."""

    says: str
    holds: Callable[[Any], bool]
    words: Sequence[str] = ()
    like: Any = None  # a value of the knob's type, where the YAML file says null
    any_type: bool = False  # not just the type in the YAML file: `holds` looks at the type, too
    null: bool = False  # null means something, although the YAML file gives a value


def number(low: float, high: float = math.inf, *, above: bool = False, below: bool = False) -> Rule:
    """Return the rule low <= v <= high. above, below: without low, without high."""
    start = "above" if above else "at least"
    if high == math.inf:
        says = f"more than {low}" if above else f"{low} or more"
    elif below:
        says = f"{start} {low} and below {high}"
    else:
        says = f"above {low} and up to {high}" if above else f"{low} to {high}"
    return Rule(says, lambda v: (low < v if above else low <= v) and (v < high if below else v <= high))


def words(*known: str) -> Rule:
    says = " or ".join(known) if len(known) == 2 else f"one of {', '.join(known)}"
    return Rule(says, lambda v: str(v) in known, words=known)


def either(says: str, holds: Callable[[Any], bool]) -> Rule:
    """Return a rule for a knob that takes values of more than one type."""
    return Rule(says, holds, any_type=True)


def batches(*, none: bool) -> Rule:
    low = "0 to 1.0" if none else "a share above 0 and up to 1.0"
    least = 0 if none else 1
    return Rule(
        f"{low}, or a whole number of batches",
        lambda v: (0 <= v <= 1 and (none or v > 0)) if isinstance(v, float) else v >= least,
    )


def is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def are_whole(value: Any, low: int) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(is_whole(item, low) for item in value)


def are_weights(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) > 1 and all(type(w) in (int, float) and 0 <= w < math.inf for w in value)
    return value == "balanced"


def are_loss_weights(value: Any) -> bool:
    """Also one number: a loss of the user's own may call something else its weight."""
    each = value if isinstance(value, list) else [value]
    return value == "balanced" or (len(each) > 0 and all(type(w) in (int, float) and 0 <= w < math.inf for w in each))


def are_groups(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > 0 and all(isinstance(each, dict) for each in value.values())


def is_warmup(value: Any) -> bool:
    return is_whole(value, 0) or (isinstance(value, str) and re.fullmatch(r"\d+ ?epochs?", value) is not None)


def are_built(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) and "_target_" in each for each in value)


def are_devices(value: Any) -> bool:
    if isinstance(value, str):
        return value == "auto" or re.fullmatch(r"\d+(,\d*)*|-1", value) is not None
    return value == -1 or is_whole(value, 1) or are_whole(value, 0)


def is_time(value: Any) -> bool:
    if isinstance(value, dict):
        known = value.keys() <= {"weeks", "days", "hours", "minutes", "seconds"}
        each = list(value.values())
        return known and all(type(v) in (int, float) and 0 <= v < math.inf for v in each) and sum(each) > 0
    return isinstance(value, str) and re.fullmatch(r"(?=.*[1-9])\d+:\d+:\d+:\d+", value) is not None


def at_least(low: float) -> Rule:
    """Return a rule for a knob whose YAML file has a whole number, and that takes others."""
    return either(
        f"a number, at least {low}",
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and low <= v < math.inf,
    )


def are_betas(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) and 0 <= v < 1 for v in value)


def named(says: str, pattern: str) -> Rule:
    """Return a rule for a name of that pattern, or something that is built by its _target_."""
    return either(says, lambda v: "_target_" in v if isinstance(v, dict) else bool(re.fullmatch(pattern, str(v))))


ANY = Rule("anything of its type", lambda _: True)
AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE = number(1), number(0), number(0, above=True)
SHARE, BELOW_ONE, INSIDE_ONE = number(0, 1), number(0, 1, below=True), number(0, 1, above=True, below=True)
PART = number(0, 1, above=True)
SEED = number(0, 2**32 - 1)
SEEDS = either("how many (1 or more), or a list of seeds", lambda v: is_whole(v, 1) or are_whole(v, 0))
FOLDER = Rule("a folder", lambda v: str(v).strip() != "")  # an empty path would be the current one
NAME = Rule("letters, digits, '.', '_' and '-'", lambda v: re.fullmatch(r"\w[\w.-]{0,99}", str(v)) is not None)
WORD = Rule("a word", lambda v: isinstance(v, str | int | float) and not isinstance(v, bool))
COLUMN = Rule("the name of a column", lambda v: WORD.holds(v) and v != "")
SIZE = either(
    "one number of 1 or more, or [height,width]", lambda v: is_whole(v, 1) or (are_whole(v, 1) and len(v) == 2)
)
