"""How users differ: by activity and by the popularity of what they like, by how wide their taste is, and how far apart their vectors are.

The first two are means of a report by groups; the last two are one number per user, to group or to plot by.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch

from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.evaluation.evaluator import Report
from recsys.evaluation.metrics import GROUPS
from recsys.scorer import MultiFactors
from recsys.statistics.intervals import bootstrap

__all__ = ["by_activity", "by_popularity", "taste_width", "vector_spread"]

SCHEMA = {
    "group": pl.String,
    "metric": pl.String,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "users": pl.Int64,
}


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
        raise InputError(
            f"groups = {groups}: there must be at least one", remedy="use 4, for example"
        )
    rows_of = report.per_user["user"].to_numpy()
    met = np.diff(train.csr.indptr)[rows_of]
    bounds = (
        np.unique(np.quantile(met, np.arange(1, groups) / groups, method="lower"))
        if len(met)
        else np.empty(0)
    )
    group = np.searchsorted(bounds, met, side="left")  # up to and with each bound
    names = [name for name in report.names if name not in report.whole]
    values = (
        np.stack([report.values(name) for name in names], axis=1)
        if names
        else np.empty((len(met), 0))
    )
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
            raise InputError(
                "the report holds no recall by item popularity",
                remedy="evaluate with groups = true",
            )
        values = np.stack([report.values(name) for name in columns], axis=1)
        rows += _rows(group, [name.removesuffix(f"[{group}]") for name in columns], values)
    return _frame(rows)


def taste_width(pairs: Interactions, attributes: FeatureTable | np.ndarray) -> np.ndarray:
    """Div(i): the share of ordered pairs of a user's items that have no attribute in common, float64 [n_users].

    Source: Bao et al., NeurIPS 2022. Items are grouped by their set of attributes, so no pair of items is formed and the cost
    follows the number of distinct sets a user meets.

    Args:
        pairs: whose items; what occurs twice counts once.
        attributes: what is not 0 in a row of values is had by the item, as in a multi-hot table of genres; an item that is present and has none
            has nothing in common with any. Or one label per item, int [n_items], -1 where it is not known.

    Returns:
        0..1; NaN for a user with fewer than two items whose attributes are known.

    Raises:
        InputError: the table is of another number of items.
    """
    kind, sets = _sets(attributes)
    if len(kind) != pairs.n_items:
        raise InputError(
            f"attributes of {len(kind)} items, but the interactions have {pairs.n_items}",
            remedy="give those of the same data",
        )
    known = kind >= 0
    met = pairs.csr.tocoo()
    mine = known[met.col]
    counts = sp.csr_matrix(
        (np.ones(int(mine.sum())), (met.row[mine], kind[met.col[mine]])),
        shape=(pairs.n_users, sets.shape[0]),
    )  # how many of a user's items have which set; duplicates add up
    alike = sp.csr_matrix((sets @ sets.T) > 0, dtype=np.float64)
    n = np.asarray(counts.sum(1)).ravel()
    with_any = counts @ (np.diff(sets.indptr) > 0).astype(np.float64)
    common = (
        np.asarray((counts @ alike).multiply(counts).sum(1)).ravel() - with_any
    )  # an item and itself are no pair
    total = n * (n - 1)
    return np.asarray(1 - np.divide(common, total, out=np.full(len(n), np.nan), where=total > 0))


def vector_spread(scorer: MultiFactors) -> np.ndarray:
    """delta_i: half the mean squared distance of two vectors of a user, float64 [n_users]; NaN for a user with one vector.

    sum_ab |u_a - u_b|^2 / (2 C (C - 1)) over ordered pairs of the user's C vectors, which for vectors of unit length is 1 - their mean cosine.
    Source: Bao et al., NeurIPS 2022, section 3.3 (`recsys.nn.diversity`, form "paper").
    """
    vectors = scorer.user.detach().double().cpu()
    valid = scorer.valid.cpu()
    n = valid.sum(1).double()
    inside = torch.where(valid[:, :, None], vectors, 0.0)
    # From the mean, whose squares cannot cancel: sum_ab |u_a - u_b|^2 = 2 C sum_a |u_a - mean|^2.
    off = torch.where(valid[:, :, None], vectors - (inside.sum(1) / n[:, None])[:, None], 0.0)
    spread = off.square().sum((1, 2)) / (n - 1)
    return np.where(n.numpy() > 1, spread.numpy(), np.nan)


def _sets(attributes: FeatureTable | np.ndarray) -> tuple[np.ndarray, sp.csr_matrix]:
    """Which set of attributes an item has, int [n_items], -1 where that is not known; and the sets, CSR [n_sets, n_attributes]."""
    if isinstance(attributes, FeatureTable):
        rows, number = np.unique(attributes.values != 0, axis=0, return_inverse=True)
        return np.where(attributes.present, number.ravel(), -1), sp.csr_matrix(
            rows, dtype=np.float64
        )
    labels, number = np.unique(attributes, return_inverse=True)
    return np.where(attributes >= 0, number, -1), sp.csr_matrix(sp.eye_array(len(labels)))


def _rows(group: str, names: list[str], values: np.ndarray) -> list[tuple[object, ...]]:
    low, high = bootstrap(values)
    counts = (~np.isnan(values)).sum(0)
    means = np.nansum(values, axis=0) / np.where(counts > 0, counts, np.nan)
    return [
        (group, name, float(means[j]), float(low[j]), float(high[j]), int(counts[j]))
        for j, name in enumerate(names)
    ]


def _frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(
        pl.col("mean", "low", "high").fill_nan(None)
    )
