"""`gradloop-evaluate run=<run folder>`: the numbers of a run, once more from disk."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradloop.commands.chosen import chosen_run, values_of
from gradloop.commands.command_line import command
from gradloop.errors import CheckpointError, ConfigError, may_not_write
from gradloop.runs.record import finite
from gradloop.streams import Waiting, wrapped

if TYPE_CHECKING:
    from gradloop.reports.predictions import Predictions
    from gradloop.training.saved_run import SavedRun
    from gradloop.training.supervised import Supervised

INTERVALS = "bootstrap", "confidence", "seed"  # knobs


def main() -> None:
    """Run the command `gradloop-evaluate`."""
    command("evaluate", run)


def load(folder: Path | str | Mapping[str, Any], *, checkpoint: str = "best", allow: str | Sequence[str] = ()) -> Any:
    """Return the trained module of a run, in eval mode: `module(inputs)` gives logits or values.

    Of a run with `module._target_=…` that is the user's own LightningModule.

    folder: of the run, or its record, as `train` returns it.
    allow: names of your own packages that the run's config may call; objects of this session it may.
    """
    from gradloop.commands.caller import left_as_it_was
    from gradloop.commands.notebook import of_this_session
    from gradloop.training.saved_run import open_run

    where = folder["folder"] if isinstance(folder, Mapping) and "folder" in folder else folder
    if not isinstance(where, str | Path):
        raise ConfigError(f"gradloop.load({where!r}): expected the folder of a run, or its record")
    names = [allow] if isinstance(allow, str) else allow
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"gradloop.load(…, allow={allow!r}): expected names, as in ['my_models']")
    with left_as_it_was():
        return open_run(where, checkpoint=checkpoint, allow=(*names, *of_this_session())).module()


def run(overrides: list[str], config_dir: str | None, config_name: str) -> dict[str, float]:
    """Evaluate a run as the command line asks for."""
    values, allow = values_of("evaluate", overrides, config_dir, config_name)
    return evaluate(chosen_run(values), values, allow, overrides)


def evaluate(
    folder: Path, values: dict[str, Any], allow: tuple[str, ...] = (), overrides: Sequence[str] = ()
) -> dict[str, float]:
    """Evaluate a checkpoint of a run on its test part; print, store and return the metrics.

    They equal what training reported to the last digit: same weights, same data, same arithmetic.

    values: those of `conf/evaluate.yaml`. overrides: which of them were set.
    """
    from gradloop.config.idle import refuse_idle
    from gradloop.config.overrides import parse_overrides
    from gradloop.runs.folder import check_own, write_atomically
    from gradloop.training.saved_run import open_run

    asked = parse_overrides(list(overrides))
    check_own(folder)
    with Waiting("reading the run"):
        saved = open_run(folder, checkpoint=values["checkpoint"], allow=allow)
    for key in ("export", "predictions", "inputs") if saved.own else ():
        if values[key]:
            raise ConfigError(f"{key}={values[key]}: not done for module._target_={saved.own}: it says of no task")
    if not values["bootstrap"]:
        refuse_idle(asked, dict.fromkeys(INTERVALS[1:], "bootstrap=0 makes no intervals"))
    elif saved.own:
        refuse_idle(asked, dict.fromkeys(INTERVALS, f"module._target_={saved.own} says of no task: no intervals"))
    if values["inputs"] is None or len(saved.recipe["facts"]["input_shape"]) != 3:
        refuse_idle(asked, {"resize": "is for pictures of your own, given with inputs="})
    if values["export"] is not None:
        from gradloop.reports.export import check_format

        check_format(values["export"])

    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.utilities.model_helpers import is_overridden

    from gradloop.callbacks.progress import Progress
    from gradloop.callbacks.restored import LoadOwn, first_error
    from gradloop.reports.predictions import Predictions, sample_names
    from gradloop.training.machine import precision_of, quiet_libraries

    quiet_libraries()
    module = saved.untrained() if saved.own else saved.module()
    torch.set_num_threads(saved.threads)
    if values["inputs"] is not None:
        return _of_new_inputs(saved, module, values, asked)
    data = saved.data()
    for part, method in ((module, "test_step"), (data, "test_dataloader")) if saved.own else ():
        if not is_overridden(method, part):
            raise ConfigError(f"run={folder}: {type(part).__qualname__} has no {method}")
    settings = saved.recipe["config"]["trainer"]
    trainer = pl.Trainer(
        accelerator=settings.get("accelerator", "auto"),
        devices=1,
        **precision_of(settings, own=bool(saved.own)),
        limit_test_batches=settings.get("limit_test_batches", 1.0),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Progress(every_seconds=5.0), *([LoadOwn(folder, saved.content)] if saved.own else [])],
        default_root_dir=os.fspath(folder),
    )
    with first_error(trainer):
        trainer.test(module, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    step = saved.content.get("global_step")  # which weights these are
    result: dict[str, Any] = {"checkpoint": values["checkpoint"], "step": step, "metrics": metrics}
    saved.tell_changes(data)
    if not saved.own:  # whose outputs nobody knows
        module.float()  # a run in other numbers was tested in them
        outputs, targets = (tensor.cpu() for tensor in module.outputs["test"])
        targets = targets.float() if targets.is_floating_point() else targets
        predictions = Predictions(module, outputs.float(), targets, sample_names(data)[: len(outputs)])
        result |= _intervals(predictions, values, "test/")
    _say(result, saved.record.get("metrics") or {})
    if values["predictions"]:
        write_atomically(folder / "predictions.csv", predictions.as_csv())
        print(f"predictions: {folder / 'predictions.csv'}")
    if values["export"] is not None:
        from gradloop.reports.export import export

        batch = next(iter(data.test_dataloader()))[0]
        with Waiting("exporting, and comparing what is read back"):
            facts = export(module, batch, folder / "export" / "model", format=values["export"])
        result["export"] = {key: facts[key] for key in ("format", "file", "max_abs_difference", "compared_on")}
        told = f"outputs differ by at most {facts['max_abs_difference']:.3g} on {facts['compared_on']} test samples"
        print(wrapped(f"export: {folder / 'export' / facts['file']}, read back: {told}", sys.stdout))
    try:
        write_atomically(folder / "evaluation.json", json.dumps(finite(result), indent=2) + "\n")
    except CheckpointError as error:
        if not may_not_write(error.__cause__):
            raise
        print(f"warning: {error}", file=sys.stderr)  # somebody else's run is measured as well
    return metrics


def _of_new_inputs(
    saved: SavedRun, module: Supervised, values: dict[str, Any], asked: Sequence[Any]
) -> dict[str, float]:
    """Predict the user's own pictures or table, and measure where the table holds the answers."""
    from gradloop.config.idle import refuse_idle
    from gradloop.reports.reading import predict_new
    from gradloop.runs.folder import write_atomically

    if values["export"] is not None:
        raise ConfigError(f"export={values['export']}: is proved on the test part; leave inputs= out")
    given = values["inputs"]
    predictions, _ = predict_new(saved, module, given, key="inputs", resize=values["resize"])
    if predictions.targets is None and not values["predictions"]:
        told = "holds no answers to measure by, or not in every row; predictions=true writes what it says"
        raise ConfigError(f"inputs={given}: {told}")
    metrics: dict[str, float] = {}
    if predictions.targets is None and values["bootstrap"]:
        refuse_idle(asked, dict.fromkeys(INTERVALS, f"inputs={given} holds no answers to measure by"))
    if predictions.targets is not None:
        metrics = {"loss": float(module.loss(predictions.outputs, predictions.targets))}
        metrics |= module.measure(predictions.outputs, predictions.targets, None)
        _say({"metrics": metrics, **_intervals(predictions, values)}, {}, of=f"inputs={given}")
    print(f"{len(predictions)} of inputs={given}")
    if values["predictions"]:
        target = saved.folder / f"predictions_{Path(str(given)).stem if isinstance(given, str) else 'inputs'}.csv"
        before = " (in place of those that were there)" if target.exists() else ""
        write_atomically(target, predictions.as_csv())
        print(f"predictions: {target}{before}")
    return metrics


