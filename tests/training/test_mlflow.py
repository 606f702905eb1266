"""`logger=mlflow`, against MLflow's own server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from trackers_for_tests import TOY, has, history, nobody_logged_in  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start MLflow's own server; return its address, and what ends it."""
    root = tmp_path_factory.mktemp("mlflow")
    places = ["--backend-store-uri", f"sqlite:///{root}/runs.db", "--artifacts-destination", str(root / "artifacts")]
    with open(root / "log", "w") as log:
        for _ in range(3):  # somebody else may take the port before the server does
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            where = ["--host", "127.0.0.1", "--port", str(port), "--workers=1"]
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *places, *where],
                stdout=log, stderr=log, cwd=root, start_new_session=True,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            )  # fmt: skip
            if answers(process, f"http://127.0.0.1:{port}"):
                break
        else:
            pytest.fail((root / "log").read_text())
        yield f"http://127.0.0.1:{port}", process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(process, address):
    """Wait until it does, or has ended."""
    while process.poll() is None:
        time.sleep(0.5)
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{address}/health", timeout=5).read() == b"OK"
    return False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@has("mlflow", "flask", "flask_cors", "sqlalchemy", "alembic", "pandas")
def test_mlflows_server_has_all_of_a_run_and_goes_on_with_it(server, command, monkeypatch, tmp_path):
    from mlflow.tracking import MlflowClient

    address, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    toy = [line for line in TOY if "curves" not in line]
    ended = command(
        *toy,
        "logger=mlflow",
        "trainer.max_epochs=3",
        "tags=[a]",
        "notes=tried",
        "callbacks.checkpoints.every_seconds=0",
    )
    assert ended.code == 0, ended.err
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("gradloop").experiment_id
    (theirs,) = client.search_runs([experiment])
    assert theirs.info.run_id == json.loads((run / "mlflow.json").read_text())["id"]
    assert f"mlflow: {address}/#/experiments/{experiment}/runs/{theirs.info.run_id}" in ended.out
    assert (theirs.info.run_name, theirs.info.status) == (run.name, "FINISHED")
    assert theirs.data.params["optimizer.lr"] == "0.001"
    assert theirs.data.tags["mlflow.note.content"] == "tried"
    assert "a" in theirs.data.tags
    results = json.loads((run / "summary.json").read_text())["metrics"]
    assert theirs.data.metrics["test/loss"] == pytest.approx(results["test/loss"])
    assert {artifact.path for artifact in client.list_artifacts(theirs.info.run_id)} == {"config.yaml", "fit.png"}

    (run / "checkpoints" / "last.ckpt").unlink()  # as if it had been killed before that was saved
    ended = command(f"resume={run}", "trainer.max_epochs=5")
    assert ended.code == 0, ended.err
    (again,) = client.search_runs([experiment])
    assert again.info.run_id == theirs.info.run_id
    sent = [(m.step, m.value) for m in client.get_metric_history(again.info.run_id, "val/loss")]
    assert sent == history(run, "val/loss")
    assert again.data.tags["resumed.trainer.max_epochs"] == "5"
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["outputs"]

    # the server goes away while a run goes on
    from gradloop.callbacks.trackers import MLflow

    send = MLflow.send

    def last(self, metrics, step):
        if process.poll() is None and step > 1:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        send(self, metrics, step)

    monkeypatch.setattr(MLflow, "send", last)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ended = command(*toy, "logger=mlflow", "trainer.max_epochs=3", "name=lost")
    assert ended.code == 0
    assert "logger=mlflow failed and is off for the rest of this run, which goes on:" in ended.err
    assert ended.err.count("\n") == 1, ended.err
    (lost,) = (tmp_path / "here").glob("outputs/train/*_lost")
    assert len(history(lost, "val/loss")) == 3
