"""What a run begins with: weights of another run, or its own state and the data that it was trained on."""

import hashlib
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradloop.config.overrides import typed
from gradloop.data.data_module import DataModule
from gradloop.errors import CheckpointError, ConfigError, DataError
from gradloop.runs.checkpoint_files import newest_intact, read_archive, read_checkpoint
from gradloop.runs.finding import run_folder
from gradloop.runs.same_data import source_of
from gradloop.training.saved_run import changes

OWN = "network."  # before the names of the network's weights, in gradloop's checkpoints


def start_from(module: nn.Module, source: str) -> dict[str, Any]:
    """Take over weights, as far as they fit by name and shape; return what was taken, and what has begun anew.

    source: a run folder (its best weights), or a file: a checkpoint, or a state dict that torch or safetensors saved.
    A state dict of a network alone lacks gradloop's `network.`; that of another project may have a word of its own
    in front (`model.`, `net.`, `module.`). Raises CheckpointError where there are no weights, ConfigError where none
    fits.
    """
    (found, classes), own = read_weights(source), module.state_dict()
    wanted = {name: weight for name, weight in own.items() if isinstance(weight, Tensor)}
    taken: dict[str, Tensor] = {}
    why = dict.fromkeys(wanted, "not in it")
    for name, weight in found.items():
        bare = name.partition(".")[2]
        for candidate in dict.fromkeys((name, OWN + name, OWN + OWN + name, OWN + bare, bare)):
            if candidate in wanted and candidate not in taken:
                if wanted[candidate].shape == weight.shape:
                    taken[candidate] = weight
                    break
                why[candidate] = f"{tuple(weight.shape)} in it, {tuple(wanted[candidate].shape)} here"
    trained = {name for name, _ in module.named_parameters()}
    if not trained & taken.keys():
        raise ConfigError(f"init_from={source}: none of its {len(found)} weights fits by name and shape")
    module.load_state_dict(own | taken)
    begun = {"source": source, "taken": len(taken), "left": {n: why[n] for n in wanted if n not in taken}}
    recipe: Any = getattr(module, "recipe", None) or {}
    names = [str(name) for name in recipe.get("facts", {}).get("class_names") or ()]
    others = names != classes and len(names) == len(classes)
    return begun | ({"classes": classes} if others else {})


def check_data(folder: Path, data: Any, checkpoint: dict[str, Any]) -> None:
    """Raise DataError where a run would go on with other data than it began with."""
    if how := changes(checkpoint["gradloop"]["recipe"], data):
        raise DataError(
            f"{folder}: its data have changed since it began ({how}); start a new run, from its weights with "
            f"{typed('init_from', folder)}"
        )


def described_data(facts: dict[str, Any], values: dict[str, Any], data: Any) -> Any:
    """Return what the record of a run says of its data."""
    said = {**facts, "source": source_of(values["data"])}
    if not isinstance(data, DataModule):
        return said | {"fingerprint": None, "samples": {}}
    samples = {part: len(split) for part, split in data.splits.items()}
    folds = {"folds": {"folds": data.folds, "fold": data.fold}} if data.folds else {}
    return said | {"fingerprint": data.fingerprint(), "answers": answers_of(data.splits), "samples": samples, **folds}


def answers_of(splits: dict[str, Any]) -> str:
    """Return a hash of every part's targets: what two runs were measured by, however their inputs are prepared."""
    digest = hashlib.blake2b(digest_size=16)
    for name, split in sorted(splits.items()):
        digest.update(name.encode() + split.targets.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def told(begun: dict[str, Any]) -> list[str]:
    """Return the lines that say what was taken, and each weight that was not."""
    count = begun["taken"] + len(begun["left"])
    left = [f"  left: {name.removeprefix(OWN)} ({why})" for name, why in begun["left"].items()]
    classes = begun.get("classes", [])
    names = ", ".join(classes[:5]) + ", …" * (len(classes) > 5)
    others = [f"  its outputs were those of other classes: {names}"] if classes else []
    return [f"init_from: {begun['taken']} of {count} weights, from {begun['source']}", *left, *others]


def read_weights(source: str) -> tuple[Mapping[str, Tensor], list[str]]:
    """Return the tensors by name of a run's best weights (its newest where none is best yet), or of a file.

    And the names of the run's classes, where these are known.
    """
    path = Path(source)
    try:
        if not path.is_file():
            checkpoints = run_folder("init_from", source) / "checkpoints"
            if not checkpoints.is_dir():
                raise CheckpointError(f"init_from={source}: no run folder; expected that, or a file of weights")
            best = checkpoints / "best.ckpt"
            content: Any = read_checkpoint(best) if best.is_file() else newest_intact(checkpoints)[1]
        elif path.suffix == ".safetensors":
            content = _of_safetensors(path)
        elif zipfile.is_zipfile(path):
            content = read_archive(path)
        else:  # as torch saved before 1.6, or nothing of torch's
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError as error:
        text = str(error)
        raise CheckpointError(text if text.startswith("init_from=") else f"init_from={source}: {text}") from error
    except Exception as error:  # torch raises what it likes on foreign files
        raise CheckpointError(f"init_from={source}: no file of plain tensors: {type(error).__name__}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    found = {str(n): w for n, w in state.items() if isinstance(w, Tensor)} if isinstance(state, dict) else {}
    if not found:
        raise CheckpointError(f"init_from={source}: holds no weights; expected a checkpoint, or a state dict")
    classes: list[str] = []
    with suppress(KeyError, TypeError):  # a checkpoint of other programs
        classes = [str(name) for name in content["gradloop"]["recipe"]["facts"]["class_names"]]
    return found, classes


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f"{path}: reading it needs safetensors: pip install 'gradloop[export]'") from error
    return load_file(path)
