"""`gradloop-explain run=<run folder>`: why a trained model answers as it does, as pictures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradloop.commands.command_line import command
from gradloop.errors import ConfigError, did_you_mean


def main() -> None:
    """Run the command `gradloop-explain`."""
    command("explain", run)


def run(overrides: list[str], config_dir: str | None, config_name: str) -> list[Path]:
    """Explain a run as the command line asks for."""
    from gradloop.config.check import check_config
    from gradloop.config.compose import compose_config, parse_overrides, refuse_sweep
    from gradloop.config.not_done import refuse_not_done
    from gradloop.runs.planning import allowed_by_name

    parsed = parse_overrides(overrides)
    refuse_sweep(parsed)
    allow = allowed_by_name(parsed)
    config, reference = compose_config(overrides, config_name=config_name, config_dir=config_dir)
    refuse_not_done(parsed, config, command="explain")
    values = check_config(config, reference, allow, checks_name=False)
    target = values["explain"]["target"]
    if target not in ("predicted", "actual"):
        near = did_you_mean(str(target), ("predicted", "actual"))
        raise ConfigError(f"explain.target={target}: expected predicted or actual{near}")
    return explain(Path(str(values["run"])), values["explain"], checkpoint=values["checkpoint"], allow=allow)


def explain(
    folder: Path, knobs: dict[str, Any], *, checkpoint: str = "best", allow: tuple[str, ...] = ()
) -> list[Path]:
    """Write the pages of a run into `<folder>/explain` and its TensorBoard; print and return their paths.

    knobs: those of `conf/explain.yaml`, under `explain`.
    """
    from gradloop.runs.folder import check_own, write_atomically
    from gradloop.training.saved_run import open_run

    check_own(folder)
    saved = open_run(folder, checkpoint=checkpoint, allow=allow)
    facts = saved.recipe["facts"]
    several, places = facts.get("task") == "multilabel", len(facts.get("target_shape") or []) > 1
    if several or places or facts.get("input_dtype") == "int64":
        what = "several labels a sample" if several else "dense targets" if places else "inputs of tokens"
        raise ConfigError(f"run={folder}: there are no pages of {what}; gradloop-evaluate predictions=true tells all")
    if saved.own:
        raise ConfigError(
            f"run={folder}: trained module._target_={saved.own}, which has no task that pages could show"
        )

    import torch

    from gradloop.reports.attributions import require_captum

    require_captum()
    from gradloop.drawing.figures import add_images
    from gradloop.reports.own_inputs import explain_own_inputs
    from gradloop.reports.run_pages import explain_test_part
    from gradloop.training.machine import quiet_libraries

    quiet_libraries()
    torch.set_num_threads(saved.threads)
    module = saved.module()
    own = knobs["inputs"] is not None
    pages = explain_own_inputs(saved, module, knobs) if own else explain_test_part(saved, module, knobs)
    target = folder / "explain"
    written, images = [], {}
    for name, content in pages:
        target.mkdir(exist_ok=True)
        write_atomically(target / name, content)
        written.append(target / name)
        print(f"  {target / name}", flush=True)
        if isinstance(content, bytes):
            images[Path(name).stem] = content
    tags = {f"explain/{name}": png for name, png in images.items()}
    add_images(
        folder / "tensorboard", tags, step=(saved.record.get("best") or {}).get("step") or 0, suffix=".explain"
    )
    print(f"images: tensorboard --logdir '{folder}'")
    return written


if __name__ == "__main__":
    main()
