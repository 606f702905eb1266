"""The experiment trackers: W&B, MLflow, Comet, Trackio."""

import contextlib
import io
import logging
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

from gradloop.callbacks.tracker import Tracker
from gradloop.config.signature import flatten
from gradloop.config.trackers import is_disabled, is_offline
from gradloop.errors import ConfigError
from gradloop.runs.record import COMPLETED, INTERRUPTED, PRUNED

STATUSES = {COMPLETED: "FINISHED", PRUNED: "FINISHED", INTERRUPTED: "KILLED"}  # MLflow's; FAILED for any other


class Wandb(Tracker, WandbLogger):
    """Weights & Biases. Its files lie in `<run folder>/wandb`, offline or not."""

    label = "wandb"

    def __init__(
        self, *, save_dir: str, project: str, entity: str | None, offline: bool, finish_timeout: float
    ) -> None:
        options = {"project": project, "entity": entity, "offline": offline, "finish_timeout": finish_timeout}
        super().__init__(save_dir=save_dir, **options)

    def open(self, known: str, title: str, group: str | None) -> str:
        import wandb

        options, offline = self.options, is_offline(self.options)
        waits = options["finish_timeout"]
        run = wandb.init(
            id=known or secrets.token_hex(8),
            resume=None if offline else "allow",
            reinit="create_new",  # whatever else this process may track
            project=options["project"],
            entity=options["entity"],
            dir=str(self.folder),
            mode="disabled" if is_disabled() else "offline" if offline else "online",
            name=title,
            group=group,
            tags=self.run.record["tags"] or None,
            notes=self.run.record["notes"],
            settings=wandb.Settings(silent=True, console="off", finish_timeout=waits, finish_timeout_raises=True),
        )
        for link in filter(Path.is_symlink, self.folder.glob("wandb/*/logs/*")):  # to the log of all runs
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
        return "disabled by WANDB_MODE" if is_disabled() else str(self.experiment.url)


class MLflow(Tracker, MLFlowLogger):
    """MLflow, at the server that MLFLOW_TRACKING_URI names. Nothing is written here."""

    label = "mlflow"
    experiment = MLFlowLogger.experiment

    def __init__(self, *, save_dir: str, experiment: str) -> None:
        super().__init__(save_dir=save_dir, experiment=experiment)

    def open(self, known: str, title: str, group: str | None) -> str:
        record = self.run.record
        tags = {"sweep": group, "mlflow.note.content": record["notes"], **dict.fromkeys(record["tags"], "")}
        MLFlowLogger.__init__(
            self,
            experiment_name=self.options["experiment"],
            run_name=title,
            tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
            tags={name: value for name, value in tags.items() if value is not None},
            run_id=known or None,
        )
        if known:
            self.experiment.update_run(known, status="RUNNING")
        return str(self.run_id)

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
        # MLflow takes few letters, and Lightning leaves the others out
        plain = {re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII): value for name, value in metrics.items()}
        MLFlowLogger.log_metrics(self, plain, step)

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

        logging.getLogger("comet_ml").setLevel(logging.ERROR)
        place, tags = self.folder / "comet", [*self.run.record["tags"], *([group] if group else [])]
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

    def describe(self, values: Mapping[str, Any]) -> None:
        self._experiment.log_parameters(flatten(dict(values)))
        if notes := self.run.record["notes"]:
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
