"""Everything that a run imports, for the process that joblib's workers are forked from."""

import gc
import os
import signal

from gradloop.process import collector_at_rest

signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked and ignored while this process started
# a signal to the whole group is for the jobs, which save; if this process died of it, joblib would kill them
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))

with collector_at_rest():
    import gradloop.callbacks.tensorboard_logger
    import gradloop.runs.planning
    import gradloop.training.fit  # noqa: F401

gc.freeze()  # joblib has each worker collect after each run: it need not look at all of this
