"""Where the YAML files are."""

from __future__ import annotations

from pathlib import Path


def conf_folder() -> Path:
    """Return the folder of the configs: the clone's own `conf/`, or the copy that travels inside a wheel."""
    package = Path(__file__).resolve().parents[1]
    root = package.parents[1]
    if (root / "pyproject.toml").is_file() and (root / "conf" / "train.yaml").is_file():
        return root / "conf"
    return package / "conf"
