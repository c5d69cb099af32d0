"""The sampled-candidate protocol: rank each test item among a few drawn items, and estimate what the full ranking would have given.

Uncorrected, such numbers are not estimates of anything: they are much larger than those of the full ranking and can order two methods
the other way round (Krichene & Rendle, KDD 2020). The sources draw with repeats; here no candidate is drawn twice, so that the numbers are those of
the full ranking once all N candidates are drawn, and nearer to them before. If x of m uniform candidates beat a test item that r - 1 of N would
beat in full, then x ~ Hypergeometric(N, r - 1, m), in place of the binomial of the sources, and the estimators below undo that:

    none      the metric of the sampled ranks themselves
    rank      the metric at the unbiased rank, 1 + floor(N x / m)                                            [KR]
    bv        the values per x with least squared bias + g (variance - bias) over ranks:
              ((1 - g) A'DA + g diag(A'D1))^-1 A'D f, A = P(x | r), D = diag P(r) uniform, g = 0.01          [KR]
    mle       the ranks' distribution by maximum likelihood (EM), then the expected metric given x           [J]
    bv_mle    bv with that distribution as D                                                                 [L23]
    entropy   as mle, the distribution of largest entropy that fits what was seen                            [J]

After a draw by popularity N x / m becomes the sum of 1 / chance over the drawn candidates that are above (`recsys.evaluation.draws`).

[KR] Krichene & Rendle, On Sampled Metrics for Item Recommendation, KDD 2020. [L20] Li, Jin, Gao & Liu, On Sampling Top-K Recommendation Evaluation,
KDD 2020: its linear map from a cut-off k among the sampled to K = 1 + floor((k - 1) N / m) in full gives for recall the same number as "rank".
[J] Jin et al., On Estimating Recommendation Evaluation Metrics under Sampling, AAAI 2021. [L23] Li et al., Towards Reliable Item Sampling, AAAI 2023.

Certain: the hypergeometric model, "rank", the linear system of "bv" with g = 0.01, and EM. With g = 0 that system has the least bias and, from 100
candidates, a variance that makes it useless, so it is not offered. Reconstructed:
(1) The sources treat one test item per user. With several, a test item's place is its rank among the non-test items plus q, the number of the user's
other test items above it, and q is known exactly because all test items are scored; so every metric here is a sum of f(rank + q) and estimates the
very number that `evaluate` gives in full.
(2) The distribution is learnt for each class of q (0, 1, 2-3, 4-7, ...) with weight 1 / |test|, and turned into per-user values as conditional
expectations, whose mean is the plug-in estimate at EM's fixed point; for "entropy" they differ slightly.
(3) x = 0 says little about which of the first N / m ranks it was. There EM keeps the shape it starts from, and entropy that of its
reference: here 1 / sqrt(rank), not uniform. The exponent was chosen on Gowalla (three scorers, 100 candidates), where it is within 7 % at
recall@20, uniform a fifth too small and 1 / rank a third too large. On data it was not chosen on (Steam, ML-100K likes; two scorers each, N / m
near 100) "mle" is within 16 % at recall@20 and 32 % at recall@10: cut-offs far below N / m stay rough.
(4) "entropy" weighs its squared residuals by their expected size, n / share, and solves the dual.
(5) Ranks are binned beyond the largest cut-off, finer than a draw can resolve.
(6) A user with no more than m candidates has all of them drawn: the rank is known, and nothing is learnt from it for the others.
`auc` needs no estimator: the share of drawn candidates that a test item beats is unbiased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
import scipy.special
import torch
from torch import Tensor

from recsys.data.hashing import tie_order
from recsys.errors import InputError
from recsys.evaluation.draws import Sample, draw_items
from recsys.evaluation.metrics import Metric
from recsys.ranking import score_blocks
from recsys.scorer import Gemm, Scorer

__all__ = ["Draw", "Estimator", "decoder", "draw", "estimate", "worthwhile"]

Estimator = Literal["none", "rank", "bv", "mle", "bv_mle", "entropy"]

GATHER = 24  # scoring one gathered candidate costs about as much as this many in a full product
WORTH = 100  # drawing and ranking one candidate costs about as much as this many in a full ranking
BIN = 1.03  # users whose numbers of candidates differ by less than this factor share a decoder
GAMMA = 0.01
ROUNDS = 200


@dataclass(frozen=True, eq=False)
class Draw:
    """Where test items stand among their user's drawn candidates.

    Every count is there in the two ways in which a full ranking treats equal scores: lists put them in the order of `tie_order`, and
    full ranks give them their mean, so that an equal counts one half.

    Args:
        indptr: int64 [U + 1]; user u's test items are the entries indptr[u]:indptr[u + 1], best first.
        beaten_by: int64 [P], how many of the drawn candidates rank above each test item; equal scores in the order of `tie_order`.
        beaten_by_mean: float64 [P], the same; an equal counts one half.
        above: float64 [P], an unbiased estimate of how many of all non-test candidates rank above it, by `tie_order`.
        above_mean: float64 [P], the same; an equal counts one half.
        peers_mean: float64 [P], how many other test items of the user rank above it; an equal counts one half.
        pool: int64 [U], the number of non-test candidates N of each user.
        m: candidates drawn per user, without repeats, shared by the user's test items; all N where N is not more.
    """

    indptr: np.ndarray
    beaten_by: np.ndarray
    beaten_by_mean: np.ndarray
    above: np.ndarray
    above_mean: np.ndarray
    peers_mean: np.ndarray
    pool: np.ndarray
    m: int

    @property
    def complete(self) -> np.ndarray:
        """Whose candidates are all drawn, bool [U]: their sample is the full ranking."""
        return np.asarray(self.pool <= self.m)


def draw(
    scorer: Scorer,
    users: np.ndarray,
    test: sp.csr_matrix,
    seen: sp.csr_matrix,
    m: int,
    *,
    counts: np.ndarray | None = None,
    seed: int = 0,
) -> Draw:
    """Draw m candidates per user from the items neither seen nor in his test, and rank his test items among them.

    Factors are scored by gathering the drawn vectors where that is cheaper than the full product; other scorers are scored in full and read at the
    drawn places, without a top-k. Ask `worthwhile` first whether drawing pays at all.

    Args:
        users: user rows [U].
        test: CSR [U, n_items], the test items of these users that were not seen.
        seen: CSR [n_users, n_items].
        m: how many to draw, without repeats; a user with fewer candidates has all of them drawn.
        counts: draw in proportion to counts + 1 [n_items] instead of uniformly; every item can then be drawn.
        seed: the same seed gives the same candidates for the same user row, whatever the scorer and the other users.

    Raises:
        InputError: a score that is not a number.
    """
    sizes, indptr = np.diff(test.indptr), test.indptr.astype(np.int64)
    barred = sp.csr_matrix(seen[users] + test)
    barred.sort_indices()
    pool = (scorer.n_items - np.diff(barred.indptr)).astype(np.int64)
    width, most = int(min(m, pool.max(initial=0))), int(sizes.max(initial=0))
    tables, cells = None, scorer.n_items
    plan = scorer.plan()
    if isinstance(plan, Gemm) and (width + sizes.mean()) * GATHER < scorer.n_items:
        tables, cells = (plan.query, plan.key), (width + most) * (plan.query.shape[1] + 1)
    step = max(1, min((4 if tables else 16) * 2**20 // cells, 2**24 // (1 + width * max(1, most))))
    weight = None if counts is None else counts + 1.0
    parts = []
    for start in range(0, len(users), step):
        span = slice(start, start + step)
        sample = draw_items(users[span], barred[span], m, weight=weight, seed=seed)
        mine = test[span]
        theirs, own = _scores(scorer, tables, users[span], sample.items, mine)
        size = np.minimum(m, pool[span])
        scale = None if counts is not None else pool[span] / np.maximum(size, 1)
        parts.append(_standing(sample, theirs, mine, own, scale))
    columns = [np.concatenate(each) for each in zip(*parts, strict=True)]
    beaten_by, *rest = columns or [np.zeros(0, dtype=np.int64)] + [np.zeros(0)] * 4
    beaten_by_mean, above, above_mean, peers_mean = rest
    return Draw(indptr, beaten_by, beaten_by_mean, above, above_mean, peers_mean, pool, m)


def _scores(
    scorer: Scorer,
    tables: tuple[Tensor, Tensor] | None,
    users: np.ndarray,
    items: np.ndarray,
    test: sp.csr_matrix,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of drawn items [B, w] and of test items [P], float32, all from one product so that equals are equal."""
    width, sizes = items.shape[1], np.diff(test.indptr)
    owner = np.repeat(np.arange(len(users)), sizes)
    column = width + np.arange(test.nnz) - test.indptr[:-1][owner]
    places = np.zeros((len(users), width + int(sizes.max(initial=0))), dtype=np.int64)
    places[:, :width] = np.maximum(items, 0)
    places[owner, column] = test.indices
    if tables is None:
        [(_, scored)] = score_blocks(scorer, users, block=len(users))
        scored = scored.gather(1, torch.as_tensor(places, device=scored.device))
    else:
        index = torch.as_tensor(places, device=scorer.device)
        query = tables[0][torch.as_tensor(users, dtype=torch.long, device=scorer.device)]
        key = torch.nn.functional.embedding(index, tables[1])
        scored = torch.bmm(key, query[:, :, None])[:, :, 0]
    if bool(torch.isnan(scored).any()):
        raise InputError(
            "the scorer gives scores that are not numbers",
            remedy="train again with a smaller learning rate",
        )
    score = scored.float().cpu().numpy()
    return score[:, :width], score[owner, column]


