"""What `gradloop.train` does besides the command: takes objects in place of names, and shows its result as HTML."""

import base64
import contextlib
import copy
import functools
import html
import inspect
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsFloat, cast

from gradloop.config.overrides import parse_overrides, quoted
from gradloop.config.targets import NEVER, check_target_names
from gradloop.errors import ConfigError
from gradloop.process import SESSION
from gradloop.runs.record import Record
from gradloop.runs.screen import closing


class Result(dict[str, Any]):  # a Record
    """A run's record that a notebook shows as a table and the curves."""

    def _repr_html_(self) -> str:
        folder = Path(self["folder"])
        lines = closing(cast(Record, self), folder)
        rows = [line.strip().split(maxsplit=1) for line in lines if line.startswith("  ")]
        cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>" for name, text in rows)
        shown = f"<b>{html.escape(str(self['name']))}</b>: {html.escape(str(self['status']))}, seed {self['seed']}"
        parts = [f"<p>{shown}<br><code>{html.escape(str(folder))}</code></p>", f"<table>{cells}</table>"]
        if (curves := folder / "curves.png").is_file():
            text = base64.b64encode(curves.read_bytes()).decode()
            parts.append(f'<img alt="curves" style="max-width:100%" src="data:image/png;base64,{text}">')
        return "".join(parts)


BUILT = ("optimizer", "scheduler")
MADE_BY = (type, types.FunctionType, functools.partial)  # what builds; anything else that can be called is an object
PLAIN = (str, int, float, list, tuple, range, os.PathLike, SupportsFloat, type(None))
NAMED = ("callbacks", "logger", "metrics")  # groups of entries with a name each
SETTINGS = (bool, int, float, str, bytes, tuple, type(None))  # of an object, which two may have otherwise


def as_overrides(given: dict[str, Any]) -> list[str]:
    """Return overrides for what was given by keyword: `data="digits"`, `seed=0`, `model=MyNet`, `callbacks=[Mine()]`.

    Callbacks, loggers and metrics come besides those of the config: one, several, or by name, `metrics={"kappa": …}`.

    A text that the command line would read as no single value is that text; paths and numbers of numpy's and torch's
    are what they stand for. Classes and functions that can be imported go by their name, anything else by one of this
    session.
    """
    lines: list[str] = []
    taken: set[str] = set()
    for key, value in given.items():
        if key in NAMED and not isinstance(value, str | int | float | None):
            lines += [f"+{key}.{name}._target_={_named(one, taken)}" for name, one in _entries(key, value).items()]
        elif isinstance(value, PLAIN):
            lines.append(f"{key}={_text(key, value)}")
        elif isinstance(value, dict | set):
            expected = "a word, a number, a list of these, a class or an object"
            raise ConfigError(f"gradloop.train({key}={value!r}): expected {expected}")
        elif key == "trainer":
            raise ConfigError(
                "gradloop.train(trainer=…): a run makes its own; give its knobs, as in 'trainer.max_epochs=5'"
            )
        elif key in BUILT and not isinstance(value, MADE_BY):
            what = f"{type(value).__name__}: expected a class or a functools.partial of one"
            raise ConfigError(f"gradloop.train({key}=…): {what}; the run builds it for its own network")
        elif _is_scripted(value):
            what = f"{type(value).__name__}: torch can't copy its weights to train them"
            raise ConfigError(f"gradloop.train({key}=…): {what}; give the module that it was made of")
        else:
            lines.append(f"{key}._target_={_named(value, taken)}")
    return lines


def _entries(key: str, value: Any) -> dict[str, Any]:
    """Return the objects or classes of a group by name."""
    given = value if isinstance(value, list | tuple | dict) else [value]
    entries = given if isinstance(given, dict) else {f"{_kind(one).lower()}_{n}": one for n, one in enumerate(given)}
    for one in entries.values():
        if one is None or isinstance(one, str | int | float | list | dict):
            raise ConfigError(
                f"gradloop.train({key}={value!r}): {one!r}: expected objects or classes; "
                f"choices of the config go as one text: '{key}=[ema,swa]'"
            )
    return entries


