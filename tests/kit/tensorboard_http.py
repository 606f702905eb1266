"""TensorBoard's own HTTP endpoints over a log folder, without a socket."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


class TensorBoardClient:
    def __init__(self, logdir: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorBoard's imports use deprecated APIs
            from tensorboard import default, program
            from tensorboard.backend import application
            from tensorboard.backend.event_processing.data_ingester import LocalDataIngester
            from werkzeug.test import Client

            board = program.TensorBoard(default.get_plugins())
            once = ["--reload_interval=0", "--reload_task=blocking", "--load_fast=false"]
            board.configure(argv=["tensorboard", f"--logdir={logdir}", *once])
            ingester = LocalDataIngester(board.flags)
            ingester.start()
            plugins = board.plugin_loaders
            app = application.TensorBoardWSGIApp(
                board.flags, plugins, ingester.data_provider, board.assets_zip_provider
            )
        self.client = Client(app)

    def get(self, path: str) -> Any:
        return self._answer(self.client.get(f"/data/{path}"))

    def hparams(self, route: str, **request: Any) -> Any:
        return self._answer(self.client.post(f"/data/plugin/hparams/{route}", json=request))

    def sessions(self, **request: Any) -> list[dict[str, Any]]:
        statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        whole = {"startIndex": 0, "sliceSize": 1000, "allowedStatuses": statuses, "colParams": []}
        return self.hparams("session_groups", **{**whole, **request}).get("sessionGroups", [])

    def _answer(self, response: Any) -> Any:
        assert response.status_code == 200, response.text
        return response.get_json()
