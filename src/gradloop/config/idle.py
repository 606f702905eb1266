"""Knobs that nothing takes: what is typed is done, or refused in a line that says why not."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from gradloop.config.signature import flatten
from gradloop.errors import ConfigError

Values = dict[str, Any]
TRANSLATED = ("gradloop.callbacks.lessons.", "gradloop.callbacks.gradients.")


def idle_knobs(values: Values, asked: Sequence[Override]) -> dict[str, str]:
    """Return the knobs of a run that another one switches off or overrules, and why. asked: what was typed."""
    given = {key for key, _ in _typed(asked)}
    return {key: why for why, keys in (*_of_augmentation(values), *_of_the_rest(values, given)) for key in keys}


def refuse_idle(asked: Sequence[Override], idle: Mapping[str, str]) -> None:
    """Raise ConfigError where the command line sets a knob that nothing takes. idle: each such knob, and why."""
    for key, line in _typed(asked):
        if key in idle:
            raise ConfigError(f"{line}: {idle[key]}")


def _typed(asked: Sequence[Override]) -> Iterator[tuple[str, str]]:
    """Yield each key that a command line sets, also one of `group={key:value}`, and what was typed."""
    for override in asked:
        key, line = override.key_or_group.replace("/", "."), str(override.input_line)
        yield key, line
        value = None if override.is_sweep_override() else override.value()
        yield from ((f"{key}.{inner}", line) for inner in (flatten(value) if isinstance(value, dict) else ()))


def _of_augmentation(values: Values) -> Iterator[tuple[str, list[str]]]:
    augmentation = values.get("augmentation") or {}
    cutout, crop = (augmentation.get(name) or {} for name in ("cutout", "random_crop"))
    flip = augmentation.get("horizontal_flip") or {}
    if not cutout.get("probability"):
        knobs = [f"augmentation.cutout.{name}" for name in cutout if name != "probability"]
        yield "cutout is off; switch it on with augmentation.cutout.probability=0.5", knobs
    elif cutout.get("side") is not None:
        yield "augmentation.cutout.side says it in pixels", ["augmentation.cutout.fraction"]
    if not crop.get("padding"):
        why = "nothing is added before cropping; set augmentation.random_crop.padding"
        yield why, ["augmentation.random_crop.mode"]
    if crop.get("size") is None:
        why = "the crop has the picture's own size; set augmentation.random_crop.size"
        yield why, ["augmentation.random_crop.size_epochs"]
    if flip.get("alternating"):
        why = "augmentation.horizontal_flip.alternating mirrors every second epoch"
        yield why, ["augmentation.horizontal_flip.probability"]


def _groups(values: Values) -> Values:
    return values["optimizer"].get("groups") or {}


def _of_the_rest(values: Values, given: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    scheduler, trainer, data = values["scheduler"], values["trainer"], values["data"]
    if str(scheduler.get("_target_")).endswith(".OneCycleLR"):
        if "scheduler.max_lr" in given:
            yield "scheduler.max_lr sets the rate of this schedule; give one of the two", ["optimizer.lr"]
        if scheduler.get("cycle_momentum") and not values["optimizer"].get("nesterov"):  # which needs some
            first, *_ = values["optimizer"].get("betas") or [0.9]  # the second is used
            of_groups = [f"optimizer.groups.{p}.{k}" for p in _groups(values) for k in ("momentum", "betas")]
            knobs = ["optimizer.momentum", *of_groups, *(["optimizer.betas"] if first != 0.9 else [])]
            yield "this schedule cycles it; add scheduler.cycle_momentum=false", knobs
    if not trainer.get("gradient_clip_val"):
        yield "nothing is clipped; set trainer.gradient_clip_val", ["trainer.gradient_clip_algorithm"]
    if values.get("folds") is not None or data.get("fold") is not None:
        yield "the folds say what is tested", ["data.test_fraction"]
    if data.get("time") is not None:
        yield "data.time says which rows are tested", ["data.random_state"]
    if data.get("cache") is False:
        yield "data.cache=false: nothing is kept", ["data.cache_dir"]
    if (values.get("model") or {}).get("stem") == "whitening":
        yield "the whitening stem is as wide as its patches; set model.stem=convolution", ["model.stem_width"]
    if "fit" in data and data.get("image_size") is None:
        yield "pictures keep their own size; set data.image_size", ["data.fit"]
    if data.get("validate_on_test"):
        yield "data.validate_on_test=true: no part of its own is held out", ["data.val_fraction"]
    if data.get("sampling") == "balanced" and (values.get("loss") or {}).get("weight") == "balanced":
        why = "data.sampling and loss.weight would both balance the classes, the rare ones twice; leave one out"
        yield why, ["data.sampling", "loss.weight"]
    targets = [str(entry.get("_target_")) for entry in (values.get("callbacks") or {}).values() if entry]
    for finder, knob in (("lr_finder", "optimizer.lr"), ("batch_size_finder", "data.batch_size")):
        if any(target.startswith(f"gradloop.callbacks.{finder}.") for target in targets):
            yield f"callbacks={finder} finds it; leave one of the two out", [knob]
    logger = values.get("logger") or {}
    if any(target.startswith("gradloop.callbacks.throughput.") for target in targets) and not any(logger.values()):
        keys = ["callbacks", "callbacks.throughput.window", "logger", *(f"logger.{name}" for name in logger)]
        yield "callbacks=throughput writes to a logger, and there is none; add logger=csv, say", keys
    if values.get("lang") == "ko" and not any(target.startswith(TRANSLATED) for target in targets):
        yield "the lessons alone speak Korean; choose experiment=lesson/1_autograd, say", ["lang"]
    sweep = values.get("sweep") or {}
    if sweep.get("method") in ("grid", "random"):
        yield f"sweep.method={sweep['method']} asks for all runs at once", ["sweep.batch"]
    if not sweep.get("pruner"):
        knobs = [f"sweep.{name}" for name in ("startup_trials", "warmup_epochs", "reduction_factor")]
        yield "nothing is pruned; set sweep.pruner, or sweep=optuna_pruned", knobs
