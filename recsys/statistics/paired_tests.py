"""Paired tests of two methods on the same users, effect sizes, and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from recsys.statistics.intervals import bootstrap

__all__ = ["Paired", "cliffs_delta", "holm", "paired"]


@dataclass(frozen=True)
class Paired:
    """Two methods on the same users; a difference is the first minus the second.

    Args:
        n: users for whom both are defined.
        mean_a: mean of the first over those users.
        mean_b: mean of the second.
        difference: mean of the differences.
        low: lower bound of the 95 % bootstrap interval of the difference; NaN with fewer than two
            users.
        high: upper bound.
        t: statistic of the paired t test.
        p_t: its two-sided p value.
        w: Wilcoxon signed-rank statistic; zero differences are dropped (Wilcoxon's rule).
        p_wilcoxon: its two-sided p value.
        d_z: Cohen's d for paired data, mean over standard deviation of the differences.
        rank_biserial: matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), -1 to 1
            (Kerby 2014).
        cliff: Cliff's delta P(a > b) - P(a < b) of the two sets of values, without the pairing.
        wins: users for whom the first is better.
        losses: users for whom the first is worse.
    """

    n: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    t: float
    p_t: float
    w: float
    p_wilcoxon: float
    d_z: float
    rank_biserial: float
    cliff: float
    wins: int
    losses: int


def paired(
    a: np.ndarray,
    b: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    interval: tuple[float, float] | None = None,
) -> Paired:
    """Compare two methods user by user.

    Users with a NaN in either are left out. With identical values, and with fewer than two users,
    p is 1 and the effect 0. A difference that is the same for every user has p_t 0 and an infinite
    d_z.

    Args:
        a: values of the first method, float [U].
        b: values of the second method for the same users in the same order, float [U].
        level: coverage of the interval.
        resamples: number of bootstrap resamples.
        seed: of the resamples.
        interval: of the difference, if one `bootstrap` already served many pairs.

    Raises:
        ValueError: the shapes differ.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"paired values must be two vectors of one length, not {a.shape} and {b.shape}"
        )
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if not len(a):
        nan = float("nan")
        return Paired(0, nan, nan, nan, nan, nan, nan, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0, 0)
    delta = a - b
    low, high = bootstrap(delta, level, resamples, seed) if interval is None else interval
    t, p_t, d_z = _t_test(delta)
    w, p_wilcoxon, rank_biserial = _wilcoxon_test(delta)
    return Paired(
        n=len(a),
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=float(delta.mean()),
        low=float(low),
        high=float(high),
        t=t,
        p_t=p_t,
        w=w,
        p_wilcoxon=p_wilcoxon,
        d_z=d_z,
        rank_biserial=rank_biserial,
        cliff=cliffs_delta(a, b),
        wins=int(np.count_nonzero(delta > 0)),
        losses=int(np.count_nonzero(delta < 0)),
    )


def _t_test(delta: np.ndarray) -> tuple[float, float, float]:
    """Return the statistic of the t test, its two-sided p value, and Cohen's d_z."""
    n, mean = len(delta), float(delta.mean())
    if n < 2 or not delta.any():
        return float("nan"), 1.0, 0.0
    sd = float(delta.std(ddof=1))
    if sd <= 1e-14 * abs(mean):  # the same difference everywhere, up to rounding
        return float(np.copysign(np.inf, mean)), 0.0, float(np.copysign(np.inf, mean))
    t = mean / (sd / np.sqrt(n))
    return float(t), float(2 * scipy.stats.t.sf(abs(t), n - 1)), mean / sd


def _wilcoxon_test(delta: np.ndarray) -> tuple[float, float, float]:
    """Return the signed-rank statistic, its two-sided p value, and the rank-biserial correlation.

    The p value is exact up to 50 differences without ties, and asymptotic otherwise.
    """
    delta = delta[delta != 0]
    if not len(delta):
        return 0.0, 1.0, 0.0
    rank = scipy.stats.rankdata(np.abs(delta))
    plus, minus = float(rank[delta > 0].sum()), float(rank[delta < 0].sum())
    tied = len(np.unique(np.abs(delta))) < len(delta)
    method = "exact" if len(delta) <= 50 and not tied else "asymptotic"
    result = scipy.stats.wilcoxon(delta, zero_method="wilcox", correction=False, method=method)
    return min(plus, minus), float(result.pvalue), (plus - minus) / (plus + minus)


def cliffs_delta(a: np.ndarray, b: np.ndarray) -> float:
    """Return P(a > b) - P(a < b) over all pairs of values; 0 for empty input.

    Values are sorted, which costs O(n log n) instead of n^2. Source: Cliff 1993.

    Args:
        a: float [n].
        b: float [m].
    """
    if not len(a) or not len(b):
        return 0.0
    ordered = np.sort(b)
    greater = np.searchsorted(ordered, a, side="left").sum(dtype=np.float64)
    less = (len(b) - np.searchsorted(ordered, a, side="right")).sum(dtype=np.float64)
    return float((greater - less) / (len(a) * len(b)))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p values, float64 [m].

    They control the family-wise error under any dependence. NaN stays NaN and is not counted as a
    test. Source: Holm 1979.

    Args:
        p: unadjusted p values, float [m].
    """
    raw = np.asarray(p, dtype=np.float64)
    adjusted = np.full(raw.shape, np.nan)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    steps = raw[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
