"""Single values of a config: given at all, of the YAML file's type, and within the range or words of their rule."""

import math
from typing import Any

from gradloop.config.limits import rule_of
from gradloop.config.rules import Rule
from gradloop.errors import ConfigError, did_you_mean

MAPS = ("callbacks", "logger", "metrics")  # of entries with a target each


def check_types(value: Any, expected: Any, key: str, target: Any) -> None:
    """Raise ConfigError for a value of another type than the YAML file's. target: what the key is a parameter of."""
    rule = rule_of(key, str(target))
    if expected is None and value is not None:
        expected = rule.like if rule is not None else None
    elif value is None and key.startswith(MAPS) and key.count(".") == 1:
        return  # null switches the entry off
    if rule is not None and (rule.null if value is None else rule.any_type):
        return
    if expected is None:
        return
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            what = (
                f"a group with the keys {', '.join(map(str, expected))}"
                if expected
                else "entries, as in {key: value}"
            )
            raise ConfigError(f"{key}={value}: expected {what}")
        for name, inner in value.items():
            if name in expected:
                path = f"{key}.{name}" if key else str(name)
                check_types(inner, expected[name], path, value.get("_target_"))
        return
    fits, kind = _fits(value, expected)
    if not fits:
        shown = "nothing" if value in (None, "") else repr(value)
        if isinstance(expected, list) and not isinstance(value, dict | bool | None):
            expected = [value] if not expected or type(expected[0]) is type(value) else expected
        elif isinstance(expected, int) and isinstance(value, float) and value.is_integer() and abs(value) < 2**31:
            expected = int(value)
        raise ConfigError(
            f"{key}={'' if value is None else value}: expected {kind}, not {shown} (as in {key}={_shown(expected)})"
        )
    if isinstance(expected, list) and expected:
        for index, inner in enumerate(value):
            check_types(inner, expected[0], f"{key}[{index}]", None)


def as_words(value: Any, expected: Any, key: str, target: Any) -> Any:
    """Return a value with numbers as text where the YAML file has a word, as `data.root: 3`, in its groups, too."""
    rule = rule_of(key, str(target))
    like = rule.like if expected is None and rule is not None else expected
    if isinstance(value, dict) and isinstance(expected, dict):
        return {
            name: as_words(inner, expected.get(name), f"{key}.{name}" if key else str(name), value.get("_target_"))
            for name, inner in value.items()
        }
    if rule is not None and (rule.any_type or rule.words):
        return value
    if isinstance(value, list) and isinstance(like, list) and like:
        return [as_words(inner, like[0], f"{key}[]", None) for inner in value]
    return str(value) if isinstance(like, str) and type(value) in (int, float) else value


def _fits(value: Any, expected: Any) -> tuple[bool, str]:
    if isinstance(expected, bool):
        return isinstance(value, bool), "true or false"
    if isinstance(expected, int):
        return isinstance(value, int) and not isinstance(value, bool), "a whole number"
    if isinstance(expected, float):
        return isinstance(value, int | float) and not isinstance(value, bool), "a number"
    if isinstance(expected, str):
        return isinstance(value, str | int | float) and not isinstance(value, bool), "a word"
    if isinstance(expected, list):
        return isinstance(value, list), "a list"
    return True, ""


def _shown(value: Any) -> str:
    """Return the value as the command line takes it."""
    return str(value).replace(" ", "").replace("'", "").lower() if isinstance(value, list | bool) else str(value)


def check_rules(value: Any, key: str, target: Any) -> None:
    """Raise ConfigError for a value outside of its key's range or words, and for a number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}={value}: expected a finite number")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError(f"{key}={value}: expected a number that 64 bits hold")
    rule = rule_of(key, str(target))
    if rule is not None and rule.any_type and value is not None:
        _hold(value, key, rule)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            check_rules(inner, f"{key}[{index}]", None)
            if rule is not None:
                _hold(inner, f"{key}[{index}]", rule)
    elif rule is not None and value is not None and not isinstance(value, dict):
        _hold(value, key, rule)
    if isinstance(value, dict):
        for name, inner in value.items():
            if not str(name).startswith("_"):
                check_rules(inner, f"{key}.{name}" if key else str(name), value.get("_target_"))


def _hold(value: Any, key: str, rule: Rule) -> None:
    try:
        holds = rule.holds(value)
    except TypeError:  # a word where the range is one of numbers
        holds = False
    if not holds:
        raise ConfigError(f"{key}={value}: expected {rule.says}{did_you_mean(str(value), rule.words)}")
