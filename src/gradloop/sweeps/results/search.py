"""How a search went: the best so far, what mattered, every setting as a line, and what a good value costs."""

from typing import Any

from gradloop.drawing import BLACK, BLUE, GREY, ORANGE
from gradloop.drawing.figures import as_png, new_figure, style
from gradloop.drawing.labels import fitted
from gradloop.runs.labels import show
from gradloop.sweeps.results.leaderboard import Leaderboard, Row, headline
from gradloop.sweeps.results.picture import PANELS, measured
from gradloop.sweeps.results.scales import Scale, log_spaced, scale_of

Point = tuple[float, float, Row]
NAMED = 5  # settings of the Pareto front that bear their names


@style()
def search_png(board: Leaderboard, shares: dict[str, float]) -> bytes:
    """Return the picture. shares: of the keys, by importance; {} where nothing can be said."""
    figure = new_figure(13, 8.6)
    (upper,), (lower,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[1, 1.25])
    figure.suptitle(headline(board), x=0.01, ha="left", fontweight="bold")
    measure, points = costs(board)
    several, each = len(board.sweep.objectives) > 1, [x for x, *_ in points]
    differ = bool(each) and max(each) > 1.01 * min(each)
    widths = [1.1, *([0.9] if shares else []), *([1.1] if several or differ else [])]
    first, *others = upper.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    _best_so_far(first, board)
    if shares:
        _importance(others[0], board, shares)
    if several:
        _objectives(others[-1], board)
    elif differ:
        _pareto(others[-1], board, measure, points)
    _parallel(lower.subplots(), board, sorted(board.keys, key=lambda key: -shares.get(key, 0.0))[:PANELS])
    return as_png(figure)


