"""Metrics and differences of methods over several training seeds and the same users.

A user here is any unit: a user, a session or an item. Of a unit with several rows, such as
queries, the linearised value is taken, see `recsys.statistics.units.linearised`; its mean over
units is the mean over rows.

An interval or a paired test over the users of one run is about that run. Trained with another seed,
a method is another scorer, and the mean over a few seeds still holds a part of that variance. Here
the variance has both parts: that over users, paired, and that over seeds, which are independent
between methods and have no pairs.

Source of the variance components: Searle, Casella & McCulloch, Variance Components, chapter 4.
Negative estimates are set to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special

from recsys.statistics.units import linearised, numbered_units

__all__ = ["Gap", "Seeds", "gap", "over_seeds"]


@dataclass(frozen=True)
class Seeds:
    """A metric over several training seeds and the same users, with its variance components.

    Args:
        mean: over seeds and users, or rows where users have several.
        low: lower bound of the interval of the mean, over users and seeds; NaN with one seed.
        high: upper bound.
        se: standard error of the mean.
        seed_sd: standard deviation between seeds.
        user_sd: standard deviation between users.
        residual_sd: standard deviation of the rest.
        per_seed: mean of each seed over users, or rows, [S].
    """

    mean: float
    low: float
    high: float
    se: float
    seed_sd: float
    user_sd: float
    residual_sd: float
    per_seed: tuple[float, ...]


def over_seeds(values: np.ndarray, level: float = 0.95, *, unit: np.ndarray | None = None) -> Seeds:
    """Return the mean over seeds and users with its interval and variance components.

    Two-way random-effects analysis of variance: value[s, u] = mean + seed_s + user_u + residual.

    An interval over the users of one run does not cover another seed. To average S seeds and take
    them for S * U independent users is too narrow. Here
    var(mean) = seed^2 / S + user^2 / U + residual^2 / (S U), with the components from the mean
    squares and t quantiles with Satterthwaite's degrees of freedom.

    Args:
        values: float [S, n], a column per user or row; those with a NaN in any seed are left out.
        level: coverage of the interval.
        unit: user of each column, int [n]; None: each column is a user.

    Raises:
        ValueError: not a matrix, or there is not one unit for each column.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"values must be [seeds, users], not of shape {matrix.shape}")
    matrix = _of_units([matrix], unit)[0]
    seeds, users = matrix.shape
    nan = float("nan")
    if not users or not seeds:
        return Seeds(nan, nan, nan, nan, nan, nan, nan, ())
    mean = float(matrix.mean())
    per_seed, per_user = matrix.mean(1), matrix.mean(0)
    listed = tuple(float(value) for value in per_seed)
    if seeds < 2 or users < 2:
        user_sd = float(per_user.std(ddof=1)) if users > 1 else nan
        return Seeds(mean, nan, nan, nan, nan, user_sd, nan, listed)
    residual = matrix - per_seed[:, None] - per_user[None, :] + mean
    freedom = np.array([seeds - 1, users - 1, (seeds - 1) * (users - 1)], dtype=np.float64)
    sums = [
        users * ((per_seed - mean) ** 2).sum(),
        seeds * ((per_user - mean) ** 2).sum(),
        (residual**2).sum(),
    ]
    squares = np.array(sums) / freedom
    seed_var = max(0.0, (squares[0] - squares[2]) / users)
    user_var = max(0.0, (squares[1] - squares[2]) / seeds)
    variance = seed_var / seeds + user_var / users + squares[2] / (seeds * users)
    se = float(np.sqrt(variance))
    among = np.array([seed_var > 0, user_var > 0], dtype=np.float64)
    # The terms add up to the variance.
    terms = squares * np.append(among, 1 - among.sum()) / (seeds * users)
    spread = float((terms**2 / freedom).sum())
    quantile = scipy.special.stdtrit(variance**2 / spread, 0.5 + level / 2) if spread > 0 else 0.0
    half = float(quantile) * se
    return Seeds(
        mean=mean,
        low=mean - half,
        high=mean + half,
        se=se,
        seed_sd=float(np.sqrt(seed_var)),
        user_sd=float(np.sqrt(user_var)),
        residual_sd=float(np.sqrt(squares[2])),
        per_seed=listed,
    )


