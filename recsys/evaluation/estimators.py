"""Estimates of the metrics of the full ranking from ranks among sampled candidates.

Uncorrected metrics of sampled ranks are not estimates of the full ones. They are much larger, and
can order two methods the other way round (Krichene & Rendle, KDD 2020). The sources sample with
replacement. Here no candidate is sampled twice, so the numbers equal those of the full ranking
once all N candidates are sampled, and are nearer to them before. A test item that r - 1 of N
candidates beat is beaten by x ~ Hypergeometric(N, r - 1, m) of m uniform candidates, in place of
the binomial of the sources. The estimators undo that:

    none      the metric of the sampled ranks themselves
    rank      the metric at the unbiased rank, 1 + floor(N x / m)                            [KR]
    bv        the values per x with the least squared bias + g (variance - bias) over ranks:
              ((1 - g) A'DA + g diag(A'D1))^-1 A'D f, A = P(x | r), D = diag P(r) uniform,
              g = 0.01                                                                       [KR]
    mle       the distribution of ranks by maximum likelihood (EM), then the expected metric
              given x                                                                        [J]
    bv_mle    bv with that distribution as D                                                 [L23]
    entropy   as mle, with the distribution of largest entropy that fits the observations    [J]

After sampling by popularity, N x / m becomes the sum of 1 / probability over the sampled
candidates that rank above (`recsys.evaluation.draws`).

Sources: [KR] Krichene & Rendle, On Sampled Metrics for Item Recommendation, KDD 2020. [L20] Li,
Jin, Gao & Liu, On Sampling Top-K Recommendation Evaluation, KDD 2020: its linear map from a cut-off
k among the sampled to K = 1 + floor((k - 1) N / m) in full gives the same recall as "rank". [J] Jin
et al., On Estimating Recommendation Evaluation Metrics under Sampling, AAAI 2021. [L23] Li et al.,
Towards Reliable Item Sampling, AAAI 2023.

Certain: the hypergeometric model, "rank", the linear system of "bv" with g = 0.01, and EM. With
g = 0 that system has the least bias, but from 100 candidates on a variance that makes it useless,
so it is not offered. Reconstructed:

(1) The sources treat one test item per user. With several, the place of a test item is its rank
    among the items that are not test items plus q, the number of the user's other test items above
    it. q is known exactly because all test items are scored. So every metric here is a sum of
    f(rank + q), and estimates the very number that `evaluate` gives in full.
(2) The distribution is learned for each class of q (0, 1, 2-3, 4-7, ...) with weight 1 / |test|. It
    becomes values per user by conditional expectations, whose mean is the plug-in estimate at the
    fixed point of EM; for "entropy" the two differ slightly.
(3) x = 0 tells little about which of the first N / m ranks it was. There EM keeps the shape it
    starts from, and entropy that of its reference: here 1 / sqrt(rank), not uniform. The exponent
    was chosen on Gowalla (three scorers, 100 candidates), where recall@20 is within 7 %, a fifth
    too small with uniform and a third too large with 1 / rank. On data it was not chosen on (Steam,
    ML-100K likes; two scorers each, N / m near 100) "mle" is within 16 % at recall@20 and 32 % at
    recall@10: cut-offs far below N / m stay rough.
(4) "entropy" weights its squared residuals by their expected size, n / share, and solves the dual.
(5) Ranks are binned beyond the largest cut-off, finer than a sample can resolve.
(6) A user with no more than m candidates has all of them sampled. Their ranks are known, and
    nothing is learned from them for the others.

`auc` needs no estimator: the share of sampled candidates that a test item beats is unbiased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys.evaluation.contexts import DrawContext
from recsys.evaluation.item_terms import PerItem
from recsys.evaluation.metrics import Metric
from recsys.evaluation.rank_distribution import (
    decoder,
    pool_groups,
    rank_cells,
    rank_distribution,
    rank_likelihood,
)

__all__ = ["Estimator", "estimate"]

Estimator = Literal["none", "rank", "bv", "mle", "bv_mle", "entropy"]


@dataclass(frozen=True, eq=False)
class _Term:
    """A metric as a sum over test items, with its cut-off."""

    metric: Metric
    per_item: PerItem

    @property
    def k(self) -> int | None:
        return self.metric.k

    def gain(self, rank: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return what test items at a rank add, with q of the user's other test items above."""
        return self.per_item.within(self.k, rank, q)

    def sampled_rank(self, drawn: DrawContext) -> np.ndarray:
        """Return the ranks of test items among sampled candidates and other test items, [P].

        They are the ranks in lists at a cut-off, and mean ranks over the full ranking.
        """
        if self.k is None:
            return 1 + drawn.beaten_by_mean + drawn.peers_mean
        return np.asarray(1 + drawn.beaten_by + drawn.position)


