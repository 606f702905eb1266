"""How a sweep begins and leaves a Ray: with a stand-in for the library."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gradloop.config.compose import compose_config
from gradloop.errors import CheckpointError, ConfigError
from gradloop.sweeps.engines import JobSpec, RunSpec, make_engine


class Task:
    """What `ray.remote` returns. refused: what `options` raises."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function, self.given = function, options

    def options(self, **options: Any) -> Task:
        if options.get("num_cpus", 1) == 0.123456:
            raise ValueError("too fine\nand more")
        return Task(self.function, options)

    def remote(self, *arguments: Any) -> Any:
        if self.given["scheduling_strategy"] == "blind":
            return False
        return self.function(*arguments)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Ray with two nodes on one machine."""
    stub: Any = ModuleType("ray")
    stub.up, stub.ended = False, 0

    def init(**options: Any) -> None:
        stub.up = True
        signal.signal(signal.SIGTERM, lambda *_: None)

    def shutdown() -> None:
        stub.up, stub.ended = False, stub.ended + 1

    stub.init, stub.shutdown, stub.is_initialized = init, shutdown, lambda: stub.up
    stub.remote = lambda function: Task(function, {})
    stub.get = lambda answer, timeout: answer
    stub.cluster_resources = lambda: {"CPU": 2.0}
    error = type("RayError", (Exception,), {})
    stub.exceptions = SimpleNamespace(RayError=error, GetTimeoutError=type("GetTimeoutError", (error,), {}))
    stub.names = ["one", "two"]
    stub.nodes = lambda: [{"Alive": True, "NodeID": name, "NodeManagerAddress": "here"} for name in stub.names]
    strategies: Any = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: node
    for module in (stub, strategies):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return stub


def joined(folder: Path, *lines: str) -> Any:
    engine = make_engine(compose_config(["hydra/launcher=ray", *lines])[0])
    try:
        engine.prepare(folder, JobSpec((RunSpec(folder, []),), None, "train", 1, str(folder)))
    finally:
        engine.close()
    return engine


def test_a_signal_stays_the_sweeps(ray: Any, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert joined(tmp_path).width == 2
    assert signal.getsignal(signal.SIGTERM) is before
    assert ray.ended == 1


def test_a_ray_of_the_session_is_refused_and_left_as_it_is(ray: Any, tmp_path: Path) -> None:
    ray.up = True
    with pytest.raises(ConfigError, match=r"^hydra/launcher=ray: this session has begun or joined a Ray"):
        joined(tmp_path)
    assert (ray.up, ray.ended) == (True, 0)


def test_each_node_of_one_machine_is_asked(ray: Any, tmp_path: Path) -> None:
    ray.names = ["blind", "two"]
    with pytest.raises(CheckpointError, match="node here of the cluster does not see this folder"):
        joined(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("num_cpus=0.123456", r"\{'num_cpus': 0.123456, 'num_gpus': 0\}: too fine$"),
        ("num_gpus=1.5", r"^hydra.launcher.num_gpus=1.5: expected a whole number, or a part of one GPU"),
    ],
)
def test_what_ray_would_refuse_later_is_refused_before_it_begins(
    ray: Any, line: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        joined(tmp_path, f"hydra.launcher.{line}")
    assert (ray.up, ray.ended) == (False, 0)
