"""The model in a file that others can read, with what they need to feed it, and proved equal."""

import contextlib
import importlib.util
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradloop.data.data_checks import input_type
from gradloop.errors import ConfigError, GradloopError, did_you_mean, said
from gradloop.runs.folder import made, write_atomically
from gradloop.training.means import mean_over_views
from gradloop.training.supervised import Supervised
from gradloop.training.trials import target_shape

# largest difference of an output that two ways of adding up the same numbers may make, of the outputs' size
TOLERANCE = 1e-4  # of the largest output, or of 1
LARGEST = 1e-2  # of the largest output, however small
PICTURE = (
    "R, G, B or one grey channel, the camera's orientation applied, transparent pixels white, 16 bits by their upper "
    "byte; to preprocessing.image_size, where preprocessing.fit is there: bilinear with antialiasing (Pillow), crop "
    "cuts the middle out, squash changes the shape; a JPEG is first decoded at the least of 1/1, 1/2, 1/4, 1/8 of "
    "its size that is no less; eval_transforms, if any, come before the normalisation"
)


def check_format(name: Any) -> None:
    """Raise ConfigError for an unknown format, or one whose packages are not installed."""
    if name not in FORMATS:
        raise ConfigError(f"export={name}: expected one of {', '.join(FORMATS)}{did_you_mean(str(name), FORMATS)}")
    missing = [package for package in FORMATS[name][1] if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(f"export={name} needs {', '.join(missing)}: pip install 'gradloop[export]'")


def export(module: Supervised, batch: Tensor, target: Path, *, format: str) -> dict[str, Any]:
    """Write `<target><ending>` and its facts as JSON beside it; return the facts.

    batch: inputs of the test part as the network sees them, [B, *input_shape]. The file is read back with the
    format's own library and must give the module's outputs on the batch; else GradloopError, and no file stays.
    """
    check_format(format)
    ending, _, write, read = FORMATS[format]
    path = target.with_name(target.name + ending)
    module = module.cpu().eval()
    module.network = deepcopy(module.network)  # exporters trace the network itself, not what compile made of it
    network = Forward(module).eval()
    batch = batch.cpu().to(input_type(module.recipe["facts"]))
    facts = facts_of(module) | {"format": format, "file": path.name}
    if network.pictures and (network.flip or network.shift):
        facts["views"] = {
            "flip": network.flip,
            "shift": network.shift,
            "meaning": "the picture counts half, moved by -shift and +shift pixels (edges reflected) a quarter each, "
            "all of them and their mirror images alike where flip is true",
            "in_file": format != "safetensors",  # else whoever builds the network takes the mean
        }
    with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # exporters warn of each other's deprecated parts
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                write(network, batch, facts, Path(folder, path.name))
        except Exception as error:  # exporters raise what they like
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise GradloopError(f"{path.name}: this network can't be exported so: {reason}") from error
        try:
            difference, size = compare(module, read(Path(folder, path.name), network), batch)
        except Exception as error:  # a library refuses what another wrote
            raise GradloopError(f"{path}: the exported model can't be run: {said(error)}") from error
        if not (difference <= TOLERANCE * max(size, 1.0) and difference <= LARGEST * size):
            raise GradloopError(f"{path}: the exported model differs by {difference:.3g}: nothing was written")
        write_atomically(made(path.parent) / path.name, Path(folder, path.name).read_bytes())
    facts |= {"max_abs_difference": difference, "compared_on": len(batch)}
    facts_path = path.with_name(path.name + ".json")
    write_atomically(facts_path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return facts


def compare(module: nn.Module, exported: Callable[[Tensor], Tensor], batch: Tensor) -> tuple[float, float]:
    """Return the largest difference of the outputs, and the largest output; whole batch and one sample alone."""
    parts = (batch, batch[:1])  # the batch size must be free in the file
    expected = [module(inputs) for inputs in parts]
    differences = [(exported(inputs) - outputs).abs().max() for inputs, outputs in zip(parts, expected, strict=True)]
    return float(torch.stack(differences).max()), float(expected[0].abs().max())  # NaN stays NaN


def facts_of(module: Supervised) -> dict[str, Any]:
    """Return what somebody needs who feeds the model by hand, as plain data."""
    facts, preprocessing = module.recipe["facts"], module.recipe["preprocessing"]
    picture = len(facts["input_shape"]) == 3
    scaled = bool(preprocessing.get("mean"))
    outputs = {
        "multiclass": "logits, one a class; softmax gives probabilities",
        "binary": "one logit; its sigmoid is the probability of the second class",
        "multilabel": "logits, one a label; each one's sigmoid is the probability of that label",
        "regression": "values",
    }[facts["task"]]
    values = "0 to 1" if picture else "as in the data"
    data = module.recipe["config"]["data"]
    how = {"picture": PICTURE, "eval_transforms": data.get("eval_transforms") or []} if picture else {}
    if "columns" in preprocessing:
        values = (
            "as preprocessing.columns says: (x - shift - center) / scale of a number (fill - center in place of "
            "x - shift - center where there is none), 1 at its feature of a word"
        )
    return {
        "task": facts["task"],
        "input": {
            "name": "input",
            "dtype": str(input_type(module.recipe["facts"])).removeprefix("torch."),
            "shape": ["batch", *facts["input_shape"]],
            "layout": "NCHW" if picture else "rows of columns",
            "columns": facts["input_names"],
            "values": values + (", then (x - mean) / std" if scaled else ""),
            **how,
        },
        "normalisation": {"mean": preprocessing.get("mean") or None, "std": preprocessing.get("std") or None},
        "output": {"name": "output", "shape": ["batch", *target_shape(facts)], "meaning": outputs},
        "class_names": facts["class_names"],
        "preprocessing": {k: v for k, v in preprocessing.items() if k not in ("input_shape", "class_names")},
    }


class Forward(nn.Module):
    """The inference path of a module without Lightning around it: logits or values."""

    def __init__(self, module: Supervised) -> None:
        super().__init__()
        self.network, self.model = module.network, module.recipe["config"]["model"]
        self.pictures = len(module.recipe["facts"]["input_shape"]) == 3
        self.flip, self.shift = module.test_time_flip, module.test_time_shift

    def forward(self, input: Tensor) -> Tensor:
        if not self.pictures:
            return self.network(input)
        return mean_over_views(self.network, input, flip=self.flip, shift=self.shift)


def _write_onnx(network: Forward, batch: Tensor, facts: dict[str, Any], path: Path) -> None:
    program = torch.onnx.export(
        network,
        (_two(batch),),
        dynamo=True,
        verbose=False,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes={"input": {0: torch.export.Dim("batch")}},
    )
    assert program is not None
    program.model.metadata_props["gradloop"] = json.dumps(facts, ensure_ascii=False)
    program.save(str(path), external_data=False)


def _read_onnx(path: Path, network: Forward) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {"input": inputs.numpy()})[0])