def estimate(
    drawn: DrawContext,
    metrics: Sequence[Metric],
    n_relevant: np.ndarray,
    estimator: Estimator = "mle",
) -> dict[str, np.ndarray]:
    """Return estimates per user of metrics of the full ranking, float64 [U] each, by name.

    NaN where a metric is not defined. A user whose candidates are all sampled has the exact values
    for every estimator. The value of another user may lie outside 0..1: only means over many users
    are estimates. After sampling by popularity only "none" and "rank" apply, the latter from
    inverse-probability weights.

    Args:
        drawn: places of the test items among the sampled candidates.
        metrics: metrics that can be sampled.
        n_relevant: test items per user, the seen ones included, int [U].
        estimator: see the head of this module.
    """
    columns: dict[str, np.ndarray] = {}
    terms = []
    for metric in metrics:
        if metric.kind.per_item is not None:
            terms.append(_Term(metric, metric.kind.per_item))
        elif metric.kind.from_draw is not None:
            columns[metric.name] = metric.kind.from_draw(drawn)
        else:
            raise ValueError(f"{metric.name} has no estimator")
    values = _gains(drawn, terms, n_relevant, estimator)
    for term, value in zip(terms, values, strict=True):
        total = np.bincount(drawn.owner, value, minlength=len(n_relevant))
        divisor = term.per_item.divisor(n_relevant, term.k)
        columns[term.metric.name] = np.where(n_relevant > 0, total / divisor, np.nan)
    return columns


def _gains(
    drawn: DrawContext, terms: Sequence[_Term], n_relevant: np.ndarray, estimator: Estimator
) -> np.ndarray:
    """Return the estimated gain of each test item, float64 [terms, P]."""
    owner, q = drawn.owner, drawn.position
    values = np.zeros((len(terms), len(owner)))
    exact = drawn.complete[owner]
    if estimator == "none":
        exact = np.ones(len(owner), dtype=bool)
    for row, term in enumerate(terms):
        values[row, exact] = term.gain(term.sampled_rank(drawn)[exact], q[exact])
    left = np.flatnonzero(~exact)
    if estimator == "rank":
        rank = 1 + np.floor(np.round(drawn.above[left], 6)) + q[left]
        for row, term in enumerate(terms):
            values[row, left] = term.gain(rank, q[left])
    elif len(left):
        weight = 1.0 / n_relevant[owner[left]]
        values[:, left] = _learned(drawn, left, weight, terms, estimator)
    return values


def _learned(
    drawn: DrawContext,
    entries: np.ndarray,
    weight: np.ndarray,
    terms: Sequence[_Term],
    estimator: Estimator,
) -> np.ndarray:
    """Return estimated gains by the distribution of ranks that `estimator` assumes or learns.

    Args:
        drawn: places of the test items.
        entries: positions of test items of users with more than m candidates, int [P'].
        weight: their weights in the distribution, float [P'].
        terms: the metrics.
        estimator: see the head of this module.

    Returns:
        float64 [terms, P'].
    """
    x, q = drawn.beaten_by[entries], drawn.position[entries]
    pool = drawn.pool[drawn.owner[entries]]
    group, sizes = pool_groups(pool)
    exact = 2 * max((term.k or 0 for term in terms), default=0)
    cells, width = rank_cells(int(pool.max()), int(np.median(pool)), drawn.m, exact)
    likelihoods = [rank_likelihood(cells, n, drawn.m) for n in sizes]
    classes = np.frexp(q + 1.0)[1] - 1
    values = np.zeros((len(terms), len(entries)))
    for level in range(int(classes.max()) + 1):
        inside = classes == level
        if not inside.any():
            continue
        prior = rank_distribution(
            likelihoods, group[inside], x[inside], weight[inside], cells, width, estimator
        )
        for code, likelihood in enumerate(likelihoods):
            here = np.flatnonzero(inside & (group == code))
            if len(here):
                weights = decoder(likelihood, prior, estimator)
                values[:, here] = _decoded(weights, cells, terms, x[here], q[here])
    return values


def _decoded(
    weights: np.ndarray, cells: np.ndarray, terms: Sequence[_Term], x: np.ndarray, q: np.ndarray
) -> np.ndarray:
    """Return estimated gains, float64 [terms, P'], from one table [m + 1, distinct q] per term.

    Args:
        weights: of the cells for each x, float [m + 1, G], see `decoder`.
        cells: middles of the cells of ranks, float [G].
        terms: the metrics.
        x: sampled candidates above each test item, int [P'].
        q: the user's other test items above each test item, int [P'].
    """
    distinct, which = np.unique(q, return_inverse=True)
    rank = cells[:, None] + distinct
    return np.stack([(weights @ term.gain(rank, distinct[None, :]))[x, which] for term in terms])
