"""Intervals, paired tests and corrections over per-user values.

The user is the unit: a mean over users gets a bootstrap interval over users, and two methods are compared on the users they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy.stats

from recsys.errors import one_of

__all__ = [
    "Interval",
    "Paired",
    "Seeds",
    "bootstrap",
    "cliffs_delta",
    "holm",
    "interval_method",
    "over_seeds",
    "paired",
]

Interval = Literal["auto", "percentile", "bca", "normal"]

SMALL = 1_000  # up to here the bias-corrected interval is worth its jackknife
LARGE = 200_000  # from here on the bootstrap of a mean equals the normal interval to three digits and costs minutes
CHUNK_BYTES = 32 << 20


def interval_method(n: int) -> Interval:
    """What `bootstrap` does with n users when left to choose: bca up to 1,000, percentile up to 200,000, normal beyond."""
    if n <= SMALL:
        return "bca"
    return "percentile" if n <= LARGE else "normal"


def bootstrap(
    values: np.ndarray,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Interval = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval over users of the mean of each column.

    One set of resamples serves all columns: a resample is a vector of counts over users, and a chunk of such vectors times the
    values is one matrix product. A NaN is a user for whom that metric is not defined; he is left out of that mean only.

    Args:
        values: float [U, M], one row per user; or [U].
        level: coverage.
        resamples: bootstrap resamples.
        seed: the same seed gives the same interval.
        method: "percentile" (Efron 1979), "bca" (bias-corrected and accelerated, Efron 1987), "normal" (mean +- z se, no resampling),
            or "auto", see `interval_method`.

    Returns:
        low, high: float64 [M] (0-dimensional for one column given as [U]). NaN where fewer than two users are defined: one user says nothing
        about the spread.
    """
    one_of(method, get_args(Interval), "method")
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim == 1:
        low, high = bootstrap(matrix[:, None], level, resamples, seed, method)
        return low[0], high[0]
    n, columns = matrix.shape
    if not columns:
        return np.empty(0), np.empty(0)
    defined = ~np.isnan(matrix)
    counts = defined.sum(0)
    filled = np.where(defined, matrix, 0.0)
    mean = filled.sum(0) / np.maximum(counts, 1)
    centred = np.where(
        defined, matrix - mean, 0.0
    )  # resampling the deviations keeps constant columns exactly constant
    chosen = interval_method(n) if method == "auto" else method
    tail = (1 - level) / 2
    if chosen == "normal" or n < 2:
        se = np.sqrt((centred**2).sum(0) / np.maximum(counts - 1, 1) / np.maximum(counts, 1))
        z = scipy.stats.norm.ppf(1 - tail)
        low, high = mean - z * se, mean + z * se
    else:
        means = _resampled(centred, defined, resamples, seed)
        if chosen == "bca":
            bounds = np.stack(
                [
                    _bca(means[:, j], centred[defined[:, j], j], (tail, 1 - tail))
                    for j in range(columns)
                ],
                axis=1,
            ).reshape(2, columns)
        else:
            bounds = (
                np.nanquantile(means, (tail, 1 - tail), axis=0)
                if counts.all()
                else np.stack([_quantiles(m, tail) for m in means.T], axis=1)
            )
        # A mean of values that were drawn lies among them; rounding must not take it out, as to -0.0 where all are 0 or more.
        least, most = (
            np.where(defined, matrix, np.inf).min(0),
            np.where(defined, matrix, -np.inf).max(0),
        )
        low, high = (np.clip(mean + bound, least, most) for bound in bounds)
    constant = np.abs(centred).max(axis=0, initial=0.0) <= 1e-15 * np.abs(mean)
    low, high = np.where(constant, mean, low), np.where(constant, mean, high)
    return np.where(counts < 2, np.nan, low), np.where(counts < 2, np.nan, high)


