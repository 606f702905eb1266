"""Everything that a run imports, for the process that joblib's workers are forked from."""

import gc

from gradloop.importing import collector_at_rest

with collector_at_rest():
    import gradloop.callbacks.tensorboard_logger
    import gradloop.config.one_run
    import gradloop.run_parts  # noqa: F401

gc.freeze()  # joblib has each worker collect after each run: it need not look at all of this
