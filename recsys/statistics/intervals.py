"""Bootstrap intervals of means. The unit of the resamples is the user, the session or the item."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import scipy.special

from recsys.errors import one_of
from recsys.statistics.units import numbered_units, unit_sums

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
    """Return the method that "auto" takes for n units, such as users.

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
    *,
    unit: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a bootstrap interval of the mean over rows of each column.

    Units, such as users, are drawn with replacement. A unit with several rows is drawn with all of
    them, as they are alike: the mean of a resample is the sum of the values of the drawn units over
    the number of their rows. So the interval is as wide as the units differ (the cluster bootstrap:
    Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).

    One set of resamples serves all columns: a resample is a vector of counts over units, and a
    chunk of such vectors times the sums of the units is one matrix product. NaN marks a row for
    which a metric is not defined; the mean of that metric leaves the row out.

    Args:
        values: float [n, M], one row per query or user; or [n] for one column.
        level: coverage.
        resamples: number of resamples.
        seed: of the resamples.
        method: "percentile" (Efron 1979), "bca" (bias-corrected and accelerated, Efron 1987),
            "normal" (mean +- z se, without resamples), or "auto", see `interval_method`.
        unit: unit of each row, int [n]; None: each row is a unit.

    Returns:
        Lower and upper bounds, float64 [M] each, 0-dimensional for [n]. NaN for fewer than two
        units with a value, as one unit tells nothing about the spread.

    Raises:
        InputError: an unknown method.
        ValueError: there is not one unit for each row.
    """
    one_of(method, get_args(Interval), "method")
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim == 1:
        low, high = bootstrap(matrix[:, None], level, resamples, seed, method, unit=unit)
        return low[0], high[0]
    if not matrix.shape[1]:
        return np.empty(0), np.empty(0)
    defined = ~np.isnan(matrix)
    counts = defined.sum(0)
    mean = np.where(defined, matrix, 0.0).sum(0) / np.maximum(counts, 1)
    # Deviations are resampled, so that a constant column keeps its exact value.
    centred = np.where(defined, matrix - mean, 0.0)
    totals, sizes = centred, defined
    if (code := numbered_units(unit, len(matrix))) is not None:
        totals, sizes = unit_sums(centred, code), unit_sums(defined, code)
    units = np.count_nonzero(sizes, axis=0)
    if method == "auto":
        method = interval_method(len(totals))
    tail = (1 - level) / 2
    if method == "normal" or len(totals) < 2:
        se = np.sqrt((totals**2).sum(0) / np.maximum(units - 1, 1) / np.maximum(units, 1))
        # Of a ratio of sums, by the delta method; the factor is 1 with one row per unit.
        se *= units / np.maximum(counts, 1)
        z = scipy.special.ndtri(1 - tail)
        low, high = mean - z * se, mean + z * se
    else:
        means = _resampled(totals, sizes, resamples, seed)
        bounds = _bounds(means, totals, sizes, tail, method)
        # A mean of resampled values lies among them; rounding must not move it outside, for
        # example to -0.0 if all values are 0 or more.
        least = np.where(defined, matrix, np.inf).min(0)
        most = np.where(defined, matrix, -np.inf).max(0)
        low, high = (np.clip(mean + bound, least, most) for bound in bounds)
    constant = np.abs(centred).max(axis=0, initial=0.0) <= 1e-15 * np.abs(mean)
    low, high = np.where(constant, mean, low), np.where(constant, mean, high)
    return np.where(units < 2, np.nan, low), np.where(units < 2, np.nan, high)


def _resampled(totals: np.ndarray, sizes: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the means of the resampled columns, float64 [resamples, M].

    NaN where a resample holds no row with a value.

    Args:
        totals: sums of the deviations from the mean, float [U, M]; 0 without a value.
        sizes: number of values of each unit, bool or float [U, M].
        resamples: number of resamples.
        seed: of the resamples.
    """
    n, columns = totals.shape
    generator = np.random.default_rng(seed)
    is_single = bool((sizes == 1).all())
    stacked = totals if is_single else np.concatenate([totals, sizes.astype(np.float64)], axis=1)
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
    if is_single:
        return sums / n
    rows = sums[:, columns:]
    means = np.full((resamples, columns), np.nan)
    return np.asarray(np.divide(sums[:, :columns], rows, out=means, where=rows > 0))


def _bounds(
    means: np.ndarray, totals: np.ndarray, sizes: np.ndarray, tail: float, method: Interval
) -> np.ndarray:
    """Return lower and upper bounds of the deviations from the mean, float64 [2, M].

    Args:
        means: of the resampled deviations, float [resamples, M].
        totals: sums of the deviations, float [U, M].
        sizes: number of values of each unit, bool or float [U, M].
        tail: probability of each tail.
        method: "bca" or "percentile".
    """
    if method == "bca":
        tails = (tail, 1 - tail)
        columns = range(means.shape[1])
        each = [_bca(means[:, j], totals[sizes[:, j] > 0, j], tails) for j in columns]
        return np.stack(each, axis=1)
    if sizes.any(0).all():
        return np.asarray(np.nanquantile(means, (tail, 1 - tail), axis=0))
    return np.stack([_quantiles(column, tail) for column in means.T], axis=1)


def _bca(means: np.ndarray, totals: np.ndarray, tails: tuple[float, float]) -> np.ndarray:
    """Return BCa quantiles of resampled means around an estimate of 0, float64 [2].

    The influence of a unit on the mean is its sum of deviations, up to a factor that cancels out.
    Source: Efron 1987.

    Args:
        means: of the resampled deviations, float [resamples].
        totals: sums of the deviations of the units with a value, float [U'].
        tails: probabilities of the two quantiles.
    """
    means = means[~np.isnan(means)]
    spread = (totals**2).sum()
    if not len(means) or spread == 0:
        return np.zeros(2)
    below = (np.count_nonzero(means < 0) + np.count_nonzero(means <= 0)) / (2 * len(means))
    bias = scipy.special.ndtri(below)
    if not np.isfinite(bias):
        return np.asarray(np.quantile(means, tails))
    acceleration = (totals**3).sum() / (6 * spread**1.5)
    z = bias + scipy.special.ndtri(tails)
    return np.asarray(np.quantile(means, scipy.special.ndtr(bias + z / (1 - acceleration * z))))


def _quantiles(means: np.ndarray, tail: float) -> np.ndarray:
    """Return the two quantiles of the values that are not NaN, float64 [2]; NaN without any."""
    known = means[~np.isnan(means)]
    return np.quantile(known, (tail, 1 - tail)) if len(known) else np.full(2, np.nan)