def _standing(
    sample: Sample,
    theirs: np.ndarray,
    test: sp.csr_matrix,
    own: np.ndarray,
    scale: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """Return `beaten_by` to `peers_mean` of `Draw` for some users.

    Args:
        sample: what was drawn.
        theirs: scores of it [B, w].
        test: CSR [B, n_items].
        own: scores of the test items [P].
        scale: how many candidates a drawn one stands for [B]; None: 1 / its chance.
    """
    place = tie_order(test.shape[1])
    owner = np.repeat(np.arange(test.shape[0]), np.diff(test.indptr))
    order = np.lexsort((place[test.indices], -own, owner))
    own, mine = own[order], place[test.indices[order]][:, None]
    drawn = (sample.items >= 0)[owner]
    higher = (theirs[owner] > own[:, None]) & drawn
    equal = (theirs[owner] == own[:, None]) & drawn
    before = higher | (equal & (place[sample.items][owner] < mine))
    beaten = np.count_nonzero(before, axis=1)
    mean = np.count_nonzero(higher, axis=1) + np.count_nonzero(equal, axis=1) / 2
    if scale is not None:
        above, above_mean = beaten * scale[owner], mean * scale[owner]
    else:
        stands_for = 1 / sample.chance[owner]
        above = np.where(before, stands_for, 0.0).sum(1)
        above_mean = np.where(higher, stands_for, 0.0).sum(1)
        above_mean += np.where(equal, stands_for, 0.0).sum(1) / 2
    return beaten, mean, above, above_mean, _mean_place(owner, own)


def _mean_place(owner: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return how many of an owner's entries score above each, an equal one counting one half; both in descending order [P]."""
    start = np.searchsorted(owner, owner)
    changed = np.ones(len(owner), dtype=bool)
    changed[1:] = (owner[1:] != owner[:-1]) | (score[1:] != score[:-1])
    first = np.flatnonzero(changed)
    run = np.cumsum(changed) - 1
    length = np.diff(np.append(first, len(owner)))
    return np.asarray(first[run] - start + (length[run] - 1) / 2)


def worthwhile(m: int, test: sp.csr_matrix) -> bool:
    """Whether drawing m candidates per user is cheaper than ranking them all; it does not depend on the scorer.

    Args:
        test: CSR [U, n_items], test items, which are scored too.
    """
    return bool(WORTH * (m + test.nnz / max(1, test.shape[0])) <= test.shape[1])


def estimate(
    drawn: Draw, metrics: Sequence[Metric], n_relevant: np.ndarray, estimator: Estimator = "mle"
) -> dict[str, np.ndarray]:
    """Per-user estimates, float64 [U], of metrics at a cut-off and of the full ranking; NaN where not defined.

    A user all of whose candidates are drawn has the values of the full ranking, whatever the estimator. Another's value may lie outside 0..1: only
    means over many users are estimates. After a draw by popularity only "none" and "rank" apply, the latter from inverse-probability weights.

    Args:
        n_relevant: test items per user [U], the seen ones too.
    """
    sizes = np.diff(drawn.indptr)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    q = np.arange(len(owner)) - drawn.indptr[:-1][owner]
    listed = [metric for metric in metrics if metric.kind != "auc"]
    values = np.zeros((len(listed), len(owner)))
    exact = np.ones(len(owner), dtype=bool) if estimator == "none" else drawn.complete[owner]
    for row, metric in enumerate(listed):
        at = _places(drawn, metric, q)
        values[row, exact] = _contribution(metric, at[exact], q[exact])
    left = np.flatnonzero(~exact)
    if estimator == "rank":
        place = 1 + np.floor(np.round(drawn.above[left], 6)) + q[left]
        values[:, left] = [_contribution(metric, place, q[left]) for metric in listed]
    elif len(left):
        weight = 1.0 / n_relevant[owner[left]]
        values[:, left] = _learnt(drawn, left, owner[left], q[left], weight, listed, estimator)
    out: dict[str, np.ndarray] = {}
    for metric, value in zip(listed, values, strict=True):
        total = np.bincount(owner, value, minlength=len(sizes))
        out[metric.name] = np.where(n_relevant > 0, total / _divisor(metric, n_relevant), np.nan)
    for metric in metrics:
        if metric.kind == "auc":
            beaten = np.bincount(owner, drawn.above_mean, minlength=len(sizes))
            pairs = sizes * drawn.pool
            out[metric.name] = 1 - np.divide(
                beaten, pairs, out=np.full(len(sizes), np.nan), where=pairs > 0
            )
    return out


def _places(drawn: Draw, metric: Metric, q: np.ndarray) -> np.ndarray:
    """Return where test items stand among the drawn candidates and their peers [P]: in lists, or by mean rank where there is no cut-off."""
    if metric.k is None:
        return 1 + drawn.beaten_by_mean + drawn.peers_mean
    return np.asarray(1 + drawn.beaten_by + q)


def _learnt(
    drawn: Draw,
    items: np.ndarray,
    owner: np.ndarray,
    q: np.ndarray,
    weight: np.ndarray,
    listed: Sequence[Metric],
    estimator: Estimator,
) -> np.ndarray:
    """Return estimated contributions [metrics, P'] of test items, by the distribution of ranks that `estimator` assumes or learns.

    Args:
        items: entries of `drawn` [P'], of users with more than m candidates.
        owner, q, weight: of these: the user, how many other test items of the user stand above, and the share in the distribution.
    """
    x, pool = drawn.beaten_by[items], drawn.pool[owner]
    group, sizes = _bins(pool)
    exact = 2 * max((metric.k or 0 for metric in listed), default=0)
    grid, width = _grid(int(pool.max()), int(np.median(pool)), drawn.m, exact)
    likelihoods = [_likelihood(grid, n, drawn.m) for n in sizes]
    classes = np.frexp(q + 1.0)[1] - 1
    values = np.zeros((len(listed), len(items)))
    for level in range(int(classes.max()) + 1):
        inside = classes == level
        if not inside.any():
            continue
        prior = _distribution(
            likelihoods, group[inside], x[inside], weight[inside], grid, width, estimator
        )
        for code, likelihood in enumerate(likelihoods):
            here = np.flatnonzero(inside & (group == code))
            if len(here):
                decode = decoder(likelihood, prior, estimator)
                values[:, here] = _decoded(decode, grid, listed, x[here], q[here])
    return values


def _contribution(metric: Metric, place: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return what a test item at a place adds, with q of the user's other test items above it."""
    kept = place <= (np.inf if metric.k is None else metric.k)
    if metric.kind in ("recall", "precision", "f1"):
        return np.asarray(kept, dtype=np.float64)
    if metric.kind == "hit":
        return np.asarray(kept & (q == 0), dtype=np.float64)
    if metric.kind == "mrr":
        return np.where(kept & (q == 0), 1 / place, 0.0)
    if metric.kind == "map":
        return np.where(kept, (q + 1) / place, 0.0)
    if metric.kind == "ndcg":
        return np.where(kept, 1 / np.log2(place + 1), 0.0)
    raise ValueError(f"{metric.name} has no estimator")


def _divisor(metric: Metric, n_relevant: np.ndarray) -> np.ndarray:
    most = n_relevant if metric.k is None else np.minimum(n_relevant, metric.k)
    if metric.kind == "recall":
        return np.asarray(np.maximum(n_relevant, 1))
    if metric.kind == "precision":
        return np.full(len(n_relevant), metric.k)
    if metric.kind == "f1":
        return np.asarray(((metric.k or 0) + n_relevant) / 2)
    if metric.kind == "map":
        return np.asarray(np.maximum(most, 1))
    if metric.kind == "ndcg":
        ideal = np.concatenate(
            [[1.0], np.cumsum(1 / np.log2(np.arange(2, most.max(initial=0) + 2)))]
        )
        return np.asarray(ideal[most])
    return np.ones(len(n_relevant))


def _bins(pool: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return the group of each number of candidates, those that differ by less than `BIN`, and the mean of each group, rounded."""
    code = np.round(np.log(np.maximum(pool, 1)) / np.log(BIN)).astype(np.int64)
    _, group = np.unique(code, return_inverse=True)
    return group, [round(float(n)) for n in np.bincount(group, pool) / np.bincount(group)]


def _grid(n: int, usual: int, m: int, exact: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ranks 1..n + 1 as cells: their middles and widths.

    One rank each up to `exact`, then a tenth of the standard deviation of the rank that a draw of m of `usual` candidates tells.
    """
    edges = list(range(1, min(max(exact, 64), n + 1) + 1))
    top = edges[-1] + 1
    share = max(usual - m, 1) / max(usual - 1, 1)  # nothing is left to chance where all are drawn
    while top <= n + 1:
        edges.append(top)
        p = min(1.0, top / max(n, 1))
        top += max(1, int(0.1 * n * np.sqrt(p * (1 - p) / m * share)))
    bounds = np.append(edges, n + 2)
    width = np.diff(bounds).astype(np.float64)
    return bounds[:-1] + (width - 1) / 2, width


def _likelihood(grid: np.ndarray, n: int, m: int) -> np.ndarray:
    """Return P(x of m drawn candidates are above | rank), [G, m + 1]; 0 for ranks beyond n + 1.

    Of the n candidates, rank - 1 are above: x is hypergeometric. A middle that lies between two ranks has the mean of theirs.
    """
    factorial = scipy.special.gammaln(np.arange(1, n + 2))

    def choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
        inside = (k >= 0) & (k <= n)
        k = np.where(inside, k, 0)
        return np.where(inside, factorial[n] - factorial[k] - factorial[n - k], -np.inf)

    x = np.arange(m + 1)[None, :]
    table = np.zeros((len(grid), m + 1))
    for above in (np.floor(grid) - 1, np.ceil(grid) - 1):
        known = above <= n
        rows = above[known].astype(np.int64)[:, None]
        ways = choose(rows, x) + choose(n - rows, m - x) - choose(np.array(n), np.array(m))
        table[known] += np.exp(ways) / 2
    for place in np.flatnonzero(table.sum(0) == 0):  # what only ranks within a cell can give
        table[np.abs(grid - 1 - place * n / m).argmin(), place] = 1e-3
    return table


def _distribution(
    likelihoods: Sequence[np.ndarray],
    group: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    grid: np.ndarray,
    width: np.ndarray,
    estimator: Estimator,
) -> np.ndarray:
    """The distribution of ranks over the cells [G] that `estimator` assumes or learns."""
    if estimator == "bv":
        return np.asarray(width / width.sum())
    start = width / np.sqrt(grid)
    start /= start.sum()
    m = likelihoods[0].shape[1] - 1
    present = np.unique(group)
    table = np.concatenate([likelihoods[code] for code in present], axis=1)
    seen = np.bincount(
        np.searchsorted(present, group) * (m + 1) + x, weight, minlength=table.shape[1]
    )
    share = seen / seen.sum()
    portion = np.repeat(
        share.reshape(len(present), m + 1).sum(1), m + 1
    )  # the share of each group of users
    met = share > 0
    if estimator == "entropy":
        return _entropy(
            (table * portion)[:, met], share[met], weight.sum() ** 2 / (weight**2).sum(), start
        )
    table, share = np.ascontiguousarray(table[:, met]), share[met]
    prior = start
    for _ in range(
        ROUNDS
    ):  # early stopping is what keeps the maximum likelihood of a mixture from becoming a handful of spikes
        updated = prior * (table @ (share / np.maximum(prior @ table, 1e-300)))
        updated /= updated.sum()
        moved = np.abs(updated - prior).sum()
        prior = updated
        if moved < 1e-7:
            break
    return np.asarray(prior)


def _entropy(table: np.ndarray, share: np.ndarray, n: float, start: np.ndarray) -> np.ndarray:
    """The distribution nearest to `start` in relative entropy among those that fit what was seen: argmin chi^2 / 2 + KL(prior | start).

    chi^2 = n sum (table' prior - share)^2 / share, n the effective number of test items. By Newton's method on the concave dual
    share.v - log sum start exp(table v) - v'Wv / 2, W = share / n, whose prior is start exp(table v), normalised.
    """
    slack = (share + 1 / n) / n
    v = np.zeros(len(share))

    def dual(v: np.ndarray) -> tuple[float, np.ndarray]:
        lifted = table @ v
        top = lifted.max()
        prior = start * np.exp(lifted - top)
        total = prior.sum()
        return float(share @ v - np.log(total) - top - (slack * v * v).sum() / 2), prior / total

    value, prior = dual(v)
    for _ in range(100):
        fitted = prior @ table
        gradient = share - fitted - slack * v
        hessian = (table * prior[:, None]).T @ table - np.outer(fitted, fitted) + np.diag(slack)
        move = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-8:
            value_there, prior_there = dual(v + length * move)
            if value_there >= value + 1e-4 * length * (gradient @ move):
                break
            length /= 2
        else:
            break
        v, gained, value, prior = v + length * move, value_there - value, value_there, prior_there
        if gained < 1e-10:
            break
    return np.asarray(prior)


def decoder(likelihood: np.ndarray, prior: np.ndarray, estimator: Estimator) -> np.ndarray:
    """What each outcome x = 0..m stands for, as weights over ranks [m + 1, G]: times a metric's values it gives the estimate for each x.

    Args:
        likelihood: P(x | rank) [G, m + 1].
        prior: distribution of ranks [G].
    """
    weighted = likelihood * prior[:, None]
    total = weighted.sum(0)
    if estimator in ("mle", "entropy"):
        return np.asarray(weighted / np.maximum(total, 1e-300)).T
    system = (1 - GAMMA) * (likelihood.T @ weighted) + GAMMA * np.diag(total)
    scale = 1 / np.sqrt(
        np.maximum(total, 1e-300)
    )  # outcomes that hardly occur would make the system singular to rounding
    scaled = scale[:, None] * system * scale
    return np.asarray(
        scale[:, None] * np.linalg.lstsq(scaled, scale[:, None] * weighted.T, rcond=1e-12)[0]
    )


def _decoded(
    decode: np.ndarray, grid: np.ndarray, listed: Sequence[Metric], x: np.ndarray, q: np.ndarray
) -> np.ndarray:
    """Estimated contributions [metrics, items]; one table [m + 1, distinct q] per metric."""
    kinds, which = np.unique(q, return_inverse=True)
    return np.stack(
        [
            (decode @ _contribution(metric, grid[:, None] + kinds, kinds[None, :]))[x, which]
            for metric in listed
        ]
    )
