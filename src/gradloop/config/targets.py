"""What a config may call: a config or a run folder may come from a stranger."""

import functools
import importlib
import inspect
import os
import sys
from typing import Any

from gradloop.config.signature import entries, is_below
from gradloop.errors import ConfigError, did_you_mean

ROOTS = ("torch", "torchvision", "torchmetrics", "lightning", "gradloop")
# the packages whose functions may be called: those that they publish
FUNCTIONS = ("gradloop.networks", "torch.nn.functional", "torchvision.models", "torchmetrics.functional")
# building blocks that run code which a config brings along
UNSAFE = {
    "torch.fx.graph_module.GraphModule",
    "torch.distributed.nn.api.remote_module.RemoteModule",
    "lightning.pytorch.callbacks.lambda_function.LambdaCallback",
}
# never, not even when the user allows it: they run code, read files or reach the system
NEVER = {*sys.stdlib_module_names, "joblib", "numpy", "cloudpickle", "dill", "hydra", "omegaconf", "yaml", "pip",
         "setuptools", "nt"}  # fmt: skip


def targets(values: Any) -> list[tuple[str, Any]]:
    """Return (key, target) of every `_target_` in a plain config."""
    return [(path, value) for path, name, value in entries(values) if name == "_target_"]


def check_target_names(values: Any, allow: tuple[str, ...], *, saved: bool = False) -> None:
    """Refuse every target whose name lies outside the known libraries and what the user allowed.

    saved: the values are a run's, so that the command line can't name the target.
    """
    for key, target in targets(values):
        if target is None:
            continue
        if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
            raise ConfigError(f"{key}={target!r}: expected a dotted name, as in torch.optim.Adam")
        root = target.split(".")[0]
        if root in NEVER or any(part.startswith("_") for part in target.split(".")):
            raise ConfigError(f"{key}={target}: refused, configs may not call this")
        if root not in ROOTS and not is_below(target, allow):
            names = f"'allow=[{root}]'" if saved else f"{key}={target} or 'allow=[{root}]'"
            raise ConfigError(
                f"{key}={target}: not a known library{did_you_mean(root, ROOTS)} "
                f"(your own code: name it on the command line, {names})"
            )


def locate(key: str, target: str, allow: tuple[str, ...] = ()) -> Any:
    """Import and return what `target` names; refuse what is not a building block of training.

    An alias does not help: what counts is where the found object itself was defined.
    """
    module_name, _, name = target.rpartition(".")
    if target.startswith("lightning.pytorch.cli"):
        raise ConfigError(
            f"{key}={target}: belongs to LightningCLI, and this command line is Hydra's "
            "(a run's config is saved in its .hydra folder)"
        )
    if is_below(target, allow) and (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # the user's own modules may lie where the command is typed
    found: Any
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError):
        found = _by_attributes(key, target)
    except Exception as error:  # the user's own module is broken
        raise ConfigError(f"{key}={target}: can't be imported: {type(error).__name__}: {error}") from error
    home = str(getattr(found, "__module__", "")).split(".")[0]
    if is_below(target, allow) and target.split(".")[0] not in ROOTS and home not in ROOTS:
        # the user's own package, and what the user names in full; not what that package happens to import
        theirs = home == target.split(".")[0] or target in allow
        if home in NEVER or not theirs or not callable(found):
            raise ConfigError(f"{key}={target}: refused, configs may not call this")
        return found
    if not _is_building_block(found):
        raise ConfigError(
            f"{key}={target}: refused; expected a class or function that builds a network, loss, optimizer, "
            "scheduler, metric, transform, callback, logger or data module"
        )
    return found


def _by_attributes(key: str, target: str) -> Any:
    parts = target.split(".")
    try:
        found = importlib.import_module(parts[0])
    except ImportError as error:
        raise ConfigError(f"{key}={target}: {error}") from error
    for depth, part in enumerate(parts[1:], start=1):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(parts[: depth + 1]))
            except ImportError as error:
                near = did_you_mean(part, dir(found))
                raise ConfigError(f"{key}={target}: '{'.'.join(parts[:depth])}' has no '{part}'{near}") from error
    return found


def _is_building_block(found: Any) -> bool:
    """Return whether it is a class that training is built of, by what it derives from, or a published function."""
    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.profilers import Profiler

    home = str(getattr(found, "__module__", ""))
    if home.split(".")[0] not in ROOTS:
        return False
    if inspect.isfunction(found):
        return _is_published(found.__name__, home)
    if not inspect.isclass(found) or UNSAFE & {f"{base.__module__}.{base.__qualname__}" for base in found.__mro__}:
        return False
    if issubclass(found, torch.jit.ScriptModule):  # as above
        return False
    if issubclass(found, pl.LightningDataModule):
        return home.split(".")[0] == "gradloop"
    optimizing = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    return issubclass(found, (torch.nn.Module, *optimizing, pl.Callback, pl.Trainer, Logger, Profiler))


def _is_published(name: str, home: str) -> bool:
    """Return whether the module that defines a function, or one above it, lists it in `__all__`."""
    if not f"{home}.".startswith(tuple(f"{package}." for package in FUNCTIONS)):
        return False
    if home == "torch.nn.functional":  # it has no list, and holds nothing else
        return not name.startswith("_")
    parts = home.split(".")
    modules = [".".join(parts[:depth]) for depth in range(2, len(parts) + 1)]
    return any(name in getattr(sys.modules.get(module), "__all__", ()) for module in modules)


_signature_of_class = functools.lru_cache(256)(inspect.signature)


def parameters(found: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters that `found` takes by name, and whether it takes any others (**kwargs)."""
    own = (_signature_of_class if inspect.isclass(found) else inspect.signature)(found).parameters
    named = {n: p for n, p in own.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind == p.VAR_KEYWORD for p in own.values())


def handed_on(found: type) -> dict[str, inspect.Parameter]:
    """Return the parameters that a class takes by name, and those of the classes that its `**kwargs` go on to."""
    known: dict[str, inspect.Parameter] = {}
    for base in found.__mro__:
        if "__init__" in vars(base):
            named, others = parameters(vars(base)["__init__"])
            known = {name: parameter for name, parameter in named.items() if name != "self"} | known
            if not others:
                break
    return known


def check_arguments(key: str, found: Any, arguments: dict[str, Any]) -> None:
    """Raise ConfigError for a key that names no parameter of the target."""
    try:
        named, others = parameters(found)
    except (TypeError, ValueError):
        return  # built in C: it says itself what it can't take
    for name in arguments:
        if name.startswith("_"):
            continue
        if name not in named and not others:
            raise ConfigError(
                f"'{key}.{name}': {getattr(found, '__qualname__', found)} has no such parameter"
                + (did_you_mean(name, named) or f"; it takes {', '.join(named)} (drop it with ~{key}.{name})")
            )