def _resampled(centred: np.ndarray, defined: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of the resampled columns [resamples, M]; NaN where a resample drew no defined user."""
    n = len(centred)
    generator = np.random.default_rng(seed)
    whole = bool(defined.all())
    stacked = centred if whole else np.concatenate([centred, defined.astype(np.float64)], axis=1)
    chunk = max(1, min(resamples, CHUNK_BYTES // (8 * n)))
    parts = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        weights = np.empty((size, n))
        for row in range(
            size
        ):  # n draws and a count are 5 x faster than one multinomial over n categories
            weights[row] = np.bincount(
                generator.integers(0, n, size=n, dtype=np.int32), minlength=n
            )
        parts.append(weights @ stacked)
    sums = np.concatenate(parts)
    if whole:
        return sums / n
    columns = centred.shape[1]
    drawn = sums[:, columns:]
    return np.asarray(
        np.divide(
            sums[:, :columns], drawn, out=np.full((resamples, columns), np.nan), where=drawn > 0
        )
    )


def _bca(means: np.ndarray, centred: np.ndarray, tails: tuple[float, float]) -> np.ndarray:
    """BCa quantiles [2] of resampled means around an estimate of 0 (Efron 1987); the jackknife of a mean is in closed form."""
    means = means[~np.isnan(means)]
    spread = (centred**2).sum()
    if not len(means) or spread == 0:
        return np.zeros(2)
    below = (np.count_nonzero(means < 0) + np.count_nonzero(means <= 0)) / (2 * len(means))
    bias = scipy.stats.norm.ppf(below)
    if not np.isfinite(bias):
        return np.asarray(np.quantile(means, tails))
    acceleration = (centred**3).sum() / (6 * spread**1.5)
    z = bias + scipy.stats.norm.ppf(tails)
    return np.asarray(np.quantile(means, scipy.stats.norm.cdf(bias + z / (1 - acceleration * z))))


def _quantiles(means: np.ndarray, tail: float) -> np.ndarray:
    known = means[~np.isnan(means)]
    return np.quantile(known, (tail, 1 - tail)) if len(known) else np.full(2, np.nan)


@dataclass(frozen=True)
class Paired:
    """Two methods on the same users; a difference is first minus second.

    Args:
        n: users for whom both are defined.
        mean_a, mean_b, difference: means over those users.
        low, high: 95 % bootstrap interval of the difference; NaN with fewer than two users.
        t, p_t: paired t test, two-sided.
        w, p_wilcoxon: Wilcoxon signed-rank statistic and two-sided p; zero differences are dropped (Wilcoxon's rule).
        d_z: Cohen's d for paired data, mean over standard deviation of the differences.
        rank_biserial: matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), -1 to 1 (Kerby 2014).
        cliff: Cliff's delta P(a > b) - P(a < b) of the two sets of values, ignoring the pairing.
        wins, losses: users for whom the first is better, worse.
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

    Users for whom either value is NaN are left out. Where nothing can be told - identical values, fewer than two users - p is 1 and the
    effect 0; a difference that is the same for every user has p_t 0 and an infinite d_z.

    Args:
        a, b: float [U], the same users in the same order.
        interval: of the difference, where one `bootstrap` served many pairs already.

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
    n = len(a)
    if n == 0:
        nan = float("nan")
        return Paired(0, nan, nan, nan, nan, nan, nan, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0, 0)
    delta = a - b
    mean = float(delta.mean())
    low, high = bootstrap(delta, level, resamples, seed) if interval is None else interval
    t, p_t, d_z = _t(delta)
    w, p_w, biserial = _wilcoxon(delta)
    wins, losses = int(np.count_nonzero(delta > 0)), int(np.count_nonzero(delta < 0))
    return Paired(
        n,
        float(a.mean()),
        float(b.mean()),
        mean,
        float(low),
        float(high),
        t,
        p_t,
        w,
        p_w,
        d_z,
        biserial,
        cliffs_delta(a, b),
        wins,
        losses,
    )


def _t(delta: np.ndarray) -> tuple[float, float, float]:
    """t, two-sided p, Cohen's d_z."""
    n, mean = len(delta), float(delta.mean())
    if n < 2 or not delta.any():
        return float("nan"), 1.0, 0.0
    sd = float(delta.std(ddof=1))
    if sd <= 1e-14 * abs(mean):  # the same difference everywhere, but for rounding
        return float(np.copysign(np.inf, mean)), 0.0, float(np.copysign(np.inf, mean))
    t = mean / (sd / np.sqrt(n))
    return float(t), float(2 * scipy.stats.t.sf(abs(t), n - 1)), mean / sd


def _wilcoxon(delta: np.ndarray) -> tuple[float, float, float]:
    """Signed-rank statistic, two-sided p, rank-biserial correlation."""
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
    """P(a > b) - P(a < b) over all pairs of values (Cliff 1993), by sorting: O(n log n) instead of n^2. 0 for empty input."""
    if not len(a) or not len(b):
        return 0.0
    ordered = np.sort(b)
    greater = np.searchsorted(ordered, a, side="left").sum(dtype=np.float64)
    less = (len(b) - np.searchsorted(ordered, a, side="right")).sum(dtype=np.float64)
    return float((greater - less) / (len(a) * len(b)))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p values (Holm 1979), float64 [m]; family-wise error under any dependence. NaN stays NaN and is not counted."""
    raw = np.asarray(p, dtype=np.float64)
    adjusted = np.full(raw.shape, np.nan)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    steps = raw[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


@dataclass(frozen=True)
class Seeds:
    """A metric over several training seeds and the same users, its variance taken apart.

    Args:
        mean: over seeds and users.
        low, high: interval of the mean with both sources of chance in it; NaN with one seed.
        se: its standard error.
        seed_sd, user_sd, residual_sd: standard deviations between seeds, between users, and of what is left.
        per_seed: mean over users for each seed [S].
    """

    mean: float
    low: float
    high: float
    se: float
    seed_sd: float
    user_sd: float
    residual_sd: float
    per_seed: tuple[float, ...]


def over_seeds(values: np.ndarray, level: float = 0.95) -> Seeds:
    """Two-way random-effects analysis of variance: value[s, u] = mean + seed_s + user_u + residual.

    An interval over the users of one run says nothing about another seed; averaging S seeds and pretending S * U independent users is too
    narrow. Here var(mean) = seed^2 / S + user^2 / U + residual^2 / (S U), the components from the mean squares (Searle, Casella & McCulloch,
    Variance Components, chapter 4; negative estimates are set to 0), and t quantiles with Satterthwaite's degrees of freedom.

    Args:
        values: float [S, U]; users with a NaN in any seed are left out.

    Raises:
        ValueError: not a matrix.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"values must be [seeds, users], not of shape {matrix.shape}")
    matrix = matrix[:, ~np.isnan(matrix).any(0)]
    seeds, users = matrix.shape
    nan = float("nan")
    if not users or not seeds:
        return Seeds(nan, nan, nan, nan, nan, nan, nan, ())
    mean = float(matrix.mean())
    per_seed, per_user = matrix.mean(1), matrix.mean(0)
    listed = tuple(float(v) for v in per_seed)
    if seeds < 2 or users < 2:
        return Seeds(
            mean, nan, nan, nan, nan, float(per_user.std(ddof=1)) if users > 1 else nan, nan, listed
        )
    residual = matrix - per_seed[:, None] - per_user[None, :] + mean
    freedom = np.array([seeds - 1, users - 1, (seeds - 1) * (users - 1)], dtype=np.float64)
    squares = (
        np.array(
            [
                users * ((per_seed - mean) ** 2).sum(),
                seeds * ((per_user - mean) ** 2).sum(),
                (residual**2).sum(),
            ]
        )
        / freedom
    )
    seed_var, user_var = (
        max(0.0, (squares[0] - squares[2]) / users),
        max(0.0, (squares[1] - squares[2]) / seeds),
    )
    variance = seed_var / seeds + user_var / users + squares[2] / (seeds * users)
    se = float(np.sqrt(variance))
    among = np.array([seed_var > 0, user_var > 0], dtype=np.float64)
    terms = (
        squares * np.append(among, 1 - among.sum()) / (seeds * users)
    )  # they add up to the variance
    spread = float((terms**2 / freedom).sum())
    quantile = scipy.stats.t.ppf(0.5 + level / 2, variance**2 / spread) if spread > 0 else 0.0
    half = float(quantile) * se
    return Seeds(
        mean,
        mean - half,
        mean + half,
        se,
        float(np.sqrt(seed_var)),
        float(np.sqrt(user_var)),
        float(np.sqrt(squares[2])),
        listed,
    )