def _best_so_far(axes: Any, board: Leaderboard) -> None:
    from matplotlib.ticker import MaxNLocator

    metric, pick = board.sweep.metric or "", max if board.sweep.mode == "max" else min
    runs = [(job, job.value(metric)) for job in sorted(board.sweep.jobs, key=lambda job: job.number)]
    every = [(job.number, value, job.status) for job, value in runs if value is not None]
    completed = [(number, value) for number, value, status in every if status == "completed"]
    cut = [(number, value) for number, value, status in every if status != "completed"]
    if completed:
        numbers, reached = zip(*completed, strict=True)
        axes.plot(numbers, reached, "o", color=BLUE, ms=4, alpha=0.7, label="a run")
        tops = [pick(reached[: k + 1]) for k in range(len(reached))]
        end = max(number for number, *_ in every)
        axes.step([*numbers, end], [*tops, tops[-1]], where="post", color=ORANGE, lw=2.2, label="best so far")
    if cut:
        axes.plot(*zip(*cut, strict=True), "x", color=GREY, ms=5, label="pruned: where it stood")
    values = [value for _, value, _ in every]
    if board.sweep.mode == "min" and values and max(values) > 30 * min(values) > 0:
        axes.set_yscale("log")
        _few_ticks(axes.yaxis, max(values) / min(values))
    axes.set(xlabel="run", ylabel=metric)
    axes.set_title("best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, columnspacing=1.2)


def _few_ticks(axis: Any, ratio: float) -> None:
    """Let a logarithmic axis have a few numbers as one writes them. ratio: of the largest to the smallest."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 1000 else (1,), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _importance(axes: Any, board: Leaderboard, shares: dict[str, float]) -> None:
    axes.set_title("importance of the keys, chance included")
    names = [fitted(board.names[key], 1.4) for key in shares]
    places = list(range(len(shares)))[::-1]
    bars = axes.barh(places, list(shares.values()), color=BLUE, height=0.65)
    axes.bar_label(bars, [f"{100 * share:.0f} %" for share in shares.values()], padding=3)
    axes.set_yticks(places, names)
    axes.set(xlabel=f"share of a random forest's splits by {board.sweep.metric}", xlim=(0, 1.18))
    axes.grid(visible=False, axis="y")


def costs(board: Leaderboard) -> tuple[str, list[Point]]:
    """Return what a setting costs: its parameters, where these differ, else the time of its fit; and (cost, metric).

    Runs that were trained as one have equal shares of its time.
    """
    rows = [row for row in measured(board) if row.verdict != "pruned"]
    models = [row.jobs[0].record.get("model") or {} for row in rows]
    sizes = [float(model["parameters"]) for model in models if "parameters" in model]
    differ = len(sizes) == len(rows) and len(set(sizes)) > 1
    each, metric = sizes if differ else [row.seconds or 0.0 for row in rows], board.sweep.metric or ""
    points = [(x, row.spreads[metric].mean or 0.0, row) for x, row in zip(each, rows, strict=True) if differ or x]
    return "parameters" if differ else "fit time (s)", points


def _pareto(axes: Any, board: Leaderboard, measure: str, points: list[Point]) -> None:
    """The metric over what a setting costs, and which settings nothing cheaper beats."""
    sign = 1 if board.sweep.mode == "max" else -1
    points.sort(key=lambda point: (point[0], -sign * point[1]))
    front: list[Point] = []
    for point in points:
        if not front or sign * point[1] > sign * front[-1][1]:
            front.append(point)
    axes.set_title("what it costs (Pareto front)")
    axes.set(xlabel=measure, ylabel=board.sweep.metric)
    axes.plot([x for x, *_ in points], [y for _, y, _ in points], "o", color=GREY, ms=4, alpha=0.6)
    axes.step([x for x, *_ in front], [y for _, y, _ in front], where="post", color=BLUE, lw=1.6, marker="o")
    if points[0][0] > 0 and points[-1][0] > 10 * points[0][0]:
        axes.set_xscale("log")
        _few_ticks(axes.xaxis, points[-1][0] / points[0][0])
    reached = [y for _, y, _ in points]
    if sign < 0 and max(reached) > 30 * min(reached) > 0:  # as beside it
        axes.set_yscale("log")
        _few_ticks(axes.yaxis, max(reached) / min(reached))
    _name_front(axes, board, front[-NAMED:])


def _objectives(axes: Any, board: Leaderboard) -> None:
    """The first two objectives of every setting; on the front, those that no other beats in all objectives."""
    y, x = list(board.sweep.objectives)[:2]
    rows = [row for row in board.rows if None not in (row.spreads[x].mean, row.spreads[y].mean)]
    front = sorted((row for row in rows if row.front), key=lambda row: row.spreads[x].mean or 0.0)
    for shown, looks in ((rows, {"color": GREY, "alpha": 0.6, "s": 16}), (front, {"color": BLUE, "s": 30})):
        axes.scatter([r.spreads[x].mean for r in shown], [r.spreads[y].mean for r in shown], **looks)
    ways = [f"{metric} ({board.sweep.objectives[metric]})" for metric in (x, y)]
    axes.set_title("objectives (Pareto front in blue)")
    axes.set(xlabel=ways[0], ylabel=ways[1])
    _name_front(axes, board, [(row.spreads[x].mean or 0.0, row.spreads[y].mean or 0.0, row) for row in front[:NAMED]])


def _name_front(axes: Any, board: Leaderboard, points: list[Point]) -> None:
    """Number points of the front (x, y, setting), and say below the axis which settings these are."""
    names = [axes.get_xlabel()]
    for place, (x, y, row) in enumerate(points, start=1):
        axes.annotate(str(place), (x, y), (4, 5), textcoords="offset points", fontsize=9, fontweight="bold")
        names.append(fitted(f"{place}  {board.setting(row)}", 3.5, 8))
    axes.margins(y=0.12)
    axes.set_xlabel("\n".join(names), fontsize=8)


def _parallel(axes: Any, board: Leaderboard, keys: list[str]) -> None:
    """Every setting as a line through its values, the metric last; the better, the darker."""
    from matplotlib import colormaps

    metric, rows = board.sweep.metric or "", measured(board)
    means = [row.spreads[metric].mean or 0.0 for row in rows]
    kept = [mean for mean, row in zip(means, rows, strict=True) if row.verdict != "pruned"] or means
    scales = [scale_of([row.setting[key] for row in rows]) for key in keys]
    ends = {value: show(value) for value in (min(kept), max(kept))}
    last = Scale(board.sweep.mode == "min" and log_spaced(sorted(kept)), None, ends, False)
    colours, room = colormaps["viridis_r"], 10.5 / max(1, len(keys))
    for row, mean in reversed(list(zip(rows, means, strict=True))):  # the best on top
        inside = min(max(mean, min(kept)), max(kept))
        top = last.share(inside)
        ys = [*(scale.share(scale(row.setting[key])) for scale, key in zip(scales, keys, strict=True)), top]
        good = top if board.sweep.mode == "max" else 1 - top
        looks: dict[str, Any] = {"color": colours(0.1 + 0.9 * good), "lw": 1.3, "alpha": 0.75}
        if row.verdict == "pruned":
            looks = {"color": GREY, "lw": 0.9, "ls": ":", "alpha": 0.8}
        elif row is board.best:
            looks = {"color": ORANGE, "lw": 3.2, "zorder": 5}
        axes.plot(range(len(ys)), ys, **looks)
    for place, scale in enumerate([*scales, last]):
        axes.axvline(place, color=BLACK, lw=1)
        for at, name in scale.ticks.items():
            axes.annotate(
                fitted(name, 0.7 * room, 8), (place, scale.share(at)), (5, 0), va="center", fontsize=8, zorder=6,
                textcoords="offset points", bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.8},
            )  # fmt: skip
    names = [*(fitted(board.names[key], 0.95 * room) for key in keys), metric]
    axes.set_xticks(range(len(names)), names)
    axes.set(yticks=[], xlim=(-0.1, len(keys) + 0.25), ylim=(-0.06, 1.06))
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    more = "; pruned settings dotted" if any(row.verdict == "pruned" for row in rows) else ""
    more += f"; {len(keys)} of {len(board.keys)} keys" if len(keys) < len(board.keys) else ""
    axes.set_title(f"every setting through its values: the better the darker, the best orange{more}", fontsize=10)
