"""Metrics of a report by the activity of the units and by item popularity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.evaluation.report import Report
from recsys.evaluation.slices import GROUPS, item_counts
from recsys.notebook import plural
from recsys.statistics.intervals import bootstrap

__all__ = ["by_activity", "by_popularity"]

SCHEMA = {
    "group": pl.String,
    "metric": pl.String,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "users": pl.Int64,
    "queries": pl.Int64,
}
Row = tuple[str, str, float, float, float, int, int]


def by_activity(report: Report, train: Interactions, groups: int = 4) -> pl.DataFrame:
    """Return every metric with values per query by the activity of the units.

    The activity of a user is the number of training items; that of an item the number of training
    users; that of a session, which has no training items, the number of its queries. Groups are
    quantiles of the activity. Units with the same activity are in the same group, so groups may
    differ in size, and there may be fewer than asked for.

    Args:
        report: the report.
        train: training interactions; not used for sessions.
        groups: number of quantile groups to aim at.

    Returns:
        Columns group ("3-7 items"), metric, mean, low, high (95 % interval), users (units for which
        the metric is defined), and queries if a unit has several; in order of activity; a missing
        interval is null.

    Raises:
        InputError: `groups` is below 1.
    """
    if groups < 1:
        raise InputError(f"groups must be at least 1, got {groups}", remedy="use 4, for example")
    units, row_of = np.unique(report.unit, return_inverse=True)
    if report.unit_name == "session":
        of_unit, noun = np.bincount(row_of), "query"
    elif report.unit_name == "item":
        of_unit, noun = item_counts(train.csr)[units], "user"
    else:
        of_unit, noun = np.diff(train.csr.indptr)[units], "item"
    activity, bounds = of_unit[row_of], np.empty(0)
    if len(activity):
        quantiles = np.arange(1, groups) / groups
        bounds = np.unique(np.quantile(of_unit, quantiles, method="lower"))
    group = np.searchsorted(bounds, activity, side="left")  # a bound belongs to the group below
    names = [name for name in report.names if name not in report.whole]
    values = _matrix(report, names)
    rows: list[Row] = []
    for code in np.unique(group):
        inside = group == code
        low, high = int(activity[inside].min()), int(activity[inside].max())
        span = f"{low}-{high}" if low < high else f"{low}"
        label = f"{span} {noun if span == '1' else plural(noun)}"
        rows += _rows(label, names, values[inside], report.unit[inside])
    return _frame(rows, report)


def by_popularity(report: Report) -> pl.DataFrame:
    """Return metrics by the popularity of the test items: head, mid and tail.

    Each group of items receives about a third of the training interactions, see
    `recsys.evaluation.slices.popularity_group`.

    Args:
        report: a report that was made with `groups = true`, or with a metric on all three slices,
            such as `recall@20[head]`, `recall@20[mid]` and `recall@20[tail]`.

    Returns:
        As `by_activity`; `users` are the units with a test item of the group.

    Raises:
        InputError: the report has no metric on all three groups.
    """
    first = f"[{GROUPS[0]}]"
    bases = [
        column.removesuffix(first)
        for column in report.per_user.columns
        if column.endswith(first)
        and all(f"{column.removesuffix(first)}[{group}]" in report.per_user for group in GROUPS)
    ]
    if not bases:
        raise InputError(
            "the report holds no recall by item popularity", remedy="evaluate with groups = true"
        )
    rows: list[Row] = []
    for group in GROUPS:
        values = _matrix(report, [f"{base}[{group}]" for base in bases])
        rows += _rows(group, bases, values, report.unit)
    return _frame(rows, report)


def _matrix(report: Report, names: Sequence[str]) -> np.ndarray:
    """Return the values per query of some metrics, float64 [n, metrics]."""
    if not names:
        return np.empty((len(report.per_user), 0))
    return np.stack([report.values(name) for name in names], axis=1)


def _rows(group: str, names: Sequence[str], values: np.ndarray, unit: np.ndarray) -> Iterator[Row]:
    """Yield a row per metric, for the queries of a group.

    Args:
        group: label of the group.
        names: of the metrics.
        values: float [n, metrics].
        unit: unit of each query, int [n].
    """
    low, high = bootstrap(values, unit=unit)
    known = ~np.isnan(values)
    counts = known.sum(0)
    means = np.nansum(values, axis=0) / np.where(counts > 0, counts, np.nan)
    for j, name in enumerate(names):
        bounds = float(low[j]), float(high[j])
        units = len(np.unique(unit[known[:, j]]))
        yield group, name, float(means[j]), *bounds, units, int(counts[j])


def _frame(rows: Sequence[Row], report: Report) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(
        pl.col("mean", "low", "high").fill_nan(None)
    )
    return frame if report.is_clustered else frame.drop("queries")
