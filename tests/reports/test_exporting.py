"""An exported file gives what the module gives, at any batch size, and says how to feed it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from gradloop.errors import ConfigError, GradloopError
from gradloop.reports import export as exporting
from gradloop.reports.export import FORMATS, check_format, export
from gradloop.training.supervised import Supervised
from small_modules import small_module


def cnn() -> Supervised:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 2))
    module = small_module(network, "multiclass", (3, 6, 6), 2)
    module.recipe["preprocessing"] = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0], "image_size": [6, 6]}
    module.recipe["facts"]["class_names"] = ["cat", "개"]
    return module


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    for package in FORMATS[request.param][1]:
        pytest.importorskip(package)
    return request.param


@pytest.mark.parametrize(("flip", "shift"), [(False, 0), (True, 0), (True, 1)])
def test_the_file_equals_the_module(tmp_path: Path, format: str, flip: bool, shift: int) -> None:
    module = cnn()
    module.test_time_flip, module.test_time_shift = flip, shift
    batch = torch.randn(5, 3, 6, 6)
    with torch.no_grad():
        expected = module(batch)
    facts = export(module, batch, tmp_path / "model", format=format)
    assert facts["max_abs_difference"] < 1e-5
    path = tmp_path / facts["file"]
    assert json.loads((tmp_path / f"{facts['file']}.json").read_text()) == facts
    assert facts["class_names"] == ["cat", "개"]
    views = facts.get("views")
    assert (views and (views["flip"], views["shift"], views["in_file"])) == (
        (flip, shift, format != "safetensors") if flip or shift else None
    )
    assert facts["input"]["shape"] == ["batch", 3, 6, 6]
    assert facts["normalisation"] == {"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]}
    if format == "torch_export":  # nothing of gradloop's is needed to use the file
        extra = {"gradloop.json": ""}
        program = torch.export.load(path, extra_files=extra)
        assert torch.allclose(program.module()(batch), expected, atol=1e-5)
        assert json.loads(extra["gradloop.json"])["class_names"] == ["cat", "개"]
    elif format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        found = session.run(["output"], {"input": batch[:3].numpy()})[0]
        assert torch.allclose(torch.from_numpy(found), expected[:3], atol=1e-5)
        assert json.loads(session.get_modelmeta().custom_metadata_map["gradloop"])["class_names"] == ["cat", "개"]
    else:
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            assert json.loads(file.metadata()["gradloop"])["class_names"] == ["cat", "개"]
            assert torch.equal(file.get_tensor("0.weight"), module.network[0].weight)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_memory_layout_of_the_weights_does_not_matter(
    tmp_path: Path, format: str, layout: torch.memory_format
) -> None:
    module = cnn()
    module.network.to(memory_format=layout)
    assert export(module, torch.randn(1, 3, 6, 6), tmp_path / "model", format=format)["max_abs_difference"] < 1e-5


def test_a_compiled_network_is_exported_as_it_was_written(tmp_path: Path) -> None:
    def refusing(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
        raise AssertionError("what compile makes of the network was asked")

    module = cnn()
    module.network.compile(backend=refusing)
    assert export(module, torch.randn(4, 3, 6, 6), tmp_path / "model", format="torch_export")["compared_on"] == 4


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged:
        def module(self) -> nn.Module:
            return nn.Sequential(nn.Flatten(1), nn.Linear(108, 2))

    monkeypatch.setattr(torch.export, "load", lambda file: Damaged())
    with pytest.raises(GradloopError, match=r"model.pt2: the exported model differs by"):
        export(cnn(), torch.randn(4, 3, 6, 6), tmp_path / "model", format="torch_export")
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.sum().item() > 0 else x

    with pytest.raises(GradloopError, match="this network can't be exported so") as caught:
        export(
            small_module(Odd(), "regression", (1,), 1), torch.randn(3, 1), tmp_path / "model", format="torch_export"
        )
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_unknown_formats_and_missing_packages_are_config_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"export=onix: expected one of onnx, .*did you mean 'onnx'"):
        check_format("onix")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"export=onnx needs onnx, .*: pip install 'gradloop\[export\]'"):
        check_format("onnx")
    check_format("torch_export")


def test_it_says_how_the_columns_of_a_table_and_several_labels_are_meant() -> None:
    module = small_module(nn.Linear(2, 3), "multilabel", (2,), 3)
    module.recipe["preprocessing"] = {"columns": [{"kind": "number", "name": "age"}]}
    facts = exporting.facts_of(module)
    assert "preprocessing.columns" in facts["input"]["values"]
    assert facts["output"]["meaning"].startswith("logits, one a label")


def test_integers_are_exported_as_such(tmp_path: Path, format: str) -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 2)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return self.head(self.embedding(words).mean(1))

    module = small_module(Words(), "multiclass", (3,), 2)
    module.recipe["facts"]["input_dtype"] = "int64"
    facts = export(module, torch.randint(7, (5, 3)), tmp_path / "model", format=format)
    assert facts["input"]["dtype"] == "int64"


def test_what_can_not_be_run_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(exporting, "compare", refuse)
    with pytest.raises(GradloopError, match="no such operator"):
        export(cnn(), torch.randn(5, 3, 6, 6), tmp_path / "model", format="torch_export")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_gives_nan_is_not_equal() -> None:
    module, batch = cnn(), torch.randn(4, 3, 6, 6)
    with torch.no_grad():
        difference, size = exporting.compare(module, lambda inputs: module(inputs) * torch.nan, batch)
    assert not difference <= size
