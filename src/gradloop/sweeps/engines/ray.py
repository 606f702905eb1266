"""A sweep's jobs on a Ray cluster, or on a Ray of this machine alone.

A Ray worker does for its jobs what the sweep's own process does here: it forks each from a server that has imported
torch once. Ray itself never repeats a job: the sweep does (`sweep.retries`), from the run's checkpoint.
"""

import contextlib
import logging
import os
import secrets
import signal
import socket
import time
from multiprocessing import connection
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gradloop.errors import CheckpointError, ConfigError
from gradloop.process import cores_here
from gradloop.sweeps.engines import STOP, Engine, JobSpec
from gradloop.sweeps.engines.processes import JobProcess
from gradloop.sweeps.engines.server import start_server

LOOK = 0.5  # seconds between a worker's looks at that
DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")  # that Ray gives to a job
# before Ray is imported: no environment of its own for a worker under uv, no job tried again behind our back
SETTINGS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_task_oom_retries": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Ray(Engine):  # and it ends a job with the process that has asked for it: none is found again
    """config: the sweep's, with `hydra.launcher` as in conf/hydra/launcher/ray.yaml."""

    def __init__(self, config: Any) -> None:
        options: dict[str, Any] = OmegaConf.to_container(config.hydra.launcher, resolve=True)  # type: ignore[assignment]
        self.address, self.patience = options["address"], options["timeout_s"]
        if self.address not in (None, "auto") and not _host_and_port(str(self.address)):
            raise ConfigError(f"hydra.launcher.address={self.address}: expected auto, or a cluster's host:port")
        if (gpus := options["num_gpus"]) > 1 and gpus != int(gpus):
            raise ConfigError(f"hydra.launcher.num_gpus={gpus}: expected a whole number, or a part of one GPU")
        self.needs = {key: options[key] for key in ("num_cpus", "num_gpus", "memory") if options[key] is not None}
        self.cores = max(1, int(options["num_cpus"]))
        self.width = 1
        self.ray: Any = None  # the library, once a Ray was begun or joined here
        self.jobs: dict[int, tuple[Any, JobSpec]] = {}

    def prepare(self, folder: Path, example: JobSpec) -> None:
        """Start Ray or join a cluster; refuse one that does not answer, is too small, or does not see the folder."""
        os.environ.update(SETTINGS)
        try:
            import ray
        except ImportError:
            raise ConfigError("hydra/launcher=ray needs Ray: pip install 'gradloop[ray]'") from None
        if ray.is_initialized():  # what it was begun with is not what runs need, and it is not to end with the sweep
            told = "this session has begun or joined a Ray; ray.shutdown() ends that"
            raise ConfigError(f"hydra/launcher=ray: {told}")
        try:
            ray.remote(do_job).options(**self.needs)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"hydra/launcher=ray: {self.needs}: {str(error).splitlines()[0]}") from error
        alone: dict[str, Any] = {"num_cpus": cores_here(), "include_dashboard": False} if self.address is None else {}
        if (place := _host_and_port(str(self.address))) is not None:
            try:
                socket.create_connection(place, timeout=self.patience).close()
            except OSError as error:
                raise self._silent(error.strerror or str(error)) from error
        self.ray, before = ray, signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=self.address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **alone)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            raise self._silent(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
        finally:
            if signal.getsignal(signal.SIGTERM) is not before:  # Ray's would end the sweep at once
                signal.signal(signal.SIGTERM, before)
        self._measure()
        if self.width < 1:
            has = {key: ray.cluster_resources().get(name, 0) for key, name in RESOURCES.items()}
            raise ConfigError(f"hydra/launcher=ray: no cluster for a run that needs {self.needs}; it has {has}")
        self._check_nodes(folder)

    def _silent(self, reason: str) -> ConfigError:
        name = self.address or "null"
        return ConfigError(f"hydra.launcher.address={name}: no Ray answered within {self.patience} s: {reason}")

    def _measure(self) -> None:
        """Set how many jobs the cluster holds at once; nodes come and go."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            has = self.ray.cluster_resources()
            room = [has.get(RESOURCES[key], 0) / need for key, need in self.needs.items() if need]
            self.width = int(min(room) + 1e-6)

    def _check_nodes(self, folder: Path) -> None:
        """Raise CheckpointError where a node does not see the sweep's folder, or does not answer."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        token, word = folder / ".shared", secrets.token_hex(8)
        token.write_text(word)
        asked = {}
        for node in self.ray.nodes():
            if node["Alive"]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                look = self.ray.remote(_reads).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
                asked[node["NodeID"]] = node["NodeManagerAddress"], look.remote(str(token), word)
        try:
            for name, answer in asked.values():
                try:
                    sees = self.ray.get(answer, timeout=self.patience)
                except self.ray.exceptions.GetTimeoutError:
                    raise self._silent(f"its node {name} is silent") from None
                except self.ray.exceptions.RayError as error:
                    raise ConfigError(f"hydra/launcher=ray: node {name}: {_reason(error)}") from error
                if not sees:
                    raise CheckpointError(
                        f"{folder}: node {name} of the cluster does not see this folder; put output_dir on a file "
                        "system that all nodes share"
                    )
        finally:
            token.unlink(missing_ok=True)

    def start(self, number: int, spec: JobSpec) -> None:
        (spec.runs[0].folder / STOP).unlink(missing_ok=True)
        job = self.ray.remote(do_job).options(name=f"run {number}", max_retries=0, **self.needs)
        self.jobs[number] = job.remote(spec), spec

    def wait(self, seconds: float) -> dict[int, str | None]:
        if not self.jobs:
            time.sleep(seconds)
            return {}
        by_ref = {ref: number for number, (ref, _) in self.jobs.items()}
        ready, _ = self.ray.wait(list(by_ref), num_returns=1, timeout=seconds)
        ended: dict[int, str | None] = {}
        for ref in ready:
            number = by_ref[ref]
            try:
                ended[number] = self.ray.get(ref)
            except self.ray.exceptions.RayError as error:
                ended[number] = _reason(error)
            (self.jobs.pop(number)[1].runs[0].folder / STOP).unlink(missing_ok=True)
        if ended:
            self._measure()
            self.width = max(1, self.width)  # Ray keeps a job until a node comes that has room for it
        return ended

    def stop(self, number: int, signal_number: int) -> None:
        """Tell the worker, by a file; a job that waits for a worker is not begun any more."""
        if number in self.jobs:
            folder = self.jobs[number][1].runs[0].folder
            folder.mkdir(parents=True, exist_ok=True)
            (folder / STOP).write_text(f"{signal_number}\n")

    def kill(self, number: int) -> None:
        if number in self.jobs:
            self.ray.cancel(self.jobs[number][0], force=True)

    def close(self) -> None:
        """End what was started here, or leave the cluster."""
        if self.ray is not None:
            self.ray.shutdown()


RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}  # Ray's names of what a run needs


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and "/" not in host and port.isdigit() else None


