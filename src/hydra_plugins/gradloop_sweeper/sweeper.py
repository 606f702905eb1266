"""The door through which Hydra enters gradloop's sweeps.

Every start of every Hydra program on this machine imports this file: it holds a config and a class and
imports nothing of weight. (Postponed annotations beside a dataclass would crash Hydra 1.3's plugin scanner.)
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional  # noqa: UP035 - OmegaConf reads these annotations

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class GradloopSweeperConf:
    _target_: str = "hydra_plugins.gradloop_sweeper.sweeper.GradloopSweeper"
    # a search space as Hydra's other sweepers take it; `sweep.search_space` is the same
    params: Optional[Dict[str, str]] = None  # noqa: UP006, UP045


ConfigStore.instance().store(group="hydra/sweeper", name="gradloop", node=GradloopSweeperConf, provider="gradloop")


class GradloopSweeper(Sweeper):
    """Runs `-m`: chooses settings, launches them, and answers with a leaderboard (`gradloop.sweeps.sweep`)."""

    def __init__(self, params: Optional[Dict[str, str]] = None) -> None:  # noqa: UP006, UP045
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def sweep(self, arguments: List[str]) -> Any:  # noqa: UP006
        from gradloop.sweeps.sweep import run_sweep

        return run_sweep(
            config=self.config,
            arguments=arguments,
            params=self.params,
            hydra_context=self.hydra_context,
            task=self.task_function,
        )