def _intervals(predictions: Predictions, values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the metrics' intervals and how they were found, as `evaluation.json` has them."""
    from gradloop.reports.intervals import intervals

    if not values["bootstrap"]:
        return {}
    settings = {"resamples": values["bootstrap"], "confidence": values["confidence"], "seed": values["seed"]}
    found = intervals(predictions, **settings)
    return {"intervals": {f"{prefix}{name}": list(ends) for name, ends in found.items()}, "bootstrap": settings}


def _say(result: dict[str, Any], trained: dict[str, float], of: str = "the test part") -> None:
    metrics, found = result["metrics"], result.get("intervals", {})
    width = max(map(len, metrics), default=0)
    for name, value in sorted(metrics.items()):
        line = f"  {name:<{width}}  {value!r}"
        if name in found:
            low, high = found[name]
            line += f"  [{low:.4g}, {high:.4g}]"
        if name in trained and result["checkpoint"] == "best":
            line += "  as in training" if trained[name] == finite(value) else f"  (training said {trained[name]!r})"
        print(line)
    if found:
        how = result["bootstrap"]
        share, count = 100 * how["confidence"], how["resamples"]
        print(f"  [low, high] holds {share:g} % of {count} bootstrap resamples of {of}")
        for name in found.keys() & {"accuracy", "test/accuracy"}:
            if metrics[name] in (0, 1):  # all resamples are alike
                print(f"  {name}: of nothing but {'right' if metrics[name] else 'wrong'} answers, its score interval")


if __name__ == "__main__":
    main()
