"""Experiment trackers: W&B, MLflow, Comet, Trackio. One run of theirs a run of ours, gone on with by resume=."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import secrets
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gradloop.config.signature import flatten
from gradloop.config.trackers import is_offline
from gradloop.errors import CheckpointError, ConfigError, said
from gradloop.runs.labels import event_folder
from gradloop.runs.record import COMPLETED, INTERRUPTED, PRUNED
from gradloop.runs.run import Run

log = logging.getLogger("gradloop")
PLACE = ("epoch", "step")  # where something was measured
STATUSES = {COMPLETED: "FINISHED", PRUNED: "FINISHED", INTERRUPTED: "KILLED"}  # MLflow's; FAILED for any other


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
    def name(self) -> str:
        return self.label

    @property
    def version(self) -> str:
        return self.id

    @property
    def save_dir(self) -> str:
        return str(self.folder)


class Wandb(Tracker, WandbLogger):
    """Weights & Biases. Its files lie in `<run folder>/wandb`, offline or not."""

    label = "wandb"

    def __init__(
        self, *, save_dir: str, project: str, entity: str | None, offline: bool, finish_timeout: float
    ) -> None:
        super().__init__(
            save_dir=save_dir, project=project, entity=entity, offline=offline, finish_timeout=finish_timeout
        )

    def open(self, known: str, title: str, group: str | None) -> str:
        import wandb

        options, values = self.options, self.run.values
        offline = is_offline(options)
        settings = wandb.Settings(
            silent=True, console="off", finish_timeout=options["finish_timeout"], finish_timeout_raises=True
        )
        run = wandb.init(
            id=known or secrets.token_hex(8),
            resume=None if offline else "allow",
            reinit="create_new",  # whatever else this process may track
            project=options["project"],
            entity=options["entity"],
            dir=str(self.folder),
            mode=os.environ.get("WANDB_MODE", "offline") if offline else "online",
            name=title,
            group=group,
            tags=values.get("tags") or None,
            notes=values.get("notes"),
            settings=settings,
        )
        for link in self.folder.glob("wandb/*/logs/*"):  # to the log of all runs, in the user's cache
            if link.is_symlink():
                link.unlink()
        WandbLogger.__init__(self, experiment=run, save_dir=str(self.folder), project=options["project"])
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return str(run.id)

    def describe(self, values: Mapping[str, Any]) -> None:
        WandbLogger.log_hyperparams(self, dict(values))

    def send(self, metrics: dict[str, float], step: int) -> None:
        WandbLogger.log_metrics(self, metrics, step)

    def send_picture(self, tag: str, picture: Any, step: int) -> None:
        self.log_image(tag, [picture], step)

    def end(self, status: str) -> None:
        self.experiment.finish(exit_code=0 if status in (COMPLETED, PRUNED) else 1)

    def where(self) -> str:
        if is_offline(self.options):
            return f"wandb sync {Path(self.experiment.dir).parent}"
        return str(self.experiment.url)


class MLflow(Tracker, MLFlowLogger):
    """MLflow, at the server that MLFLOW_TRACKING_URI names. Nothing is written here."""

    label = "mlflow"

    def __init__(self, *, save_dir: str, experiment: str) -> None:
        super().__init__(save_dir=save_dir, experiment=experiment)

    def open(self, known: str, title: str, group: str | None) -> str:
        values = self.run.values
        tags = {"sweep": group, "mlflow.note.content": values.get("notes"), **dict.fromkeys(values["tags"] or [], "")}
        MLFlowLogger.__init__(
            self,
            experiment_name=self.options["experiment"],
            run_name=title,
            tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
            tags={name: value for name, value in tags.items() if value is not None},
            run_id=known or None,
        )
        found = str(self.run_id)
        if known:
            self.experiment.update_run(found, status="RUNNING")
        return found

    def describe(self, values: Mapping[str, Any]) -> None:
        """Send each value once: MLflow changes none. What a resumed run does otherwise becomes a tag."""
        had = self.experiment.get_run(self.id).data.params
        flat = {re.sub(r"[^\w./ -]", "_", key): value for key, value in flatten(dict(values)).items()}
        MLFlowLogger.log_hyperparams(self, {key: value for key, value in flat.items() if key not in had})
        for key, value in flat.items():
            if key in had and had[key] != str(value)[:250]:
                self.experiment.set_tag(self.id, f"resumed.{key}", str(value))
        if values is self.run.values:
            self.experiment.log_text(self.id, yaml.safe_dump(dict(values), sort_keys=False), "config.yaml")

    def send(self, metrics: dict[str, float], step: int) -> None:
        MLFlowLogger.log_metrics(self, metrics, step)

    def send_picture(self, tag: str, picture: Any, step: int) -> None:
        self.experiment.log_image(self.id, picture, artifact_file=f"{tag}.png")

    def end(self, status: str) -> None:
        self.experiment.set_terminated(self.id, STATUSES.get(status, "FAILED"))

    def where(self) -> str:
        return f"{os.environ['MLFLOW_TRACKING_URI']}/#/experiments/{self.experiment_id}/runs/{self.id}"


class Comet(Tracker):
    """Comet, through its own library: Lightning's logger writes nothing where it is offline.

    Offline its archives lie in `<run folder>/comet`, one an attempt, all of one experiment.
    """

    label = "comet"

    def __init__(self, *, save_dir: str, project: str, workspace: str | None, offline: bool) -> None:
        super().__init__(save_dir=save_dir, project=project, workspace=workspace, offline=offline)

    def open(self, known: str, title: str, group: str | None) -> str:
        os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")  # it would hook itself into torch
        import comet_ml

        for name in ("comet_ml", "comet_ml.system.system_info", "COMET"):
            logging.getLogger(name).setLevel(logging.ERROR)
        place, tags = self.folder / "comet", [*(self.run.values["tags"] or []), *([group] if group else [])]
        config = comet_ml.ExperimentConfig(
            offline_directory=str(place),
            name=title,
            tags=tags,
            log_code=False,
            log_graph=False,
            log_env_details=False,  # every package of the machine, its address, the command line
            auto_param_logging=False,
            auto_metric_logging=False,
            auto_histogram_weight_logging=False,
            auto_output_logging=False,
            parse_args=False,
            display_summary_level=0,
        )
        self._experiment = comet_ml.start(
            workspace=self.options["workspace"],
            project=self.options["project"],
            experiment_key=known or secrets.token_hex(16),
            mode="get_or_create",
            online=not self.options["offline"],
            experiment_config=config,
        )
        return str(self._experiment.get_key())

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        return self._experiment

    def describe(self, values: Mapping[str, Any]) -> None:
        self._experiment.log_parameters(flatten(dict(values)))
        if notes := self.run.values.get("notes"):
            self._experiment.log_other("notes", notes)

    def send(self, metrics: dict[str, float], step: int) -> None:
        self._experiment.log_metrics(metrics, step=step)

    def send_picture(self, tag: str, picture: Any, step: int) -> None:
        self._experiment.log_image(picture, name=tag, step=step)

    def end(self, status: str) -> None:
        self._experiment.log_other("status", status)
        self._experiment.end()

    def where(self) -> str:
        return f"comet upload {self.folder / 'comet'}/*.zip" if self.options["offline"] else str(self._experiment.url)


class Trackio(Tracker):
    """Trackio, in `<run folder>/trackio`; or where TRACKIO_DIR, TRACKIO_SERVER_URL or TRACKIO_SPACE_ID says."""

    label = "trackio"

    def __init__(self, *, save_dir: str, project: str) -> None:
        super().__init__(save_dir=save_dir, project=project)

    def open(self, known: str, title: str, group: str | None) -> str:
        named = [name for name in ("TRACKIO_DIR", "TRACKIO_SERVER_URL", "TRACKIO_SPACE_ID") if os.environ.get(name)]
        self.place = os.environ.get("TRACKIO_DIR") or str(self.folder / "trackio")
        if not named:
            os.environ["TRACKIO_DIR"] = self.place  # it is read once, by the import
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                import trackio
                from trackio.utils import TRACKIO_DIR
        finally:
            if not named:
                del os.environ["TRACKIO_DIR"]
        if not named and Path(TRACKIO_DIR).resolve() != Path(self.place).resolve():
            raise ConfigError(
                f"logger=trackio: in this process Trackio already writes to {TRACKIO_DIR}; start each run by a "
                "command of its own, or give TRACKIO_DIR=<one folder for all>"
            )
        found = known or secrets.token_hex(4)
        with contextlib.redirect_stdout(io.StringIO()):
            self._experiment = trackio.init(
                project=self.options["project"],
                name=f"{title} {found}",  # it finds a run again by its name
                group=group,
                resume="allow" if known else "never",
                config=dict(self.run.values),
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        return found

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        return self._experiment

    def describe(self, values: Mapping[str, Any]) -> None:
        """Nothing to do: it takes the config when it begins."""

    def send(self, metrics: dict[str, float], step: int) -> None:
        self._experiment.log(metrics, step=step)

    def send_picture(self, tag: str, picture: Any, step: int) -> None:
        import trackio

        self._experiment.log({tag: trackio.Image(picture)}, step=step)

    def end(self, status: str) -> None:
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()

    def where(self) -> str:
        remote = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
        return remote or f"TRACKIO_DIR='{self.place}' trackio show --project {self.options['project']}"