def _write_torch_export(network: Forward, batch: Tensor, facts: dict[str, Any], path: Path) -> None:
    shapes = {"input": {0: torch.export.Dim("batch")}}
    program = torch.export.export(network, (_two(batch),), dynamic_shapes=shapes)
    with open(path, "wb") as file:
        torch.export.save(program, file, extra_files={"gradloop.json": json.dumps(facts, ensure_ascii=False)})


def _read_torch_export(path: Path, network: Forward) -> Callable[[Tensor], Tensor]:
    with open(path, "rb") as file:
        return torch.export.load(file).module()


def _write_safetensors(network: Forward, batch: Tensor, facts: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save

    # a copy each: tensors that share memory, or lie in another order, are refused
    plain = {"memory_format": torch.contiguous_format}
    weights = {name: tensor.clone(**plain) for name, tensor in network.network.state_dict().items()}
    told = {"gradloop": json.dumps(facts, ensure_ascii=False), "model": json.dumps(network.model)}
    path.write_bytes(save(weights, metadata=told))


def _read_safetensors(path: Path, network: Forward) -> Callable[[Tensor], Tensor]:
    from safetensors.torch import load_file

    fresh = deepcopy(network)
    for tensor in fresh.state_dict().values():
        tensor.zero_()  # nothing of the original may be left to compare with itself
    fresh.network.load_state_dict(load_file(path))
    return fresh


def _two(batch: Tensor) -> Tensor:
    """Return an example of two samples: of one alone, exporters take the batch size for a constant."""
    return torch.cat([batch, batch])[:2]


# format -> (file ending, packages it needs, what writes and what reads it)
FORMATS: dict[str, tuple[str, tuple[str, ...], Callable[..., None], Callable[..., Any]]] = {
    "onnx": (".onnx", ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _read_onnx),
    "torch_export": (".pt2", (), _write_torch_export, _read_torch_export),
    "safetensors": (".safetensors", ("safetensors",), _write_safetensors, _read_safetensors),
}
