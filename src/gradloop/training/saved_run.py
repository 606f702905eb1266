"""A finished run, brought back from its folder."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradloop.config.own_module import target_of
from gradloop.config.rules import is_whole
from gradloop.config.targets import check_target_names
from gradloop.errors import CheckpointError, ConfigError, DataError
from gradloop.process import collector_at_rest
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.finding import run_folder
from gradloop.runs.record import Record, read_record
from gradloop.runs.same_data import changed_data

MOST_THREADS = 1024
TORCHVISION = "gradloop.networks.torchvision_classifier."


@dataclass(frozen=True)
class SavedRun:
    """What a run folder holds: its record, and the recipe and weights of one of its checkpoints."""

    folder: Path
    record: Record
    recipe: dict[str, Any]  # "config", "facts" and "preprocessing", as plain data
    weights: dict[str, Any]
    allow: tuple[str, ...] = ()
    content: dict[str, Any] = field(default_factory=dict)  # all of the checkpoint

    @property
    def own(self) -> str | None:
        """The target of the user's own LightningModule, if the run trained one."""
        return target_of(self.recipe["config"])

    def untrained(self) -> Any:
        """Build the module, without the run's weights: a `Supervised`, or the user's own."""
        with self._as_recorded():
            from gradloop.training.build import Builder

            build, config, facts = Builder(self.allow), self.recipe["config"], self.recipe["facts"]
            if self.own:
                return build.own_module(config, facts)
            if not (TORCHVISION in str(config["model"].get("_target_")) and config["model"].get("weights")):
                return build.module(config, None, facts)
            module = build.module(config | {"model": config["model"] | {"weights": None}}, None, facts)
            network: Any = module.network
            network.expect_trained()  # the run's own weights come next: nothing is downloaded
            return module

    def module(self) -> Any:
        """Build the module with the run's weights, in eval mode."""
        from gradloop.callbacks.attributes import give_layers

        module = self.untrained()
        if self.own:
            from gradloop.callbacks.restored import load_own

            module.configure_model()  # as Lightning's `load_from_checkpoint`
            load_own(self.folder, module, self.content)
            return module.eval()
        try:
            module.load_state_dict(self.weights)
            give_layers(module, self.content)
        except Exception as error:  # torch raises what it likes on foreign weights
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{self.folder}: the weights do not fit the recorded model: {reason}") from error
        module.recipe = self.recipe
        return module.eval()

    def data(self) -> Any:
        """Build the run's data module; nothing is loaded yet."""
        with self._as_recorded():
            from gradloop.data.batches import limited_parts
            from gradloop.training.build import Builder

            config = self.recipe["config"]
            data = Builder(self.allow).data(self._found(config["data"]), config["seed"], own=self.own is not None)
            size = (self.record.get("found") or {}).get("data.batch_size")
            if is_whole(size, 1):  # found by the run, and trained and tested with
                data.batch_size = size
            if self.recipe["facts"]:
                data.limited = limited_parts(config["trainer"])
                data.take_over(self.recipe["preprocessing"])
                data.check()
                if how := other_classes(self.recipe, data):
                    raise DataError(f"{self.folder}: {how}: its answers can't be measured by these")
        return data

    def _found(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the data's settings: a file or folder that is not there from here, as it is from the run's place."""
        came = self.record.get("cwd") or os.getcwd()
        for key in ("file", "root"):
            given = settings.get(key)
            if not isinstance(given, str) or os.path.exists(os.path.expanduser(given)) or came == os.getcwd():
                continue
            if os.path.exists(there := os.path.join(came, given)):
                settings = settings | {key: there}
            elif not os.path.isabs(given) and "download" not in settings:
                places = f"{os.getcwd()} nor in {came}, where the run was started"
                raise DataError(f"data.{key}={given}: neither in {places}")
        return settings

    def tell_changes(self, data: Any) -> None:
        """Warn where the data, which are loaded, are not those that the run trained on."""
        if how := changes(self.recipe, data):
            print(
                f"warning: the data have changed since the run ({how}): of what is the test part now, it may have "
                "trained on some"
            )

    def built(self, key: str) -> list[Any]:
        """Build what a list of the run's config holds, `data.eval_transforms` say; nothing where there is none."""
        group, name = key.split(".")
        with self._as_recorded():
            from gradloop.training.build import Builder

            return [Builder(self.allow)(key, each) for each in self.recipe["config"][group].get(name) or ()]

    @contextlib.contextmanager
    def _as_recorded(self) -> Iterator[None]:
        """Answer for what a recipe lacks: it may be a stranger's."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"{self.folder}: nothing can be built from its checkpoint's recipe: {type(error).__name__} {error}"
            ) from error

    @property
    def threads(self) -> int:
        """How many threads the run computed with; CheckpointError where its record does not say."""
        threads: Any = (self.record.get("devices") or {}).get("threads")
        if not is_whole(threads, 1) or threads > MOST_THREADS:
            what = f"devices.threads={threads}: expected 1 to {MOST_THREADS} (a finished run)"
            raise CheckpointError(f"{self.folder / 'summary.json'}: {what}")
        return threads


def other_classes(recipe: dict[str, Any], data: Any) -> str | None:
    """Say how the data's classes, whose order the outputs have, are not those of a run's recipe; None if they are."""
    was, now = ([*(names or ())] for names in (recipe["facts"].get("class_names"), data.class_names))
    if not was or not now or was == now:
        return None
    gone, new = ([name for name in one if name not in other] for one, other in ((was, now), (now, was)))
    told = [f"{', '.join(map(str, names))} {what}" for names, what in ((gone, "gone"), (new, "new")) if names]
    return f"its classes have changed since it was trained ({'; '.join(told) or 'their order'})"


def changes(recipe: dict[str, Any], data: Any) -> str | None:
    """Say how loaded data differ from those that a run's recipe tells of; None if they don't, or it tells nothing."""
    if recipe.get("facts") and (how := other_classes(recipe, data)):
        return how
    return changed_data(recipe["data"], data.sums()) if recipe.get("data") else None


def open_run(folder: Path | str, *, checkpoint: str = "best", allow: tuple[str, ...] = ()) -> SavedRun:
    """Read a run folder; raise CheckpointError if it is none, ConfigError if its config may not be called.

    checkpoint: "best" or "last". allow: names of the user's own code that the run's config may call.
    """
    if checkpoint not in ("best", "last"):
        raise ConfigError(f"checkpoint={checkpoint}: expected best or last")
    folder = run_folder("run", str(folder))
    record = read_record(folder)
    with collector_at_rest():
        import lightning.pytorch  # noqa: F401 - whatever is done with a run needs it
    content = read_checkpoint(folder / "checkpoints" / f"{checkpoint}.ckpt")
    recipe = content["gradloop"]["recipe"]
    check_target_names(recipe["config"], allow, saved=True)
    return SavedRun(folder, record, recipe, content["state_dict"], allow, content)