def _reason(error: Exception) -> str:
    """What took a job away, in one line: Ray's own words go over many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"Ray: {type(error).__name__}: {lines[0][:200]}" if lines else f"Ray: {type(error).__name__}"


def _reads(path: str, word: str) -> bool:
    """On a node: whether it sees the sweep's folder."""
    try:
        return Path(path).read_text() == word
    except OSError:
        return False


def do_job(spec: JobSpec) -> str | None:
    """In a Ray worker: do a job in a process of its own. Return what took it away, if it did not end by itself."""
    stop = spec.runs[0].folder / STOP
    if stop.exists():
        return None
    start_server(spec)
    job = JobProcess()
    job.begin(spec, {name: os.environ[name] for name in DEVICES if name in os.environ})
    process = job.process
    told = False
    while process.exitcode is None:
        try:
            connection.wait([process.sentinel], LOOK)
            if not told and (text := stop.read_text() if stop.exists() else "").endswith("\n"):
                told = True
                os.kill(process.pid, int(text))
        except (OSError, ValueError):  # it has just ended, or the file went away
            continue
        except KeyboardInterrupt:  # ray.cancel, by whoever may
            told = True
            os.kill(process.pid, signal.SIGINT)
    return None if process.exitcode >= 0 else f"its process ended by signal {-process.exitcode}"
