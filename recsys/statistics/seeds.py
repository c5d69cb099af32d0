"""Two methods over several training seeds and the same users: is the one better, whatever the seed?

A paired test over the users of two runs speaks of these two runs. Trained anew with another seed, either method is another scorer, and the mean
of a few seeds still holds a part of that chance. Here the variance of a difference has both: that over users, paired, and that over seeds,
which are drawn for each method by itself and pair with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats

__all__ = ["Gap", "gap"]


@dataclass(frozen=True)
class Gap:
    """The difference of two methods, first minus second.

    Args:
        n: users for whom both are defined.
        difference: of the means over seeds and users.
        low, high: its interval; NaN with fewer than two users.
        se, freedom: its standard error, and Satterthwaite's degrees of freedom of it.
        p: two-sided, of no difference.
        seed_share: part of the squared standard error that is chance of the seeds, 0 to 1.
    """

    n: int
    difference: float
    low: float
    high: float
    se: float
    freedom: float
    p: float
    seed_share: float


def gap(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Gap:
    """Compare two methods over seeds and users.

    The model is value[s, u] = mean + seed_s + user_u + residual for each method, the users the same ones. With d_u the difference of the two means
    over seeds of a user, the variance of the mean difference is var(d_u) / U, in which what all users of a seed share cancels out, plus
    seed^2 / S of each method, with seed^2 = var(means of the seeds) - residual^2 / U (analysis of variance; below 0 it is set to 0: Searle, Casella &
    McCulloch, Variance Components, chapter 4). The test is a t test with Satterthwaite's degrees of freedom. With one seed each it is the paired t
    test; a method with one seed adds nothing for its seeds, which is right where the seed has no effect, and otherwise too little.

    Args:
        first, second: float [S, U], a row per seed; users with a NaN anywhere are left out. The numbers of seeds may differ.
        level: of the interval.

    Raises:
        ValueError: not two matrices over the same users.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(
            f"values must be [seeds, users] over the same users, not of shapes {a.shape} and {b.shape}"
        )
    both = ~(np.isnan(a).any(0) | np.isnan(b).any(0))
    a, b = a[:, both], b[:, both]
    users, nan = a.shape[1], float("nan")
    if users < 2:
        return Gap(
            users, float(a.mean() - b.mean()) if users else nan, nan, nan, nan, nan, 1.0, 0.0
        )
    delta = a.mean(0) - b.mean(0)
    difference = float(delta.mean())
    of_users = float(delta.var(ddof=1)) / users
    spread, of_seeds = of_users**2 / (users - 1), 0.0
    for values in (a, b):
        variance, more = _of_seeds(values)
        of_seeds, spread = of_seeds + variance, spread + more
    squared = of_users + of_seeds
    if (
        squared <= 1e-28 * max(abs(float(a.mean())), abs(float(b.mean()))) ** 2
    ):  # the same difference everywhere, but for rounding
        same = abs(difference) <= 1e-14 * max(abs(float(a.mean())), abs(float(b.mean())))
        return Gap(
            users,
            difference,
            difference,
            difference,
            0.0,
            float(users - 1),
            1.0 if same else 0.0,
            0.0,
        )
    se, freedom = float(np.sqrt(squared)), squared**2 / spread
    half = float(scipy.stats.t.ppf(0.5 + level / 2, freedom)) * se
    p = float(2 * scipy.stats.t.sf(abs(difference) / se, freedom))
    return Gap(
        users, difference, difference - half, difference + half, se, freedom, p, of_seeds / squared
    )


def _of_seeds(values: np.ndarray) -> tuple[float, float]:
    """seed^2 / S of one method, and what it adds to the sum of squares over degrees of freedom."""
    seeds, users = values.shape
    if seeds < 2:
        return 0.0, 0.0
    per_seed = values.mean(1)
    residual = values - per_seed[:, None] - values.mean(0)[None, :] + values.mean()
    freedom = (seeds - 1) * (users - 1)
    whole, noise = (
        float(per_seed.var(ddof=1)) / seeds,
        float((residual**2).sum()) / freedom / (users * seeds),
    )
    if whole <= noise:
        return 0.0, 0.0
    return whole - noise, whole**2 / (seeds - 1) + noise**2 / freedom
