"""Hydra's config loader, quicker over the many jobs of one sweep."""

from __future__ import annotations

import copy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser


class SweepLoader(ConfigLoaderImpl):
    """Composes the groups that jobs choose once, and puts each job's single values into a copy.

    That is what Hydra does for every job anew: it applies single values last, in their order, by the same function.
    """

    def __init__(self, config_search_path: Any) -> None:
        super().__init__(config_search_path)
        self.bases: dict[tuple[str, ...], Any] = {}
        self.is_group: dict[str, bool] = {}

    def load_sweep_config(self, master_config: Any, sweep_overrides: list[str]) -> Any:
        """Return the config of one job, with Hydra's own node."""
        overrides = OverridesParser.create(config_loader=self).parse_overrides(sweep_overrides)
        groups = [override for override in overrides if override.package or self._chooses(override.key_or_group)]
        values = [override for override in overrides if override not in groups]
        base = tuple(str(override.input_line) for override in groups)
        if base not in self.bases:
            self.bases[base] = super().load_sweep_config(master_config, list(base))
        config = copy.deepcopy(self.bases[base])
        self._apply_overrides_to_config(values, config)
        config.hydra.overrides.hydra += [o.input_line for o in values if o.is_hydra_override()]
        ours = [override for override in overrides if not override.is_hydra_override()]
        config.hydra.overrides.task = [override.input_line for override in ours]
        named = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=ours, kv_sep=named.kv_sep, item_sep=named.item_sep, exclude_keys=named.exclude_keys
        )
        return config

    def _chooses(self, key: str) -> bool:
        """Whether an override chooses a group's file."""
        if key not in self.is_group:
            self.is_group[key] = bool(self.get_group_options(key))
        return self.is_group[key]
