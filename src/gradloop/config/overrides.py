"""Hydra's override grammar: `key=value` as it is typed, read and written."""

import functools
import re
import shlex
import sys
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from gradloop.errors import ConfigError
from gradloop.process import SESSION

EXPECTED = "expected key=value, as in optimizer.lr=0.1"
QUOTES = """put a word of such letters in quotes, as in 'data.columns=["나이","age"]'"""
WORDS = (
    "name", "notes", "run", "sweep", "resume", "init_from", "output_dir", "hydra.run.dir", "hydra.sweep.dir",
    "sweep.resume", "sweep.study", "sweep.storage", "data.root", "data.cache_dir", "data.file", "data.delimiter",
)  # fmt: skip
LIKE_NUMBERS = re.compile(r"[-+]?[\d_]*\.?[\d_]+\.?(e[-+]?[\d_]+)?|true|false|[-+]?(nan|inf)", re.IGNORECASE)
GRAMMAR = set("[]{}(),'\"\\$")  # signs that a value is more than one word


def quoted(text: str) -> str:
    """Return a text as a value of an override, whatever signs it has."""
    return QuotedString(text, Quote.single).with_quotes()


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse Hydra's override grammar."""
    parsed: list[Override] = []
    for line in overrides:
        if "\n" in line or "\r" in line:
            raise ConfigError(f"{line!r}: a line break is not allowed in an override")
        try:
            override = _parsed(_with_quotes(line))
        except HydraException as error:
            reason = str(error).splitlines()[0].strip()
            what = EXPECTED if line.isascii() and "token recognition" not in reason else QUOTES
            raise ConfigError(f"{line}: can't be read ({reason}); {what}") from error
        if not override.get_key_element().lstrip("+~"):
            raise ConfigError(f"{line}: can't be read (no key); {EXPECTED}")
        parsed.append(override)
    return parsed


def _with_quotes(line: str) -> str:
    """Quote a value that is one text: with letters that Hydra's grammar lacks, or a word that looks like a number.

    run=학습/1 and name=1e3 mean what they say.
    """
    key, is_one, value = line.partition("=")
    if key.lstrip("+") in WORDS and LIKE_NUMBERS.fullmatch(value):
        return f"{key}={quoted(value)}"
    return line if not is_one or value.isascii() or GRAMMAR & set(value) else f"{key}={quoted(value)}"


def typed(key: str, text: object) -> str:
    """Return `key=text` as one types it in a shell, quoted as far as it must be."""
    line = f"{key}={text}"
    try:
        plain = str(parse_overrides([line])[0].value()) == str(text)
    except ConfigError:
        plain = False
    return shlex.quote(line if plain else f"{key}={quoted(str(text))}")


def to_paste(command: str, key: str, place: object, allow: Sequence[str]) -> str:
    """Return a command on a folder as one types it. allow: the names of own code that it needs.

    What was written in a Python session is not there in a shell: that is gone on with in the session.
    """
    if any(name.startswith(SESSION) for name in allow):
        return f"gradloop.{command}({key}={str(place)!r}, …) with the same objects"
    words = [f"gradloop-{command}", typed(key, place)]
    return " ".join([*words, *([shlex.quote(f"allow=[{','.join(allow)}]")] if allow else [])])


@functools.lru_cache(4096)
def _parsed(line: str) -> Override:
    return OverridesParser.create().parse_override(line)


def last_of_each(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with each key once: the last one holds, as wrapper scripts that append expect it.

    A line on stderr says so, if they differ. `+key=1 key=2` is `+key=2`.
    """
    kept: dict[str, str] = {}
    for override in parse_overrides(overrides):
        key, line = override.get_key_element().lstrip("+~"), str(override.input_line)
        if not override.is_sweep_override() and isinstance(override.value(), dict):
            key += "={}"  # some of a group's values: besides its choice, and besides others of them
            kept[f"{key}{len(kept)}"] = line
            continue
        before = kept.pop(key, None)
        if before is not None:
            if line.lstrip("+") != before.lstrip("+"):
                print(f"{key} is given twice: {line} holds, not {before}", file=sys.stderr)
            line = f"+{line}" if before.startswith("+") and not line.startswith(("+", "~")) else line
        kept[key] = line
    return list(kept.values())


def refuse_sweep(parsed: Sequence[Override], advice: str = "add -m, or call gradloop.sweep, to run them all") -> None:
    """Raise ConfigError for `seed=1,2` without -m."""
    for override in parsed:
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: several values are a sweep; {advice}")
