"""What all experiment trackers share: one run of theirs a run of ours, gone on with by resume=, that can't end it."""

import io
import json
import logging
import re
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gradloop.errors import CheckpointError, ConfigError, said
from gradloop.runs.labels import event_folder
from gradloop.runs.run import Run

log = logging.getLogger("gradloop")
PLACE = ("epoch", "step")  # where something was measured


class Tracker(Logger):
    """A logger whose run, on a server or in a folder inside ours, begins with our run and goes on with it.

    `<label>.json` in the run's folder holds that run's id, and to which step each measurement was sent: what a
    resumed run measures again is not sent again. A tracker that fails while the run goes on is off for the rest of
    it, and says so in one line: the run itself, and its metrics.csv, lose nothing.
    """

    label: str  # as in logger=<label>

    def __init__(self, *, save_dir: str, **options: Any) -> None:
        self.folder, self.options = Path(save_dir), options
        self.id = ""
        self._experiment: Any = None  # the library's own object
        self.lost = False
        self.before: dict[str, int] = {}  # measurement -> step that an earlier attempt has sent last
        self.steps: dict[str, int] = {}

    @abstractmethod
    def open(self, known: str, title: str, group: str | None) -> str:
        """Begin a run, or go on with the one of the id `known`, and return its id. group: the sweep's name."""

    @abstractmethod
    def describe(self, values: Mapping[str, Any]) -> None:
        """Send the config."""

    @abstractmethod
    def send(self, metrics: dict[str, Any], step: int) -> None: ...

    @abstractmethod
    def send_picture(self, tag: str, picture: Any, step: int) -> None:
        """Send one of PIL's images."""

    @abstractmethod
    def end(self, status: str) -> None:
        """End the run, as a run's record says it: completed, failed, …"""

    @abstractmethod
    def where(self) -> str:
        """Say in a few words where to look, or how to upload."""

    def begin(self, run: Run) -> None:
        """Open the tracker's run; raise ConfigError if that fails, CheckpointError where the id can't be read."""
        self.run, self.file = run, run.folder / f"{self.label}.json"
        if self.file.exists():
            try:
                kept = json.loads(self.file.read_text(encoding="utf-8"))
                self.id, steps = str(kept["id"]), kept["steps"]
                self.before = {str(name): int(step) for name, step in steps.items()}
            except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{self.file}: can't be read; without it a new run is begun") from error
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.id):
                raise CheckpointError(f"{self.file}: id={self.id[:70]!r}: expected letters, digits, '_' and '-'")
            self.steps = dict(self.before)
        entry = event_folder(run.folder).name
        in_sweep = (run.folder.parent / "sweep.json").is_file()
        title = run.folder.name if entry == "tensorboard" else entry
        try:
            self.id = self.open(self.id, title, run.folder.parent.name if in_sweep else None)
        except ConfigError:
            raise
        except Exception as error:  # a library, a server, or what lies between
            raise ConfigError(f"logger={self.label}: can't begin: {said(error)}") from error
        self._keep()
        self.log_hyperparams(run.values)

    def _keep(self) -> None:
        """Write the id and the steps. In one go, but without waiting for the disk: it happens at every row."""
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps({"id": self.id, "steps": self.steps}), encoding="utf-8")
        temporary.replace(self.file)

    def _try(self, call: Callable[..., Any], *arguments: Any) -> None:
        if self.lost or not self.id:
            return
        try:
            call(*arguments)
        except Exception as error:  # a library, a server, or what lies between
            self.lost = True
            line = (
                f"logger={self.label} failed and is off for the rest of this run, which goes on: {said(error)[:300]}"
            )
            log.warning(line)
            print(line, file=sys.stderr, flush=True)
            self.run.record["warning"] = line

    def _row(self, row: dict[str, Any], step: int) -> None:
        self.send(row, step)
        self.steps |= dict.fromkeys(row, step)
        self._keep()

    def _picture(self, tag: str, png: bytes, step: int) -> None:
        from PIL import Image

        self.send_picture(tag, Image.open(io.BytesIO(png)), step)
        self.steps[f"picture: {tag}"] = step
        self._keep()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        step = int(step or 0)
        row = {k: v for k, v in metrics.items() if k not in PLACE and step > self.before.get(k, -1)}
        if row:
            self._try(self._row, row, step)

    @rank_zero_only
    def log_png(self, tag: str, png: bytes, step: int) -> None:
        if step > self.before.get(f"picture: {tag}", -1):
            self._try(self._picture, tag, png, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self._try(self.describe, params if isinstance(params, Mapping) else vars(params))

    def save(self) -> None:
        """Do nothing: rows are sent at once."""

    def finalize(self, status: str) -> None:
        """Do nothing: Lightning says this after training and after testing, and both belong into one run."""

    def close(self, status: str) -> None:
        self._try(self.end, status)
        self.lost = True

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        return self._experiment

    @property
    def name(self) -> str:
        return self.label

    @property
    def version(self) -> str:
        return self.id

    @property
    def save_dir(self) -> str:
        return str(self.folder)
