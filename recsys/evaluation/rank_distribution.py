"""Distributions of ranks, learned from ranks among sampled candidates.

The terms and the sources are those of `recsys.evaluation.estimators`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.special

__all__ = ["decoder", "pool_groups", "rank_cells", "rank_distribution", "rank_likelihood"]

BIN = 1.03  # users whose numbers of candidates differ by a smaller factor share a decoder
GAMMA = 0.01  # g of the estimators "bv" and "bv_mle"
ROUNDS = 200  # of EM at most
NEWTON_ROUNDS = 100  # of the dual of "entropy" at most
_SINGLE_RANKS = 64  # cells that always hold a single rank
_TINY = 1e-300


def pool_groups(pool: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return groups of similar numbers of candidates.

    Args:
        pool: number of candidates per test item, int [P].

    Returns:
        The group of each test item, int [P], and the rounded mean of each group.
    """
    code = np.round(np.log(np.maximum(pool, 1)) / np.log(BIN)).astype(np.int64)
    _, group = np.unique(code, return_inverse=True)
    return group, [round(float(n)) for n in np.bincount(group, pool) / np.bincount(group)]


def rank_cells(n: int, usual: int, m: int, exact: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranks 1..n + 1 divided into cells.

    Up to `exact` a cell holds one rank. Beyond, its width is a tenth of the standard deviation of
    the rank that a sample of m of `usual` candidates tells.

    Args:
        n: largest number of candidates.
        usual: median number of candidates.
        m: sampled candidates per user.
        exact: ranks that have a cell each, but at least 64.

    Returns:
        Middles and widths of the cells, float64 [G] each.
    """
    edges = list(range(1, min(max(exact, _SINGLE_RANKS), n + 1) + 1))
    top = edges[-1] + 1
    # 0 with all candidates sampled: then the rank is known.
    share = max(usual - m, 1) / max(usual - 1, 1)
    while top <= n + 1:
        edges.append(top)
        p = min(1.0, top / max(n, 1))
        top += max(1, int(0.1 * n * np.sqrt(p * (1 - p) / m * share)))
    bounds = np.append(edges, n + 2)
    width = np.diff(bounds).astype(np.float64)
    return bounds[:-1] + (width - 1) / 2, width


def rank_likelihood(cells: np.ndarray, n: int, m: int) -> np.ndarray:
    """Return P(x of m sampled candidates are above | rank), float64 [G, m + 1].

    Of the n candidates, rank - 1 are above, so x is hypergeometric. A middle between two ranks has
    the mean of theirs. 0 for ranks beyond n + 1.

    Args:
        cells: middles of the cells of ranks, float [G].
        n: number of candidates.
        m: sampled candidates per user.
    """
    factorial = scipy.special.gammaln(np.arange(1, n + 2))

    def log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
        inside = (k >= 0) & (k <= n)
        k = np.where(inside, k, 0)
        return np.where(inside, factorial[n] - factorial[k] - factorial[n - k], -np.inf)

    x = np.arange(m + 1)[None, :]
    table = np.zeros((len(cells), m + 1))
    for above in (np.floor(cells) - 1, np.ceil(cells) - 1):
        known = above <= n
        rows = above[known].astype(np.int64)[:, None]
        ways = log_choose(rows, x) + log_choose(n - rows, m - x)
        table[known] += np.exp(ways - log_choose(np.array(n), np.array(m))) / 2
    # An x that only a rank inside a cell can give is assigned to the nearest cell.
    for missing in np.flatnonzero(table.sum(0) == 0):
        table[np.abs(cells - 1 - missing * n / m).argmin(), missing] = 1e-3
    return table


def rank_distribution(
    likelihoods: Sequence[np.ndarray],
    group: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    cells: np.ndarray,
    width: np.ndarray,
    estimator: str,
) -> np.ndarray:
    """Return the distribution of ranks over the cells that an estimator assumes or learns, [G].

    Args:
        likelihoods: P(x | rank) of each group of users, float [G, m + 1] each.
        group: of each test item, int [P].
        x: sampled candidates above each test item, int [P].
        weight: of each test item, float [P].
        cells: middles of the cells, float [G].
        width: widths of the cells, float [G].
        estimator: "bv" (uniform), "entropy", or "mle" and "bv_mle" (EM).
    """
    if estimator == "bv":
        return np.asarray(width / width.sum())
    start = width / np.sqrt(cells)
    start /= start.sum()
    m = likelihoods[0].shape[1] - 1
    present = np.unique(group)
    table = np.concatenate([likelihoods[code] for code in present], axis=1)
    outcome = np.searchsorted(present, group) * (m + 1) + x
    observed = np.bincount(outcome, weight, minlength=table.shape[1])
    share = observed / observed.sum()
    occurs = share > 0
    if estimator == "entropy":
        share_of_group = np.repeat(share.reshape(len(present), m + 1).sum(1), m + 1)
        n = weight.sum() ** 2 / (weight**2).sum()
        return _largest_entropy((table * share_of_group)[:, occurs], share[occurs], n, start)
    return _most_likely(np.ascontiguousarray(table[:, occurs]), share[occurs], start)


def _most_likely(table: np.ndarray, share: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the distribution of ranks by EM, float64 [G].

    The limit on the rounds stops early on purpose: the maximum likelihood of a mixture itself
    would be a handful of spikes.

    Args:
        table: P(outcome | rank), float [G, outcomes].
        share: observed share of each outcome, float [outcomes].
        start: distribution to start from, float [G].
    """
    prior = start
    for _ in range(ROUNDS):
        updated = prior * (table @ (share / np.maximum(prior @ table, _TINY)))
        updated /= updated.sum()
        moved = np.abs(updated - prior).sum()
        prior = updated
        if moved < 1e-7:
            break
    return np.asarray(prior)


def _largest_entropy(
    table: np.ndarray, share: np.ndarray, n: float, start: np.ndarray
) -> np.ndarray:
    """Return the distribution that fits the observations and is nearest to `start`, float64 [G].

    argmin chi^2 / 2 + KL(prior | start) with chi^2 = n sum (table' prior - share)^2 / share. It is
    solved by Newton's method on the concave dual
    share.v - log sum start exp(table v) - v'Wv / 2 with W = share / n, whose prior is
    start exp(table v), normalised.

    Args:
        table: P(outcome | rank) times the share of the group, float [G, outcomes].
        share: observed share of each outcome, float [outcomes].
        n: effective number of test items.
        start: reference distribution, float [G].
    """
    slack = (share + 1 / n) / n

    def dual(v: np.ndarray) -> tuple[float, np.ndarray]:
        lifted = table @ v
        top = lifted.max()
        prior = start * np.exp(lifted - top)
        total = prior.sum()
        return float(share @ v - np.log(total) - top - (slack * v * v).sum() / 2), prior / total

    v = np.zeros(len(share))
    value, prior = dual(v)
    for _ in range(NEWTON_ROUNDS):
        fitted = prior @ table
        gradient = share - fitted - slack * v
        hessian = (table * prior[:, None]).T @ table - np.outer(fitted, fitted) + np.diag(slack)
        move = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-8:
            next_value, next_prior = dual(v + length * move)
            if next_value >= value + 1e-4 * length * (gradient @ move):
                break
            length /= 2
        else:
            break
        gained = next_value - value
        v = v + length * move
        value, prior = next_value, next_prior
        if gained < 1e-10:
            break
    return np.asarray(prior)


def decoder(likelihood: np.ndarray, prior: np.ndarray, estimator: str) -> np.ndarray:
    """Return the weights over ranks for each outcome x = 0..m, float64 [m + 1, G].

    Times the values of a metric at the ranks, they give the estimate of the metric for each x.

    Args:
        likelihood: P(x | rank), float [G, m + 1].
        prior: distribution of ranks, float [G].
        estimator: "mle" and "entropy" take conditional expectations, "bv" and "bv_mle" solve the
            linear system of bias and variance.
    """
    weighted = likelihood * prior[:, None]
    total = weighted.sum(0)
    if estimator in ("mle", "entropy"):
        return np.asarray(weighted / np.maximum(total, _TINY)).T
    system = (1 - GAMMA) * (likelihood.T @ weighted) + GAMMA * np.diag(total)
    # Scaled, as outcomes that hardly occur would make the system singular to rounding.
    scale = 1 / np.sqrt(np.maximum(total, _TINY))
    scaled = scale[:, None] * system * scale
    solution = np.linalg.lstsq(scaled, scale[:, None] * weighted.T, rcond=1e-12)[0]
    return np.asarray(scale[:, None] * solution)
