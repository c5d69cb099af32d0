"""Rows that belong to units: a user, session or item with several queries is one draw, not many.

Values are per query. Queries of one unit are alike, so intervals and tests treat a unit as one
observation. The mean over queries is then a ratio of two sums over units: of values, and of
numbers of queries.
"""

from __future__ import annotations

import numpy as np

__all__ = ["linearised", "numbered_units", "unit_means", "unit_sums"]

_DENSE = 8  # units up to this many times the rows are numbered by counting


def numbered_units(unit: np.ndarray | None, n: int) -> np.ndarray | None:
    """Return the units of n rows as numbers from 0, int64 [n]; None if each row is a unit.

    Args:
        unit: unit of each row, int [n], any numbers; None: each row is a unit.
        n: number of rows.

    Raises:
        ValueError: there is not one unit for each row.
    """
    if unit is None:
        return None
    if unit.shape != (n,):
        raise ValueError(f"units have shape {unit.shape}, values have {n} rows")
    least = int(unit.min(initial=0))
    if int(unit.max(initial=0)) - least >= _DENSE * n:
        distinct, code = np.unique(unit, return_inverse=True)
        return None if len(distinct) == n else code
    # Rows of a vocabulary need no sort, which every test of a comparison would pay for.
    occurs = np.bincount(unit - least) > 0
    return None if np.count_nonzero(occurs) == n else (np.cumsum(occurs) - 1)[unit - least]


def unit_sums(values: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Return the sum of the rows of each unit, float64 [U] or [U, M].

    Args:
        values: [n] or [n, M].
        code: unit of each row, numbers from 0, int [n].
    """
    if values.ndim == 1:
        return np.bincount(code, weights=values)
    columns = range(values.shape[1])
    return np.stack([np.bincount(code, weights=values[:, j]) for j in columns], axis=1)


def unit_means(values: np.ndarray, unit: np.ndarray | None) -> np.ndarray:
    """Return the mean of each unit over its rows with a value, float64 [U]; NaN without any.

    Args:
        values: float [n].
        unit: unit of each row, int [n]; None: each row is a unit.

    Returns:
        Units in ascending order; `values` where each row is a unit.
    """
    code = numbered_units(unit, len(values))
    if code is None:
        return values
    defined = ~np.isnan(values)
    total = unit_sums(np.where(defined, values, 0.0), code)
    size = unit_sums(defined, code)
    return np.divide(total, size, out=np.full(len(total), np.nan), where=size > 0)


def linearised(values: np.ndarray, unit: np.ndarray | None) -> np.ndarray:
    """Return a value per unit; their mean is the mean over rows, and their spread is its error.

    z_u = m + (S_u - m n_u) / mean(n), where S_u is the sum of the n_u values of unit u, and m is
    the mean over all rows. Units are independent, so var(z) / U estimates the variance of m: the
    delta method for a ratio of two means. Sources: Cochran, Sampling Techniques, 1977, chapter 6;
    Deng, Knoblich & Lu, Applying the Delta Method in Metric Analytics, KDD 2018.

    Several samples of the same rows share m. The mean of z over units is then the own mean of each
    sample, and the difference of two methods is the same before and after.

    Args:
        values: without NaN, float [n], or [S, n] for several samples of the same rows.
        unit: unit of each row, int [n]; None: each row is a unit.

    Returns:
        float64 [U] or [S, U], units in ascending order; `values` where each row is a unit.
    """
    code = numbered_units(unit, values.shape[-1])
    if code is None or not values.size:
        return values
    mean, size = values.mean(), np.bincount(code)
    totals = unit_sums((values - mean).T, code).T
    return np.asarray(mean + totals / size.mean())
