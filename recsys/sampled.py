"""The sampled-candidate protocol: rank each test item among a few drawn items, and estimate what the full ranking would have given.

Uncorrected, such numbers are not estimates of anything: they are much larger than those of the full ranking and can order two methods
the other way round (Krichene & Rendle, KDD 2020). If x of m uniform candidates beat a test item that r - 1 of N would beat in full,
then x ~ Binomial(m, (r - 1) / N), and the estimators below undo that:

    none      the metric of the sampled ranks themselves
    rank      the metric at the unbiased rank, 1 + floor(N x / m)                                            [KR]
    bv        the values per x with least squared bias + g (variance - bias) over ranks:
              ((1 - g) A'DA + g diag(A'D1))^-1 A'D f, A = P(x | r), D = diag P(r) uniform, g = 0.01          [KR]
    mle       the ranks' distribution by maximum likelihood (EM), then the expected metric given x           [J]
    bv_mle    bv with that distribution as D                                                                 [L23]
    entropy   as mle, the distribution of largest entropy that fits what was seen                            [J]

[KR] Krichene & Rendle, On Sampled Metrics for Item Recommendation, KDD 2020. [L20] Li, Jin, Gao & Liu, On Sampling Top-K Recommendation Evaluation,
KDD 2020: its linear map from a cut-off k among the sampled to K = 1 + floor((k - 1) N / m) in full gives for recall the same number as "rank".
[J] Jin et al., On Estimating Recommendation Evaluation Metrics under Sampling, AAAI 2021. [L23] Li et al., Towards Reliable Item Sampling, AAAI 2023.

Certain: the binomial model, "rank", the linear system of "bv" with g = 0.01, and EM. With g = 0 that system has the least bias and, from 100
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
(5) Ranks are binned beyond the largest cut-off, finer than the binomial can resolve.
`auc` needs no estimator: the share of drawn candidates that a test item beats is unbiased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.optimize
import scipy.sparse as sp
import scipy.stats
import torch

from recsys.metrics import Metric
from recsys.rank import score_blocks
from recsys.scorer import Factors, Scorer

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

    Args:
        indptr: int64 [U + 1]; user u's test items are the entries indptr[u]:indptr[u + 1], best first.
        beaten_by: int64 [P], how many of the m drawn candidates rank above each test item; equal scores by item row.
        above: float64 [P], an unbiased estimate of how many of all non-test candidates rank above it; a tie counts one half.
        pool: int64 [U], the number of non-test candidates N of each user.
        m: candidates drawn per user, with replacement, shared by his test items.
    """

    indptr: np.ndarray
    beaten_by: np.ndarray
    above: np.ndarray
    pool: np.ndarray
    m: int


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
        m: how many to draw, with replacement: the binomial model of the estimators is then exact.
        counts: draw in proportion to counts + 1 [n_items] instead of uniformly; every item can then be drawn.
        seed: the same seed gives the same candidates for the same users, whatever the scorer.
    """
    generator = np.random.default_rng(seed)
    sizes = np.diff(test.indptr)
    barred = sp.csr_matrix(seen[users] + test)
    barred.sort_indices()
    pool = (scorer.n_items - np.diff(barred.indptr)).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    beaten_by, above = np.zeros(test.nnz, dtype=np.int64), np.zeros(test.nnz)
    gathered = isinstance(scorer, Factors) and (m + sizes.mean()) * GATHER < scorer.n_items
    dim = scorer.user.shape[1] + 1 if isinstance(scorer, Factors) else 1
    step = (
        max(1, (4 << 20) // (4 * (m + int(sizes.max(initial=1))) * dim))
        if gathered
        else max(1, (64 << 20) // (4 * scorer.n_items))
    )
    tables = scorer.as_dot() if gathered and isinstance(scorer, Factors) else None
    for start in range(0, len(users), step):
        stop = min(start + step, len(users))
        rows = users[start:stop]
        inside = barred[start:stop]
        drawn, chance = (
            _uniform(inside, m, generator)
            if counts is None
            else _popular(inside, counts + 1.0, m, generator)
        )
        span = slice(indptr[start], indptr[stop])
        owner = np.repeat(np.arange(stop - start), sizes[start:stop])
        column = np.arange(indptr[start], indptr[stop]) - indptr[start:stop][owner]
        places = np.zeros((stop - start, m + int(sizes[start:stop].max(initial=0))), dtype=np.int64)
        places[:, :m] = drawn
        places[owner, m + column] = test.indices[span]
        if tables is not None:
            query, key = (
                tables[0][torch.as_tensor(rows, dtype=torch.long, device=scorer.device)],
                tables[1],
            )
            index = torch.as_tensor(places, device=scorer.device)
            scored = torch.bmm(torch.nn.functional.embedding(index, key), query[:, :, None])[
                :, :, 0
            ]
        else:
            [(_, scored)] = score_blocks(scorer, rows, block=len(rows))
            scored = scored.gather(1, torch.as_tensor(places, device=scored.device))
        score = scored.float().cpu().numpy()
        mine, mine_row = score[owner, m + column][:, None], test.indices[span][:, None]
        theirs = score[owner, :m]
        higher, equal = theirs > mine, theirs == mine
        chances = None if chance is None else 1 / (m * chance[owner])
        scale = pool[start:stop][owner] / m
        beaten_by[span] = np.count_nonzero(higher, axis=1)
        above[span] = beaten_by[span] * scale if chances is None else (higher * chances).sum(1)
        if equal.any():
            beaten_by[span] += np.count_nonzero(equal & (drawn[owner] < mine_row), axis=1)
            above[span] += (
                np.count_nonzero(equal, axis=1) * scale
                if chances is None
                else (equal * chances).sum(1)
            ) / 2
        order = np.lexsort((mine_row[:, 0], -mine[:, 0], owner))
        beaten_by[span], above[span] = beaten_by[span][order], above[span][order]
    # Nothing to draw from: every candidate is a test item, and none is above any.
    empty = np.repeat(pool == 0, sizes)
    beaten_by[empty], above[empty] = 0, 0.0
    return Draw(indptr, beaten_by, above, pool, m)


def _uniform(
    barred: sp.csr_matrix, m: int, generator: np.random.Generator
) -> tuple[np.ndarray, None]:
    """[B, m] items outside each row of `barred`, uniform with replacement, exactly: the j-th allowed item is j + the barred ones before it."""
    rows, n = barred.shape
    sizes = np.diff(barred.indptr)
    rank = (generator.random((rows, m)) * np.maximum(n - sizes, 1)[:, None]).astype(np.int64)
    owner = np.repeat(np.arange(rows), sizes)
    gap = barred.indices - (
        np.arange(barred.nnz) - barred.indptr[:-1][owner]
    )  # allowed items before each barred one
    passed = (
        np.searchsorted(
            owner * (n + 1) + gap, np.arange(rows)[:, None] * (n + 1) + rank, side="right"
        )
        - barred.indptr[:-1][:, None]
    )
    return np.minimum(rank + passed, n - 1), None


def _popular(
    barred: sp.csr_matrix, weight: np.ndarray, m: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """[B, m] items outside each row of `barred`, in proportion to `weight`, and the chance [B, m] of each; by bounded rejection."""
    rows, n = barred.shape
    cumulative = np.cumsum(weight)
    owner = np.repeat(np.arange(rows, dtype=np.int64), np.diff(barred.indptr))
    keys = np.append(owner * n + barred.indices, np.iinfo(np.int64).max)
    left = np.maximum(
        cumulative[-1] - np.bincount(owner, weight[barred.indices], minlength=rows), weight.min()
    )
    items = np.zeros((rows, m), dtype=np.int64)
    open_rows, open_columns = np.divmod(np.arange(rows * m), m)
    for _ in range(30):
        found = np.minimum(
            np.searchsorted(
                cumulative, generator.random(len(open_rows)) * cumulative[-1], side="right"
            ),
            n - 1,
        )
        items[open_rows, open_columns] = found
        wanted = open_rows * n + found
        again = keys[np.searchsorted(keys, wanted)] == wanted
        open_rows, open_columns = open_rows[again], open_columns[again]
        if not len(open_rows):
            break
    for row in np.unique(open_rows):  # users who have met nearly all that is popular
        allowed = weight.copy()
        allowed[barred.indices[barred.indptr[row] : barred.indptr[row + 1]]] = 0
        if allowed.sum() > 0:
            columns = open_columns[open_rows == row]
            items[row, columns] = generator.choice(n, size=len(columns), p=allowed / allowed.sum())
    return items, weight[items] / left[:, None]


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

    A single user's value may lie outside 0..1: only means over many users are estimates. After a draw by popularity only "none" and "rank" apply,
    the latter from inverse-probability weights.

    Args:
        n_relevant: test items per user [U], the seen ones too.
    """
    sizes = np.diff(drawn.indptr)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    q = np.arange(len(owner)) - drawn.indptr[:-1][owner]
    m = drawn.m
    listed = [metric for metric in metrics if metric.kind != "auc"]
    values = np.zeros((len(listed), len(owner)))
    if estimator == "none":
        place = drawn.beaten_by + 1
        values[:] = [_contribution(metric, place, q) for metric in listed]
    elif estimator == "rank":
        place = 1 + np.floor(np.round(drawn.above, 6))
        values[:] = [_contribution(metric, place, q) for metric in listed]
    elif len(owner):
        pool = drawn.pool[owner]
        group, sizes_N = _bins(pool)
        grid, width = _grid(
            int(pool.max()), m, 2 * max((metric.k or 0 for metric in listed), default=0)
        )
        likelihoods = [_likelihood(grid, n, m) for n in sizes_N]
        classes = np.frexp(q + 1.0)[1] - 1
        weight = 1.0 / n_relevant[owner]
        for level in range(int(classes.max()) + 1):
            inside = classes == level
            if not inside.any():
                continue
            prior = _distribution(
                likelihoods,
                group[inside],
                drawn.beaten_by[inside],
                weight[inside],
                grid,
                width,
                estimator,
            )
            for code, likelihood in enumerate(likelihoods):
                here = np.flatnonzero(inside & (group == code))
                if len(here):
                    decode = decoder(likelihood, prior, estimator)
                    values[:, here] = _decoded(decode, grid, listed, drawn.beaten_by[here], q[here])
    out: dict[str, np.ndarray] = {}
    for metric, value in zip(listed, values, strict=True):
        total = np.bincount(owner, value, minlength=len(sizes))
        out[metric.name] = np.where(n_relevant > 0, total / _divisor(metric, n_relevant), np.nan)
    for metric in metrics:
        if metric.kind == "auc":
            beaten = np.bincount(owner, drawn.above, minlength=len(sizes))
            pairs = sizes * drawn.pool
            out[metric.name] = 1 - np.divide(
                beaten, pairs, out=np.full(len(sizes), np.nan), where=pairs > 0
            )
    return out


