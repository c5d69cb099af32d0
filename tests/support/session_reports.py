"""Reports of a synthetic test part whose sessions have several queries that are much alike."""

from __future__ import annotations

import numpy as np

from recsys.evaluation.query_rows import query_rows
from recsys.evaluation.report import Report


def session_units(sessions: int = 120, seed: int = 0) -> np.ndarray:
    """The session of each query, int [n]: sessions of 1 to about 15 queries, in no order."""
    rng = np.random.default_rng(seed)
    size = np.minimum(rng.geometric(0.25, size=sessions), 15)
    return rng.permutation(np.repeat(np.arange(sessions), size))


def session_report(
    seed: int,
    better: float = 0.0,
    unit: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    **options,
) -> Report:
    """A report of sessions: long ones are harder, and queries of a session are much alike.

    `kept` are the positions of the queries that were evaluated. `recall@5` has three popularity
    groups, and is not defined for some queries of each; `coverage@5` has one number.
    """
    unit = session_units() if unit is None else unit
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(99).random(unit.max() + 1) / np.bincount(unit) ** 0.5
    own = 0.1 * rng.normal(size=unit.max() + 1)
    values = {"ndcg@5": base[unit] + own[unit] + 0.02 * rng.normal(size=len(unit)) + better}
    group = np.random.default_rng(98).integers(0, 3, size=len(unit))
    values["recall@5"] = np.round(values["ndcg@5"], 1)
    for number, name in enumerate(("head", "mid", "tail")):
        values[f"recall@5[{name}]"] = np.where(group == number, values["recall@5"], np.nan)
    rows = np.arange(len(unit)) if kept is None else kept
    options = {"protocol": "all candidates", "unit_name": "session", "seconds": 2.0} | options
    return Report(
        per_user=query_rows(unit[rows], {k: v[rows] for k, v in values.items()}, rows),
        whole={"coverage@5": float(rng.random())},
        names=("ndcg@5", "recall@5", "recall@5[tail]", "coverage@5"),
        n_users=len(np.unique(unit[rows])),
        **options,
    )
