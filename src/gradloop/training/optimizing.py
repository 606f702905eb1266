"""The optimizer and the schedule of a run, from its checked config."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau
from torchmetrics import Metric

from gradloop.config.targets import locate, parameters
from gradloop.errors import ConfigError, did_you_mean, said
from gradloop.optimizers.muon import Muon
from gradloop.optimizers.warmup import Warmup
from gradloop.runs.labels import mode_of
from gradloop.training.machine import resolve_precision
from gradloop.training.task import Task
from gradloop.training.trials import try_optimizer

Values = dict[str, Any]
Scheduler = Callable[..., Any]
RATES = ("max_lr", "base_lr", "eta_min", "min_lr")  # that a schedule has of its own
OPEN = ("mode", "T_max", "total_steps")  # what null leaves to gradloop
NO_DIRECTION = "says not which way is better; add monitor_mode=max or min"
OURS = {"optimizer": "groups", "scheduler": "warmup"}  # what the classes that these groups name do not take


def direction(values: Values, task: Task, own: Mapping[str, Metric]) -> str:
    """Return whether the run's monitor is to rise (max) or to fall (min). own: the user's metrics, by name."""
    if values["monitor_mode"]:
        return str(values["monitor_mode"])
    monitor = values["monitor"] or task.monitor
    metric = own.get(monitor.partition("/")[2])
    rises = mode_of(monitor) == "max" if metric is None else metric.higher_is_better
    if rises is None:
        raise ConfigError(f"monitor={monitor}: {NO_DIRECTION}")
    return "max" if rises else "min"


def optimizer_of(build: Any, values: Values, network: nn.Module) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """Return weights -> optimizer, the weights in the order of `network.parameters()`, and others after them."""
    given = {key: value for key, value in values["optimizer"].items() if key != "groups"}
    groups = {str(pattern): options for pattern, options in (values["optimizer"].get("groups") or {}).items()}
    precision, clipped = resolve_precision(values["trainer"]), bool(values["trainer"].get("gradient_clip_val"))
    if given.get("fused") and (precision in ("16-mixed", "16") or (clipped and precision == "bf16-mixed")):
        given["fused"] = False  # it would unscale the gradients itself, after they are clipped and looked at
    optimizer = build("optimizer", given | {"_partial_": True})
    built = try_optimizer(optimizer, given["_target_"], network.parameters())
    if not groups:
        return optimizer
    if isinstance(built, Muon):
        raise ConfigError("optimizer.groups: Muon makes groups of its own; set bias_lr, head_lr and their like")
    names = [name for name, _ in network.named_parameters()]
    for pattern, options in groups.items():
        _check_group(pattern, options, names, built)
        alone = build("optimizer", given | options | {"_partial_": True})
        held = [weight for name, weight in network.named_parameters() if matches(pattern, name)]
        try_optimizer(alone, given["_target_"], held, f"optimizer.groups.{pattern}")  # torch looks at all groups' own
        if not any(pattern == next((other for other in groups if matches(other, name)), None) for name in names):
            raise ConfigError(
                f"optimizer.groups.{pattern}: the groups before it have all of its weights; name it first"
            )

    def grouped(weights: Iterable[nn.Parameter]) -> Optimizer:
        return optimizer(_grouped(groups, names, list(weights)))

    try:
        grouped(network.parameters())
    except Exception as error:  # torch's optimizers raise five kinds of errors
        raise ConfigError(f"optimizer.groups: {given['_target_']} says: {said(error)}") from error
    return grouped


def _check_group(pattern: str, options: Any, names: list[str], optimizer: Optimizer) -> None:
    """Refuse a pattern that no weight has, and an option that the optimizer does not have."""
    key = f"optimizer.groups.{pattern}"
    if not isinstance(options, dict) or not options:
        raise ConfigError(f"{key}={options}: expected options, as in optimizer.groups={{{pattern}:{{lr:1e-2}}}}")
    for option in options:
        if option not in optimizer.defaults:
            known = [name for name in optimizer.defaults if not name.startswith("_")]
            near = did_you_mean(str(option), known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"'{key}.{option}': {type(optimizer).__name__} has no such option{near}")
        if not _alike(options[option], optimizer.defaults[option]):
            usual = optimizer.defaults[option]
            raise ConfigError(f"{key}.{option}={options[option]}: expected a value as {usual} is one")
    if not any(matches(pattern, name) for name in names):
        near = did_you_mean(pattern, names) or f"; there are {', '.join(names[:5])}{', …' * (len(names) > 5)}"
        raise ConfigError(f"{key}: the network has no weight of that name{near}")


def _alike(value: Any, usual: Any) -> bool:
    """Return whether a group's option is of the kind that the optimizer has for all: torch finds out in its steps."""
    if isinstance(usual, list | tuple):
        several = isinstance(value, list) and len(value) == len(usual)
        return several and all(_alike(v, u) for v, u in zip(value, usual, strict=True))
    if isinstance(usual, bool | str) or usual is None:
        return usual is None or isinstance(value, type(usual))
    return isinstance(value, int | float) and not isinstance(value, bool)