def _contribution(metric: Metric, rank: np.ndarray, q: np.ndarray) -> np.ndarray:
    """What a test item at `rank` among the non-test items adds, with q of the user's other test items above it."""
    place = rank + q
    kept = place <= (np.inf if metric.k is None else metric.k)
    if metric.kind in ("recall", "precision"):
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
    if metric.kind == "map":
        return np.asarray(np.maximum(most, 1))
    if metric.kind == "ndcg":
        ideal = np.concatenate(
            [[1.0], np.cumsum(1 / np.log2(np.arange(2, most.max(initial=0) + 2)))]
        )
        return np.asarray(ideal[most])
    return np.ones(len(n_relevant))


def _bins(pool: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Group numbers of candidates that differ by less than `BIN`; the code of each and the mean of each group."""
    code = np.round(np.log(np.maximum(pool, 1)) / np.log(BIN)).astype(np.int64)
    _, group = np.unique(code, return_inverse=True)
    return group, [float(n) for n in np.bincount(group, pool) / np.bincount(group)]


def _grid(n: int, m: int, exact: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks 1..n + 1 as cells: their middles and widths. One rank each up to `exact`, then a tenth of the binomial's standard deviation."""
    edges = list(range(1, min(max(exact, 64), n + 1) + 1))
    top = edges[-1] + 1
    while top <= n + 1:
        edges.append(top)
        p = min(1.0, top / max(n, 1))
        top += max(1, int(0.1 * n * np.sqrt(p * (1 - p) / m)))
    bounds = np.append(edges, n + 2)
    width = np.diff(bounds).astype(np.float64)
    return bounds[:-1] + (width - 1) / 2, width


def _likelihood(grid: np.ndarray, n: float, m: int) -> np.ndarray:
    """P(x of m drawn candidates are above | rank), [G, m + 1]; 0 for ranks beyond n + 1."""
    p = (grid - 1) / max(n, 1.0)
    inside = p <= 1 + 0.5 / max(n, 1.0)
    table = scipy.stats.binom.pmf(np.arange(m + 1)[None, :], m, np.minimum(p, 1.0)[:, None])
    return np.asarray(np.where(inside[:, None], table, 0.0))


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
            (decode @ _contribution(metric, grid[:, None], kinds[None, :]))[x, which]
            for metric in listed
        ]
    )
