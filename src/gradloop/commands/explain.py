"""`gradloop-explain run=<run folder>`: why a trained model answers as it does, as pictures and tables."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradloop.commands.chosen import chosen_run, values_of
from gradloop.commands.command_line import command
from gradloop.errors import ConfigError
from gradloop.runs.foreign_text import printable
from gradloop.streams import Waiting, wrapped

PAGES_OF_OWN = re.compile(r"inputs_(maps(_\d+)?\.png|attributions\.(png|csv))")  # of the user's own files


def main() -> None:
    """Run the command `gradloop-explain`."""
    command("explain", run)


def run(overrides: list[str], config_dir: str | None, config_name: str) -> list[Path]:
    """Explain a run as the command line asks for."""
    values, allow = values_of("explain", overrides, config_dir, config_name)
    return explain(chosen_run(values), values["explain"], overrides, checkpoint=values["checkpoint"], allow=allow)


def explain(
    folder: Path,
    knobs: dict[str, Any],
    overrides: Sequence[str] = (),
    *,
    checkpoint: str = "best",
    allow: tuple[str, ...] = (),
) -> list[Path]:
    """Write the pages of a run into `<folder>/explain` and its TensorBoard; print and return their paths.

    knobs: those of `conf/explain.yaml`, under `explain`. overrides: which of them were set.
    """
    from gradloop.config.idle import refuse_idle
    from gradloop.config.overrides import parse_overrides
    from gradloop.runs.folder import check_own, made, write_atomically
    from gradloop.runs.labels import event_folder
    from gradloop.runs.screen import no_pages, tensorboard_command
    from gradloop.training.saved_run import open_run

    check_own(folder)
    with Waiting("reading the run"):
        saved = open_run(folder, checkpoint=checkpoint, allow=allow)
    facts = saved.recipe["facts"]
    if what := no_pages(facts):
        raise ConfigError(f"run={folder}: there are no pages of {what}; gradloop-evaluate predictions=true tells all")
    if saved.own:
        raise ConfigError(
            f"run={folder}: trained module._target_={saved.own}, which has no task that pages could show"
        )
    refuse_idle(parse_overrides(list(overrides)), idle_knobs(facts, own=knobs["inputs"] is not None))

    import torch

    from gradloop.reports.attributions import require_captum

    require_captum()
    from gradloop.callbacks.publishing import add_images
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
    with Waiting("explaining"):
        for name, content in pages:
            write_atomically(made(target) / name, content)
            written.append(target / name)
            print(f"  {target / name}", flush=True)
            if isinstance(content, bytes):
                images[Path(name).stem] = content
    for earlier in set(target.glob("inputs_*")) - set(written) if own else ():  # of other inputs
        if PAGES_OF_OWN.fullmatch(earlier.name) and not earlier.is_dir():
            earlier.unlink()
    tags = {f"explain/{name}": png for name, png in images.items()}
    if not own:
        from gradloop.drawing.run_page import write_run_page

        for finding in json.loads((target / "explain.json").read_text(encoding="utf-8"))["findings"]:
            print(wrapped(printable(finding), sys.stdout))
        print(f"page: {write_run_page(folder)}")
    add_images(event_folder(folder), tags, step=saved.content.get("global_step") or 0, suffix=".explain")
    print(f"images: {tensorboard_command(folder)}")
    return written


def idle_knobs(facts: dict[str, Any], *, own: bool) -> dict[str, str]:
    """Return the knobs that no page of such data takes, and why. own: the user's own files, not the test part."""
    shape, classes = facts["input_shape"], facts["task"] != "regression"
    pictures, table = len(shape) == 3, len(shape) == 1 and (own or shape[0] > 1)
    taken = {
        "resize": own and pictures,
        "samples": own or classes or pictures,
        "target": classes,
        "steps": pictures or table,
        "side": pictures,
        "bins": classes and not own,
        "repeats": table and not own,
        "seed": not own,
    }
    whose, what = "your own" if own else "the test part's", "pictures" if pictures else "rows"
    why = f"{'' if classes else 'in a regression, '}no page of {whose} {what} takes it"
    return {f"explain.{knob}": why for knob, used in taken.items() if not used}


if __name__ == "__main__":
    main()
