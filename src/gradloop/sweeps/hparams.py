"""TensorBoard's HParams page for sweeps: exactly the varied keys and the final metrics, a session a run.

Each run gets one small event file in `tensorboard/final/`: a session start with its varied values, the
final metrics as scalars at the step of the best checkpoint, a session end with its status. TensorBoard
puts the columns together from the sessions it finds, so several sweeps under one logdir keep all of
theirs. (One experiment description at each sweep's root would not do: TensorBoard takes the first that it
finds for the whole logdir and drops the columns of the others.) For the same reason the sessions live
beside the curves' folder entries and hold nothing but final metrics: every scalar at or below a session
becomes a column.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from gradloop.sweeps.sweep_folder import ENDED_WELL, Job, Sweep, as_text

FOLDER = Path("tensorboard") / "final"  # in the run's folder; never an ancestor of the curves' folder
SUFFIX = ".session"


def text_keys(sweep: Sweep) -> set[str]:
    """The varied keys whose values mix kinds (a number here, `null` there): they become text throughout.

    A column of numbers alone filters by min and max, a column of texts by ticking values; TensorBoard
    wants one kind a column.
    """
    kinds: dict[str, set[str]] = {}
    for job in sweep.jobs:
        for key, value in job.values.items():
            kinds.setdefault(key, set()).add(_kind(value))
    return {key for key, found in kinds.items() if len(found) > 1 or found == {"text"}}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else "text"


def write_session(sweep: Sweep, job: Job) -> None:
    """Write (or replace) the session of one job as its status and record say.

    A run that has not ended has no session end, one that failed has status FAILURE; neither has metrics.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    as_words = text_keys(sweep)
    varied = {key: job.values[key] for key in [*sweep.keys, "seed"] if key in job.values}
    values = {key: _word(value) if key in as_words else value for key, value in varied.items()}
    started = _seconds(job.record.get("started"))
    summaries = [(0, summary_v2.hparams_pb(values, f"{job.number} of {sweep.folder.name}", started))]
    if job.status in ENDED_WELL:
        step = int((job.record.get("best") or {}).get("step") or 0)
        for metric in final_metrics(sweep, job):
            value = job.value(metric)
            if value is not None:
                scalar = Summary.Value(tag=metric, simple_value=value)
                summaries.append((step, Summary(value=[scalar])))
    if job.status not in ("running", "not_run"):
        status = api_pb2.STATUS_SUCCESS if job.status in ENDED_WELL else api_pb2.STATUS_FAILURE
        finished = _seconds(job.record.get("finished"))
        ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=finished)
        data = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=ended))
        end = Summary()
        end.value.add(tag=metadata.SESSION_END_INFO_TAG, metadata=data, tensor=metadata.NULL_TENSOR)
        summaries.append((0, end))

    folder = sweep.job_folder(job) / FOLDER
    previous = list(folder.glob(f"*{SUFFIX}"))
    writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
    for step, summary in summaries:
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.close()
    for file in previous:  # TensorBoard believes the first session end it reads
        file.unlink(missing_ok=True)


def final_metrics(sweep: Sweep, job: Job) -> list[str]:
    """The columns: the monitored metric, then every val/ and test/ metric in the record."""
    names = sorted(name for name in job.record.get("metrics") or {} if name.startswith(("val/", "test/")))
    return [sweep.metric, *(n for n in names if n != sweep.metric)] if sweep.metric else names


def _word(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def _seconds(stamp: Any) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (TypeError, ValueError):
        return time.time()
