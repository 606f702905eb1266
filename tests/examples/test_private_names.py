"""Whatever can be called may be given to `gradloop.train`, however its name begins and wherever it was written."""

from __future__ import annotations

import functools
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import gradloop
from _private import Behind
from gradloop.errors import ConfigError

TINY = ["data.samples=100", "trainer.max_epochs=1", "logger=none", "callbacks.pictures=null"]


class _Net(Behind):
    pass


class Net(Behind):
    pass


class _Seen(pl.Callback):
    def on_fit_end(self, trainer: Any, module: Any) -> None:
        self.seen = True


class Measure:
    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(outputs, targets)


def _loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(outputs, targets)


@functools.lru_cache
def remembered(in_features: int, num_outputs: int) -> nn.Module:
    return Behind(in_features, num_outputs)


def test_private_names_and_namespaces_without_one(tmp_path):
    def trained(**given: Any) -> Any:
        run = gradloop.train([*TINY, f"output_dir={tmp_path}", "seed=0"], **given)
        return gradloop.load(run["folder"], allow=["test_private_names", "_private"])

    namespace: dict[str, Any] = {"Behind": Behind}
    exec("class Told(Behind):\n    pass", namespace)
    for model in (_Net, Net, Behind, namespace["Told"]):
        assert type(trained(model=model).network) is model
    assert type(trained(model=_Net(20, 2)).network) is _Net
    assert type(trained(model=remembered).network) is Behind
    seen = _Seen()
    losses = [trained(loss=loss, callbacks=seen).network for loss in (_loss, functools.partial(Measure()))]
    assert seen.seen
    torch.testing.assert_close(losses[0].state_dict(), losses[1].state_dict())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_scripted_module_is_one_line():
    scripted = torch.jit.script(Behind(20, 2))
    with pytest.raises(ConfigError, match="give the module that it was made of"):
        gradloop.train(TINY, model=scripted)