def _is_scripted(found: Any) -> bool:
    """Whether it is a module of `torch.jit`, with weights."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(found, torch.jit.ScriptModule) and any(True for _ in found.parameters())


def _kind(found: Any) -> str:
    return _own((found if isinstance(found, type | types.FunctionType) else type(found)).__name__)


def _own(name: str) -> str:
    """Return a name for the session: what begins with _ no config may call."""
    return f"own{name}" if name.startswith("_") else name.strip("<>")


def _text(key: str, value: Any) -> str:
    """Return a value, or a list of some, as the command line has it."""
    if isinstance(value, list | tuple | range):
        return f"[{','.join(_text(key, each) for each in value)}]"
    if isinstance(value, SupportsFloat) and not isinstance(value, int | float):
        value = _number(key, value)
    text = "null" if value is None else os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    return quoted(text) if isinstance(value, str | os.PathLike) and not _is_a_value(text) else text


def _is_a_value(text: str) -> bool:
    """Whether the command line reads a text as one value: a word, a number, a list."""
    try:
        return not parse_overrides([f"key={text}"])[0].is_sweep_override()
    except ConfigError:
        return False


def _number(key: str, value: Any) -> Any:
    """Return a number of numpy's or torch's as Python's."""
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        given = f"gradloop.train({key}={type(value).__name__})"
        by = "; a table comes in a file: data='csv', and 'data.file=…' as a text; tensors in a DataModule of your own"
        raise ConfigError(f"{given}: expected one number{by * (key == 'data')}") from None


def _named(found: Any, taken: set[str]) -> str:
    """Return a dotted name by which `found` is built. An object is kept for this session.

    What is built by its name is a copy of it, but a callback or a logger itself, as Lightning has them.

    It takes the place of an earlier one of its class, but for a network of other layers, whose runs may be loaded
    yet, and for those of the same call. taken: the names of these.
    """
    inner = found.func if isinstance(found, functools.partial) else found
    name, module = getattr(inner, "__qualname__", None) or _kind(inner), getattr(found, "__module__", "")
    if (
        "." not in name
        and getattr(sys.modules.get(module), name, None) is found
        and _may_be_called(f"{module}.{name}")
    ):
        return f"{module}.{name}"
    session = sys.modules.setdefault(SESSION, types.ModuleType(SESSION))
    if not isinstance(inspect.unwrap(found), MADE_BY):
        kind, number = _kind(found), 1
        name = kind
        while name in taken or not _replaces(found, vars(session).get(name)):
            number += 1
            name = f"{kind}_{number}"
        taken.add(name)
        found = _builder(found)
    else:
        unnamed, name, there = name.endswith("<lambda>"), _own(name.rpartition(".")[2]), vars(session)
        if str(module).partition(".")[0] in NEVER and not isinstance(found, functools.partial):
            found = functools.partial(found)  # of a namespace without a name: who hands it over may call it
        if isinstance(found, functools.partial):
            found = _function_of(found, name)
        part = vars(found).get("part")
        while (
            name in taken
            or "built" in vars(there.get(name, object))
            or (unnamed and there.get(name, found) is not found)
            or (part is not None and not _is_that_part(there.get(name, found), part))
        ):
            name += "_"  # another has it
        taken.add(name)
    setattr(session, name, found)
    return f"{SESSION}.{name}"


def _may_be_called(name: str) -> bool:
    """Whether a config may name what the caller has at hand."""
    try:
        check_target_names({"_target_": name}, (name,))
    except ConfigError:
        return False
    return not name.startswith("__main__.")


def _replaces(found: Any, there: Any) -> bool:
    """Whether an object may have the name of what is there."""
    if there is None or "built" not in vars(there):
        return there is None
    built = vars(there)["built"]
    alike = type(found).__repr__ is object.__repr__ or repr(found) == repr(built)
    return alike and type(found) is type(built) and _settings(found) == _settings(built)


def _settings(found: Any) -> dict[str, Any]:
    """The plain attributes of an object: a representation need not name them all."""
    held = getattr(found, "__dict__", {}).items()
    return {name: value for name, value in held if isinstance(value, SETTINGS) and name != "training"}


def _builder(built: Any) -> Callable[[], Any]:
    pl = sys.modules.get("lightning.pytorch")
    itself = pl is not None and isinstance(built, pl.Callback | pl.loggers.Logger)  # the caller looks into it later

    def build() -> Any:
        return built if itself else copy.deepcopy(built)  # so that a second run starts from the same weights

    build.__module__ = SESSION
    vars(build)["built"] = built
    return build


def _function_of(part: functools.partial[Any], name: str) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        return part(*given, **named)

    vars(call)["part"] = part
    with contextlib.suppress(ValueError):  # built in C: it may not tell what it takes
        vars(call)["__signature__"] = inspect.signature(part)
    call.__name__, call.__qualname__, call.__module__ = name, name, SESSION
    return call


def _is_that_part(there: Any, part: functools.partial[Any]) -> bool:
    """Whether what has a name stands for the same `functools.partial`."""
    other = vars(there).get("part")
    return other is not None and repr((other.func, other.args, other.keywords)) == repr(
        (part.func, part.args, part.keywords)
    )


def of_this_session() -> tuple[str, ...]:
    """Return the names that objects of this session were given."""
    session = sys.modules.get(SESSION)
    return tuple(f"{SESSION}.{name}" for name in vars(session) if not name.startswith("_")) if session else ()