@dataclass(frozen=True)
class Gap:
    """The difference of two methods, the first minus the second, over seeds and users.

    Args:
        n: users for whom both are defined.
        difference: of the means over seeds and users.
        low: lower bound of its interval; NaN with fewer than two users.
        high: upper bound.
        se: its standard error.
        freedom: Satterthwaite's degrees of freedom of the standard error.
        p: two-sided p value of no difference.
        seed_share: share of the squared standard error that is due to the seeds, 0 to 1.
    """

    n: int
    difference: float
    low: float
    high: float
    se: float
    freedom: float
    p: float
    seed_share: float


def gap(
    first: np.ndarray,
    second: np.ndarray,
    level: float = 0.95,
    *,
    unit: np.ndarray | None = None,
) -> Gap:
    """Compare two methods over seeds and users.

    The model of each method is value[s, u] = mean + seed_s + user_u + residual, with the same
    users. d_u is the difference of the two means over seeds for a user. The variance of the mean
    difference has two parts. The first is var(d_u) / U, in which everything that all users of a
    seed share cancels out. The second is seed^2 / S of each method, with
    seed^2 = var(means of the seeds) - residual^2 / U by analysis of variance. The test is a t test
    with Satterthwaite's degrees of freedom.

    With one seed each it is the paired t test. A method with one seed adds nothing for its seeds,
    which is right if the seed has no effect, and otherwise too little.

    Args:
        first: values of the first method, float [S, n], a row per seed and a column per user or
            row of a user; columns with a NaN anywhere are left out.
        second: values of the second method for the same users, float [S', n].
        level: coverage of the interval.
        unit: user of each column, int [n]; None: each column is a user.

    Raises:
        ValueError: not two matrices over the same users, or there is not one unit for each column.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(
            "values must be [seeds, users] over the same users, not of shapes "
            f"{a.shape} and {b.shape}"
        )
    a, b = _of_units([a, b], unit)
    users, nan = a.shape[1], float("nan")
    if users < 2:
        difference = float(a.mean() - b.mean()) if users else nan
        return Gap(users, difference, nan, nan, nan, nan, 1.0, 0.0)
    delta = a.mean(0) - b.mean(0)
    difference = float(delta.mean())
    of_users = float(delta.var(ddof=1)) / users
    spread = of_users**2 / (users - 1)
    of_seeds = 0.0
    for values in (a, b):
        variance, more = _variance_of_seeds(values)
        of_seeds, spread = of_seeds + variance, spread + more
    squared = of_users + of_seeds
    largest = max(abs(float(a.mean())), abs(float(b.mean())))
    if squared <= 1e-28 * largest**2:  # the same difference everywhere, up to rounding
        p = 1.0 if abs(difference) <= 1e-14 * largest else 0.0
        return Gap(users, difference, difference, difference, 0.0, float(users - 1), p, 0.0)
    se, freedom = float(np.sqrt(squared)), squared**2 / spread
    half = float(scipy.special.stdtrit(freedom, 0.5 + level / 2)) * se
    return Gap(
        n=users,
        difference=difference,
        low=difference - half,
        high=difference + half,
        se=se,
        freedom=freedom,
        p=float(2 * scipy.special.stdtr(freedom, -abs(difference) / se)),
        seed_share=of_seeds / squared,
    )


def _of_units(methods: Sequence[np.ndarray], unit: np.ndarray | None) -> list[np.ndarray]:
    """Return the values of each method and seed with a column per unit, float64 [S, U] each.

    Columns with a NaN in any method are left out.

    Args:
        methods: values of each method, float [S, n], S may differ.
        unit: unit of each column, int [n]; None: each column is a unit.
    """
    known = ~np.isnan(np.concatenate(methods)).any(0)
    code = numbered_units(unit, len(known))
    unit = None if code is None else code[known]
    return [linearised(values[:, known], unit) for values in methods]


def _variance_of_seeds(values: np.ndarray) -> tuple[float, float]:
    """Return seed^2 / S of one method, and its sum of squares over degrees of freedom.

    Args:
        values: float [S, U].
    """
    seeds, users = values.shape
    if seeds < 2:
        return 0.0, 0.0
    per_seed = values.mean(1)
    residual = values - per_seed[:, None] - values.mean(0)[None, :] + values.mean()
    freedom = (seeds - 1) * (users - 1)
    whole = float(per_seed.var(ddof=1)) / seeds
    noise = float((residual**2).sum()) / freedom / (users * seeds)
    if whole <= noise:
        return 0.0, 0.0
    return whole - noise, whole**2 / (seeds - 1) + noise**2 / freedom
