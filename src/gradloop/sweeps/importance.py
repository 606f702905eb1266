"""Which of the varied keys moved the metric."""

from __future__ import annotations

import math
from typing import Any

from gradloop.sweeps.leaderboard import Leaderboard, Row
from gradloop.sweeps.sweep_folder import as_text

FEWEST = 6  # settings; with fewer, a share would say more than is known
TREES = 64


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def importance(board: Leaderboard) -> dict[str, float]:
    """Return the share of the metric's variance that each key explains, the largest first; {} where that is unknown.

    fANOVA (Hutter et al. 2014, An Efficient Approach for Assessing Hyperparameter Importance) by Optuna where it is
    installed, else the impurity importance of a random forest (Breiman 2001). Both see completed settings alone.
    """
    metric = board.sweep.metric or ""
    rows = [row for row in board.rows if metric and row.verdict != "pruned" and row.spreads[metric].mean is not None]
    values = [row.spreads[metric].mean or 0.0 for row in rows]
    if len(board.keys) < 2 or len(rows) < FEWEST or max(values) - min(values) <= 1e-12:
        return {}
    try:
        shares = _fanova(board.keys, rows, values)
    except ImportError:
        shares = _forest(board.keys, rows, values)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _fanova(keys: list[str], rows: list[Row], values: list[float]) -> dict[str, float]:
    import optuna
    from optuna import distributions
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space: dict[str, Any] = {}
    for key in keys:
        found = [row.setting[key] for row in rows]
        if all(map(is_number, found)):
            low, high = min(found), max(found)
            space[key] = distributions.FloatDistribution(low, high, log=low > 0 and high >= 10 * low)
        else:
            space[key] = distributions.CategoricalDistribution(sorted(set(map(as_text, found))))
    study = optuna.create_study()
    for row, value in zip(rows, values, strict=True):
        setting = {
            key: float(row.setting[key]) if isinstance(space[key], distributions.FloatDistribution)
            else as_text(row.setting[key]) for key in keys
        }  # fmt: skip
        study.add_trial(optuna.trial.create_trial(params=setting, distributions=space, value=value))
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0))
    return {key: float(found.get(key, 0.0)) for key in keys}


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
