"""What a run imports and asks for, in the process that a sweep's jobs are forked from: once, there."""

import contextlib
import gc
import io
import os
import tempfile
from pathlib import Path

from gradloop.process import collector_at_rest, tell, told

with collector_at_rest():
    import matplotlib.backends.backend_agg  # noqa: F401
    import sklearn.datasets
    import sklearn.ensemble
    import sklearn.model_selection
    import sklearn.preprocessing  # noqa: F401
    import torch.utils.tensorboard

    import gradloop.callbacks.tensorboard_logger
    import gradloop.training.fit
    from gradloop.config.check import plain
    from gradloop.config.compose import compose_config
    from gradloop.config.targets import locate, targets
    from gradloop.runs import record, run
    from gradloop.runs.planning import plan

    example = told().get("example", {})
    tell(example=None)  # its jobs are not told
    with contextlib.suppress(Exception):  # a mistake is the run's to tell
        config, _ = compose_config(example["overrides"], **example["where"])
        for key, target in targets(plain(config)):
            if target is not None and target.startswith("gradloop."):
                locate(key, target, ())
    record.versions(), record.machine(), record.git_state(Path(run.__file__).parent)
    gc.freeze()  # a run's collector need not look at all of this, nor copy its pages; nor does this process's


def run_once() -> None:
    """Do a run of a moment: what the libraries look up at their first call, a job need not look up again.

    One thread from the start, and no GPU: threads, and a GPU that was asked for anything, do not survive a fork.
    """
    before, threads = dict(os.environ), torch.get_num_threads()
    torch.set_num_threads(1)  # the run sets its own only when it knows its size
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asks the driver without a context
    quiet = io.StringIO()
    tell(pictures=False)
    try:
        if not torch.cuda.is_available():
            with (
                contextlib.redirect_stdout(quiet),
                contextlib.redirect_stderr(quiet),
                tempfile.TemporaryDirectory() as folder,
            ):
                lines = ["accelerator=cpu", "threads=1", "trainer.max_epochs=1", f"hydra.run.dir={folder}/run"]
                gradloop.training.fit.run(plan(lines, None, "train"), Path(folder, "run"))
    finally:
        os.environ.clear()
        os.environ.update(before)
        torch.set_num_threads(threads)


with contextlib.suppress(Exception):  # no room on the disk for it, say
    run_once()
gc.collect()
gc.freeze()
