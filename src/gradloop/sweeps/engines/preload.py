"""What a run imports, for the process that a sweep's runs are forked from: imported once, there."""

import gc

from gradloop.process import collector_at_rest

with collector_at_rest():
    import matplotlib.backends.backend_agg  # noqa: F401

    import gradloop.callbacks.tensorboard_logger
    import gradloop.runs.planning
    import gradloop.training.fit  # noqa: F401

gc.freeze()  # a run's collector need not look at all of this, nor copy its pages
