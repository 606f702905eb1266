"""What experiment trackers need before a run begins: their package, and a server and a key from the environment.

Neither ever stands in a config: a config is saved with the run, and one from a stranger would send results elsewhere.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gradloop.errors import ConfigError, said

ROOM = "gradloop.callbacks.trackers."
PACKAGES = {"Wandb": "wandb", "MLflow": "mlflow", "Comet": "comet_ml", "Trackio": "trackio"}  # class -> module
LIGHTNINGS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet"}
MLFLOWS = {  # its own settings: a server that is away is given up after some 15 s instead of four minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def check_trackers(values: dict[str, Any]) -> None:
    """Raise ConfigError for a tracker that lacks its package, its server or its key: nothing is created yet."""
    kinds: dict[str, str] = {}
    for name, entry in values["logger"].items():
        target = str((entry or {}).get("_target_"))
        if target.startswith("lightning.") and (ours := LIGHTNINGS.get(target.rpartition(".")[2])):
            raise ConfigError(
                f"logger.{name}._target_={target}: use logger={ours}, which keeps to the run's folder and goes on "
                "with its run after resume="
            )
        kind = target.removeprefix(ROOM)
        if not target.startswith(ROOM) or kind not in PACKAGES:
            continue
        extra = kind.lower()
        if (other := kinds.setdefault(kind, name)) != name:
            raise ConfigError(f"logger.{name}: a second {extra}, beside logger.{other}; a run has one of each")
        if find_spec(PACKAGES[kind]) is None:
            raise ConfigError(f"logger={extra} needs {PACKAGES[kind]}: pip install 'gradloop[{extra}]'")
        if lacks := {"Wandb": _wandb, "MLflow": _mlflow, "Comet": _comet}.get(kind, lambda _: None)(entry):
            raise ConfigError(f"logger={extra}: {lacks}")


def is_offline(entry: dict[str, Any]) -> bool:
    """Return whether a W&B run stays on this machine: as the config says, or W&B's own variable."""
    return bool(entry.get("offline")) or os.environ.get("WANDB_MODE") in ("offline", "dryrun")


def is_disabled() -> bool:
    return os.environ.get("WANDB_MODE") == "disabled"


def _wandb(entry: dict[str, Any]) -> str | None:
    if is_offline(entry) or is_disabled():
        return None
    import wandb

    # without verifying: a server that is away has to be told from a key that is not there
    if wandb.login(prompt=False, verify=False):
        return None
    return "nobody is logged in; `wandb login`, WANDB_API_KEY=…, or logger.wandb.offline=true"


def _mlflow(entry: dict[str, Any]) -> str | None:
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if not address:
        return "no server; start one with `mlflow server`, and give MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
    for name, value in MLFLOWS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    try:
        MlflowClient(address).search_experiments(max_results=1)
    except Exception as error:  # whatever lies between here and a server
        return f"MLFLOW_TRACKING_URI={address} does not answer: {said(error)[:200]}"
    return None


def _comet(entry: dict[str, Any]) -> str | None:
    if entry.get("offline") or os.environ.get("COMET_API_KEY") or (Path.home() / ".comet.config").is_file():
        return None
    return "no key; COMET_API_KEY=…, or logger.comet.offline=true"
