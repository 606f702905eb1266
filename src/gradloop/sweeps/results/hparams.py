"""TensorBoard's HParams page for sweeps: exactly the varied keys, the monitored metric first, test metrics last.

A session start with a run's varied values, its final metrics and a session end with its status stand in the run's own
event file: one entry a run. TensorBoard puts the columns together from the sessions it finds, in the order of the
letters (`best/val/accuracy`, the curves, `test/accuracy`), so several sweeps under one logdir keep all of theirs.
(One experiment description at each sweep's root would not do: TensorBoard takes the first that it finds for the whole
logdir and drops the columns of the others.)
"""

import collections
import shutil
import time
from datetime import datetime
from typing import Any

from gradloop.runs.event_file import EventFile
from gradloop.runs.history import read_history
from gradloop.runs.labels import event_folder, label, tag
from gradloop.sweeps.results.leaderboard import TESTED, Leaderboard, measured
from gradloop.sweeps.results.statistics import is_number
from gradloop.sweeps.sweep_folder import ENDED_WELL, REPEATED, Job, Sweep, as_text

MEANS = "mean"  # the folder of the mean curves
BEST = 5  # settings that have one
SUFFIX = ".session"  # of a file that stands for the run's own until that is complete


def text_keys(sweep: Sweep) -> set[str]:
    """The varied keys whose values mix kinds (a number here, `null` there): they become text throughout.

    A column of numbers alone filters by min and max, a column of texts by ticking values; TensorBoard
    wants one kind a column.
    """
    kinds: dict[str, set[str]] = {}
    for job in sweep.jobs:
        for key, value in job.values.items():
            kind = "bool" if isinstance(value, bool) else "number" if is_number(value) else "text"
            kinds.setdefault(key, set()).add(kind)
    return {key for key, found in kinds.items() if len(found) > 1 or found == {"text"}}


def write_session(sweep: Sweep, job: Job) -> None:
    """Write (or replace) the session of one job as its status and record say.

    A run that has not ended has no session end, one that failed has status FAILURE; neither has metrics.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2

    as_words = text_keys(sweep)
    varied = {key: job.values[key] for key in [*sweep.keys, *REPEATED] if key in job.values}
    values = {k: as_text(v) if k in as_words and not isinstance(v, str) else v for k, v in varied.items()}
    started = _seconds(job.record.get("started"))
    summaries = [(0, summary_v2.hparams_pb(values, f"{job.number} of {sweep.folder.name}", started))]
    if job.status in ENDED_WELL:
        step = int((job.record.get("best") or {}).get("step") or 0)
        for tag, value in final_metrics(sweep, job).items():
            summaries.append((step, Summary(value=[Summary.Value(tag=tag, simple_value=value)])))
    ended = job.status not in ("running", "not_run")
    if ended:
        status = api_pb2.STATUS_SUCCESS if job.status in ENDED_WELL else api_pb2.STATUS_FAILURE
        end_info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=_seconds(job.record.get("finished")))
        data = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end_info))
        end = Summary()
        end.value.add(tag=metadata.SESSION_END_INFO_TAG, metadata=data, tensor=metadata.NULL_TENSOR)
        summaries.append((0, end))

    folder = event_folder(sweep.job_folder(job))
    previous = list(folder.glob(f"*{SUFFIX}"))
    own = sorted(path for path in folder.glob("events.out.tfevents.*") if path not in previous)
    # the run's own file, when nobody writes it any more
    file = EventFile(folder, own[-1]) if own and ended else EventFile(folder, suffix=SUFFIX)
    for step, summary in summaries:
        file.add(summary, step)
    file.save()
    for path in previous:  # TensorBoard believes the first session end it reads
        path.unlink(missing_ok=True)


def write_sessions(sweep: Sweep) -> None:
    """Write the sessions of ended runs that have none: the sweep was killed between a run's end and that."""
    for job in sweep.jobs:
        files = event_folder(sweep.job_folder(job)).glob("events.out.tfevents.*") if job.ended else ()
        if (found := list(files)) and not any(b"_hparams_/session_end_info" in path.read_bytes() for path in found):
            write_session(sweep, job)


def write_means(board: Leaderboard) -> None:
    """Show the mean curves of the best settings over their seeds, with a band of ± one std, as entries of their own.

    On the Scalars page they lie over the runs' curves; on Custom Scalars each quantity has a chart with the bands.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    from gradloop.sweeps.results.curves import mean_curves

    root = board.sweep.folder / MEANS
    shutil.rmtree(root, ignore_errors=True)
    for place, row in enumerate([row for row in board.rows if len(row.jobs) > 1][:BEST], start=1):
        history = read_history(board.sweep.job_folder((measured(row.jobs) or row.jobs)[0]))
        steps = collections.defaultdict(int, {line["epoch"]: int(line.get("step", 0)) for line in history})
        curves = {tag(name): curve for name, curve in mean_curves(board, row).items()}
        if not curves:
            continue
        file = EventFile(root / (f"{place} {label(row.setting)}".strip()))
        charts = []
        for name, curve in sorted(curves.items()):
            for epoch, mean, std, _ in curve:
                ends = {name: mean, f"spread/{name}/low": mean - std, f"spread/{name}/high": mean + std}
                values = [Summary.Value(tag=tag_, simple_value=float(value)) for tag_, value in ends.items()]
                file.add(Summary(value=values), steps[epoch])
            series = layout_pb2.MarginChartContent.Series(
                value=name, lower=f"spread/{name}/low", upper=f"spread/{name}/high"
            )
            charts.append(layout_pb2.Chart(title=name, margin=layout_pb2.MarginChartContent(series=[series])))
        category = layout_pb2.Category(title=f"mean over {board.repetitions}, band ± one std", chart=charts)
        content = TensorProto(
            dtype=DT_STRING, string_val=[layout_pb2.Layout(category=[category]).SerializeToString()]
        )
        layout = Summary()
        layout.value.add(tag=metadata.CONFIG_SUMMARY_TAG, tensor=content, metadata=metadata.create_summary_metadata())
        file.add(layout)
        file.save()


def final_metrics(sweep: Sweep, job: Job) -> dict[str, float]:
    """The monitored metric at its best epoch, as `best/val/accuracy`, then every test metric in the record."""
    names = sorted(name for name in job.record.get("metrics") or {} if name.startswith(TESTED))
    found = {name: job.value(name) for name in names}
    if sweep.metric:
        found = {f"best/{sweep.metric}": job.value(sweep.metric), **found}
    return {name: value for name, value in found.items() if value is not None}


def _seconds(stamp: Any) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (TypeError, ValueError):
        return time.time()
