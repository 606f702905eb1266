"""Which of the varied keys moved the metric."""

from __future__ import annotations

import math
from typing import Any

from gradloop.sweeps.results.leaderboard import Leaderboard, Row
from gradloop.sweeps.sweep_folder import as_text

FEWEST = 6  # settings; with fewer, a share would say more than is known
TREES = 64


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def importance(board: Leaderboard) -> dict[str, float]:
    """Return how much a forest that predicts the metric splits by each key, the most first; {} if it can't be told.

    The impurity importance of a random forest (Breiman 2001) over the completed settings. Shares add up to 1,
    whatever the metric hangs on: chance alone gives each key a part.
    """
    metric = board.sweep.metric or ""
    rows = [row for row in board.rows if metric and row.verdict != "pruned" and row.spreads[metric].mean is not None]
    values = [row.spreads[metric].mean or 0.0 for row in rows]
    if len(board.keys) < 2 or len(rows) < FEWEST or max(values) - min(values) <= 1e-12:
        return {}
    shares = _forest(board.keys, rows, values)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _forest(keys: list[str], rows: list[Row], values: list[float]) -> dict[str, float]:
    from sklearn.ensemble import RandomForestRegressor

    columns = []
    for key in keys:
        found = [row.setting[key] for row in rows]
        if all(map(is_number, found)):
            columns.append([math.log(v) if min(found) > 0 else float(v) for v in found])
        else:
            places = {text: float(k) for k, text in enumerate(sorted(set(map(as_text, found))))}
            columns.append([places[as_text(v)] for v in found])
    forest = RandomForestRegressor(n_estimators=TREES, random_state=0)
    forest.fit(list(zip(*columns, strict=True)), values)
    return dict(zip(keys, map(float, forest.feature_importances_), strict=True))
