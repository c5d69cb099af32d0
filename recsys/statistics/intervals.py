"""Bootstrap intervals over per-user values. The user is the unit of the resamples."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import scipy.stats

from recsys.errors import one_of

__all__ = ["Interval", "bootstrap", "defined_mean", "interval_method"]

Interval = Literal["auto", "percentile", "bca", "normal"]

SMALL = 1_000  # up to here the bias-corrected interval is worth its jackknife
LARGE = 200_000  # from here on the normal interval agrees to three digits and saves minutes
CHUNK_BYTES = 32 << 20  # of weights in memory at a time


def defined_mean(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN without any.

    Args:
        values: float, of any shape.
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def interval_method(n: int) -> Interval:
    """Return the method that "auto" takes for n users.

    "bca" up to 1,000 users, "percentile" up to 200,000, "normal" beyond.
    """
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
    """Return a bootstrap interval over users of the mean of each column.

    One set of resamples serves all columns: a resample is a vector of counts over users, and a
    chunk of such vectors times the values is one matrix product. NaN marks a user for whom a metric
    is not defined; the mean of that metric leaves the user out.

    Args:
        values: float [U, M], one row per user; or [U] for one column.
        level: coverage.
        resamples: number of resamples.
        seed: of the resamples.
        method: "percentile" (Efron 1979), "bca" (bias-corrected and accelerated, Efron 1987),
            "normal" (mean +- z se, without resamples), or "auto", see `interval_method`.

    Returns:
        Lower and upper bounds, float64 [M] each, 0-dimensional for [U]. NaN for fewer than two
        users with a value, as one user tells nothing about the spread.

    Raises:
        InputError: an unknown method.
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
    mean = np.where(defined, matrix, 0.0).sum(0) / np.maximum(counts, 1)
    # Deviations are resampled, so that a constant column keeps its exact value.
    centred = np.where(defined, matrix - mean, 0.0)
    if method == "auto":
        method = interval_method(n)
    tail = (1 - level) / 2
    if method == "normal" or n < 2:
        se = np.sqrt((centred**2).sum(0) / np.maximum(counts - 1, 1) / np.maximum(counts, 1))
        z = scipy.stats.norm.ppf(1 - tail)
        low, high = mean - z * se, mean + z * se
    else:
        means = _resampled(centred, defined, resamples, seed)
        bounds = _bounds(means, centred, defined, tail, method)
        # A mean of resampled values lies among them; rounding must not move it outside, for
        # example to -0.0 if all values are 0 or more.
        least = np.where(defined, matrix, np.inf).min(0)
        most = np.where(defined, matrix, -np.inf).max(0)
        low, high = (np.clip(mean + bound, least, most) for bound in bounds)
    constant = np.abs(centred).max(axis=0, initial=0.0) <= 1e-15 * np.abs(mean)
    low, high = np.where(constant, mean, low), np.where(constant, mean, high)
    return np.where(counts < 2, np.nan, low), np.where(counts < 2, np.nan, high)


def _resampled(centred: np.ndarray, defined: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the means of the resampled columns, float64 [resamples, M].

    NaN where a resample holds no user with a value.

    Args:
        centred: deviations from the mean, float [U, M]; 0 where not defined.
        defined: bool [U, M].
        resamples: number of resamples.
        seed: of the resamples.
    """
    n, columns = centred.shape
    generator = np.random.default_rng(seed)
    complete = bool(defined.all())
    stacked = centred if complete else np.concatenate([centred, defined.astype(np.float64)], axis=1)
    chunk = max(1, min(resamples, CHUNK_BYTES // (8 * n)))
    parts = []
    for start in range(0, resamples, chunk):
        weights = np.empty((min(chunk, resamples - start), n))
        # n draws and a count are five times faster than a multinomial over n categories.
        for row in range(len(weights)):
            drawn = generator.integers(0, n, size=n, dtype=np.int32)
            weights[row] = np.bincount(drawn, minlength=n)
        parts.append(weights @ stacked)
    sums = np.concatenate(parts)
    if complete:
        return sums / n
    users = sums[:, columns:]
    means = np.full((resamples, columns), np.nan)
    return np.asarray(np.divide(sums[:, :columns], users, out=means, where=users > 0))


def _bounds(
    means: np.ndarray, centred: np.ndarray, defined: np.ndarray, tail: float, method: Interval
) -> np.ndarray:
    """Return lower and upper bounds of the deviations from the mean, float64 [2, M].

    Args:
        means: of the resampled deviations, float [resamples, M].
        centred: deviations, float [U, M].
        defined: bool [U, M].
        tail: probability of each tail.
        method: "bca" or "percentile".
    """
    if method == "bca":
        tails = (tail, 1 - tail)
        columns = range(means.shape[1])
        each = [_bca(means[:, j], centred[defined[:, j], j], tails) for j in columns]
        return np.stack(each, axis=1)
    if defined.any(0).all():
        return np.asarray(np.nanquantile(means, (tail, 1 - tail), axis=0))
    return np.stack([_quantiles(column, tail) for column in means.T], axis=1)


def _bca(means: np.ndarray, centred: np.ndarray, tails: tuple[float, float]) -> np.ndarray:
    """Return BCa quantiles of resampled means around an estimate of 0, float64 [2].

    The jackknife of a mean is in closed form. Source: Efron 1987.

    Args:
        means: of the resampled deviations, float [resamples].
        centred: deviations of the users with a value, float [U'].
        tails: probabilities of the two quantiles.
    """
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
    """Return the two quantiles of the values that are not NaN, float64 [2]; NaN without any."""
    known = means[~np.isnan(means)]
    return np.quantile(known, (tail, 1 - tail)) if len(known) else np.full(2, np.nan)