def matches(pattern: str, name: str) -> bool:
    """Return whether a weight is meant: by its whole name, a part of it ("bias"), or a layer that it is in."""
    parts = name.split(".")
    layers = accumulate(parts, lambda before, part: f"{before}.{part}")
    return any(fnmatch.fnmatchcase(each, pattern) for each in (*parts, *layers))


def _grouped(groups: Values, names: list[str], weights: list[nn.Parameter]) -> list[Values]:
    """Return torch's parameter groups: what no pattern matches, then a group a pattern; the first that matches."""
    found: dict[str | None, list[nn.Parameter]] = {None: [], **{pattern: [] for pattern in groups}}
    for index, weight in enumerate(weights):
        name = names[index] if index < len(names) else None
        found[next((p for p in groups if name is not None and matches(p, name)), None)].append(weight)
    return [{"params": held, **(groups[p] if p is not None else {})} for p, held in found.items() if held]


def warmup_of(values: Values, steps_an_epoch: int) -> int:
    """Return the optimizer steps of the warm-up: `scheduler.warmup` counts steps, or epochs as in 5epochs."""
    given = str(values["scheduler"].get("warmup") or 0)
    return int(given) if given.isdecimal() else int(given.partition("epoch")[0]) * steps_an_epoch


def scheduler_of(build: Any, values: Values, task: Task, own: Mapping[str, Metric]) -> tuple[Scheduler | None, str]:
    """Return (optimizer, steps of the run, steps of an epoch) -> scheduler, and what it counts. With a `factor`, too,
    the schedule's own rates are that many times what the config says.

    A scheduler that knows its length (`total_steps`, `T_max`, or a `total_iters` in the config) counts optimizer
    steps, and a null there is the run's number of them without the warm-up; CyclicLR counts steps, too, and any
    other epochs. A null `_target_` keeps the learning rate constant.
    """
    given = {key: value for key, value in values["scheduler"].items() if key != "warmup"}
    then, interval = None, "step"
    if given.get("_target_") is not None:
        found = locate("scheduler._target_", given["_target_"], build.allow)
        ours = found if isinstance(found, type) else object
        if issubclass(ours, OneCycleLR) and warmup_of(values, 1):
            given = values["scheduler"]["warmup"]
            raise ConfigError(f"scheduler.warmup={given}: OneCycleLR warms up itself; set scheduler.pct_start")
        named = parameters(found)[0]
        lengths = ("total_steps", "T_max", *(["total_iters"] if "total_iters" in given else []))
        length = next((name for name in lengths if name in named), None)
        arguments = {k: v for k, v in given.items() if k != length or v is not None}
        if issubclass(ours, ReduceLROnPlateau) and arguments.get("mode") is None:
            arguments["mode"] = direction(values, task, own)
        interval = "step" if length or issubclass(ours, CyclicLR) else "epoch"

        def then(optimizer: Optimizer, steps: int, factor: float = 1.0) -> Any:
            more: Values = {length: steps} if length and length not in arguments else {}
            if factor != 1:
                more |= {name: _times(arguments[name], factor) for name in RATES if name in arguments}
            if values["optimizer"].get("groups") and (top := (arguments | more).get("max_lr")) is not None:
                whole = optimizer.defaults["lr"]  # a group keeps its share of the rate
                more["max_lr"] = [top * group["lr"] / whole for group in optimizer.param_groups]
            return build("scheduler", arguments | {"_partial_": True})(optimizer, **more)

    if not warmup_of(values, 1):
        return (
            None if then is None else lambda optimizer, steps, _, factor=1.0: then(optimizer, steps, factor)
        ), interval

    def warmed(optimizer: Optimizer, steps: int, steps_an_epoch: int, factor: float = 1.0) -> Warmup:
        warm = warmup_of(values, steps_an_epoch)
        after = None if then is None else partial(then, steps=max(1, steps - warm), factor=factor)
        return Warmup(optimizer, steps=warm, then=after)

    return warmed, interval


def _times(rates: Any, factor: float) -> Any:
    """A rate, or one a parameter group, times a factor."""
    if isinstance(rates, list):
        return [_times(rate, factor) for rate in rates]
    return None if rates is None else rates * factor


def taken_over(values: Values) -> Values:
    """Return the config of a LightningModule of the user's own: optimizer and schedule as torch takes them."""
    module = dict(values["module"])
    for group, key in OURS.items():
        for name, held in module.items():
            if isinstance(held, dict) and key in held and held.get("_target_") == values[group].get("_target_"):
                if held[key]:
                    raise ConfigError(
                        f"{group}.{key}={held[key]}: not done with module._target_={module['_target_']}, which "
                        "trains by its own optimizers"
                    )
                if held.get("_target_") is None:  # as templates have it: no schedule
                    module[name] = None
                    continue
                kept = {k: v for k, v in held.items() if k != key and (k not in OPEN or v is not None)}
                module[name] = kept | {"_partial_": True}  # it lacks weights, or an optimizer
    return module
