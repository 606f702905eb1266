"""What a run imports and asks for, in the process that a sweep's jobs are forked from: once, there."""

import contextlib
import gc
import json
import os
from pathlib import Path

from gradloop.process import collector_at_rest

with collector_at_rest():
    import matplotlib.backends.backend_agg  # noqa: F401
    import sklearn.datasets
    import sklearn.ensemble
    import sklearn.model_selection
    import sklearn.preprocessing  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401

    import gradloop.callbacks.tensorboard_logger
    import gradloop.training.fit  # noqa: F401
    from gradloop.config.check import plain
    from gradloop.config.compose import compose_config
    from gradloop.config.targets import locate, targets
    from gradloop.runs import record, run

    example = json.loads(os.environ.pop("GRADLOOP_EXAMPLE", "null"))
    with contextlib.suppress(Exception):  # a mistake is the run's to tell
        config, _ = compose_config(example["overrides"], **example["where"])
        for key, target in targets(plain(config)):
            if target is not None and target.startswith("gradloop."):
                locate(key, target, ())
    record.versions(), record.machine(), record.git_state(Path(run.__file__).parent)

gc.freeze()  # a run's collector need not look at all of this, nor copy its pages
