"""Paired tests of two methods on the same units, effect sizes, and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.stats takes 0.6 s to import, and scipy imports it on first use

from recsys.statistics.intervals import bootstrap
from recsys.statistics.units import linearised, numbered_units, unit_means

__all__ = ["Paired", "cliffs_delta", "holm", "paired"]

_DIGITS = 12  # of the mean difference of a unit; the rest is rounding


@dataclass(frozen=True)
class Paired:
    """Two methods on the same units; a difference is the first minus the second.

    A unit is a user, a session or an item, with one row each, or with several.

    Args:
        n: units for which both are defined.
        mean_a: mean of the first over the rows of those units.
        mean_b: mean of the second.
        difference: mean of the differences over those rows.
        low: lower bound of the 95 % bootstrap interval of the difference; NaN with fewer than two
            units.
        high: upper bound.
        t: statistic of the paired t test; of units with several rows, of the linearised
            differences, see `recsys.statistics.units.linearised`.
        p_t: its two-sided p value.
        w: Wilcoxon signed-rank statistic of the means of the units; zero differences are dropped
            (Wilcoxon's rule).
        p_wilcoxon: its two-sided p value.
        d_z: Cohen's d for paired data, mean over standard deviation of the differences that the t
            test takes.
        rank_biserial: matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), -1 to 1
            (Kerby 2014), of the means of the units.
        cliff: Cliff's delta P(a > b) - P(a < b) of the two sets of means of the units, without the
            pairing.
        wins: units for which the first has the higher mean.
        losses: units for which the first has the lower mean.
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
    unit: np.ndarray | None = None,
) -> Paired:
    """Compare two methods unit by unit, such as user by user.

    Rows with a NaN in either are left out. With identical values, and with fewer than two units,
    p is 1 and the effect 0. A difference that is the same in every row has p_t 0 and an infinite
    d_z.

    The difference tested by the t test is the difference shown, that of the means over rows. The
    Wilcoxon test ranks the means of units, in which each unit weighs the same.

    Args:
        a: values of the first method, float [n].
        b: values of the second method for the same rows in the same order, float [n].
        level: coverage of the interval.
        resamples: number of bootstrap resamples.
        seed: of the resamples.
        interval: of the difference, if one `bootstrap` already served many pairs.
        unit: unit of each row, int [n]; None: each row is a unit.

    Raises:
        ValueError: the shapes differ, or there is not one unit for each row.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"paired values must be two vectors of one length, not {a.shape} and {b.shape}"
        )
    both = ~(np.isnan(a) | np.isnan(b))
    code = numbered_units(unit, len(a))
    unit = None if code is None else code[both]
    a, b = a[both], b[both]
    if not len(a):
        nan = float("nan")
        return Paired(0, nan, nan, nan, nan, nan, nan, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0, 0)
    delta = a - b
    bounds = bootstrap(delta, level, resamples, seed, unit=unit) if interval is None else interval
    t, p_t, d_z = _t_test(linearised(delta, unit))
    means = _mean_differences(delta, unit)
    w, p_wilcoxon, rank_biserial = _wilcoxon_test(means)
    return Paired(
        n=len(means),
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=float(delta.mean()),
        low=float(bounds[0]),
        high=float(bounds[1]),
        t=t,
        p_t=p_t,
        w=w,
        p_wilcoxon=p_wilcoxon,
        d_z=d_z,
        rank_biserial=rank_biserial,
        cliff=cliffs_delta(unit_means(a, unit), unit_means(b, unit)),
        wins=int(np.count_nonzero(means > 0)),
        losses=int(np.count_nonzero(means < 0)),
    )


def _mean_differences(delta: np.ndarray, unit: np.ndarray | None) -> np.ndarray:
    """Return the mean difference of each unit, float64 [U]; `delta` where each row is a unit.

    A mean of several rows is rounded: 0.1 - 0.3 + 0.2 is a tie and not a win by 3e-17.
    """
    means = unit_means(delta, unit)
    scale = float(np.abs(delta).max())
    if means is delta or scale == 0:
        return means
    return np.round(means / scale, _DIGITS) * scale


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
