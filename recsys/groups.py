"""Means by groups: how users of different activity, and items of different popularity, are served."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.evaluation import Report
from recsys.metrics import GROUPS
from recsys.statistics import bootstrap

__all__ = ["by_activity", "by_popularity"]

SCHEMA = {"group": pl.String, "metric": pl.String, "mean": pl.Float64, "low": pl.Float64, "high": pl.Float64, "users": pl.Int64}


def by_activity(report: Report, train: Interactions, groups: int = 4) -> pl.DataFrame:
    """Every per-user metric by how many training items the user has.

    Groups are quantiles of the test users' numbers of training items; users of one number stay together, so groups may differ in size and there
    may be fewer of them.

    Args:
        groups: how many quantile groups to aim at.

    Returns:
        group ("3-7 items"), metric, mean, low, high (95 %), users who count, in order of activity; null where there is no interval.
    """
    if groups < 1:
        raise InputError(f"groups = {groups}: there must be at least one", remedy="use 4, for example")
    rows_of = report.per_user["user"].to_numpy()
    met = np.diff(train.csr.indptr)[rows_of]
    bounds = np.unique(np.quantile(met, np.arange(1, groups) / groups, method="lower")) if len(met) else np.empty(0)
    group = np.searchsorted(bounds, met, side="left")  # up to and with each bound
    names = [name for name in report.names if name not in report.whole]
    values = np.stack([report.values(name) for name in names], axis=1) if names else np.empty((len(met), 0))
    rows: list[tuple[object, ...]] = []
    for code in np.unique(group):
        inside = group == code
        low, high = int(met[inside].min()), int(met[inside].max())
        label = f"{low}-{high} items" if low < high else f"{low} item" + ("" if low == 1 else "s")
        rows += _rows(label, names, values[inside])
    return _frame(rows)


def by_popularity(report: Report) -> pl.DataFrame:
    """Recall by the popularity of the test item: head, mid and tail, a third of the training interactions each.

    Returns:
        as `by_activity`; users are those with a test item of the group.

    Raises:
        InputError: the report was made without `groups = true`.
    """
    rows: list[tuple[object, ...]] = []
    for group in GROUPS:
        columns = [name for name in report.per_user.columns if name.endswith(f"[{group}]")]
        if not columns:
            raise InputError("the report holds no recall by item popularity", remedy="evaluate with groups = true")
        values = np.stack([report.values(name) for name in columns], axis=1)
        rows += _rows(group, [name.removesuffix(f"[{group}]") for name in columns], values)
    return _frame(rows)


def _rows(group: str, names: list[str], values: np.ndarray) -> list[tuple[object, ...]]:
    low, high = bootstrap(values)
    counts = (~np.isnan(values)).sum(0)
    means = np.nansum(values, axis=0) / np.where(counts > 0, counts, np.nan)
    return [(group, name, float(means[j]), float(low[j]), float(high[j]), int(counts[j])) for j, name in enumerate(names)]


def _frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(pl.col("mean", "low", "high").fill_nan(None))
