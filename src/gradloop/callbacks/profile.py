"""Where the time goes."""

import gzip
import os
import sys
from typing import Any

import lightning.pytorch as pl
import torch
from torch.profiler import ProfilerActivity, profile

from gradloop.callbacks.hook import Hook
from gradloop.runs.folder import write_atomically


class ChromeTrace(Hook):
    """Writes `profile/trace.json.gz` (a Chrome trace) and `profile/operators.txt` of some training steps, and stops.

    skip: steps before the recording begins, so that it shows none of what happens only once.
    steps: how many to record, at least: it ends when callbacks get their next say.
    """

    any_module = True
    stops = True

    def __init__(self, *, skip: int, steps: int) -> None:
        self.skip = skip
        self.steps = steps
        self.profiler: Any = None
        self.done = False

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.profiler is None and not self.done and trainer.global_step >= self.skip:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self.first = trainer.global_step
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it writes its stages into the terminal's bar
            self.profiler = profile(activities=activities)
            self.profiler.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self.profiler is not None and trainer.global_step - self.first >= self.steps:
            self._stop(trainer, pl_module)
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.profiler is not None:
            self._stop(trainer, pl_module)
        elif not self.done and trainer.is_global_zero:
            what = f"nothing is recorded, the run ended at step {trainer.global_step}"
            print(f"warning: callbacks.profile.skip={self.skip}: {what}", file=sys.stderr)

    def _stop(self, trainer: pl.Trainer, module: Any) -> None:
        self.profiler.stop()
        self.done = True
        recorded, self.profiler = self.profiler, None
        if not trainer.is_global_zero:
            return
        folder = self.run.folder / "profile"
        folder.mkdir(exist_ok=True)
        temporary = folder / "trace.json"
        recorded.export_chrome_trace(str(temporary))
        write_atomically(folder / "trace.json.gz", gzip.compress(temporary.read_bytes()))
        temporary.unlink()
        steps = trainer.global_step - self.first
        table = recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=40)
        write_atomically(folder / "operators.txt", f"{steps} optimizer steps from step {self.first} on\n{table}")
