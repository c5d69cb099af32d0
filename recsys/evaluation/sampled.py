"""Metrics from sampled candidates: sample them, and rank the test items among them.

`recsys.evaluation.estimators` turns the ranks among sampled candidates into estimates of the
metrics of the full ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch

from recsys.data.hashing import tie_order
from recsys.data.query import Queries
from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.evaluation.contexts import DrawContext
from recsys.evaluation.draws import Sample, draw_items
from recsys.evaluation.estimators import estimate
from recsys.evaluation.measured import Measured
from recsys.evaluation.metrics import Metric
from recsys.evaluation.settings import Evaluation
from recsys.evaluation.slices import TestPart, item_counts
from recsys.ranking import score_blocks
from recsys.scorer import Dot, Scorer

__all__ = ["SampledRanking", "draw", "worthwhile"]

# Measured costs, in items of a full product (GATHER) and of a full ranking (WORTH).
GATHER = 24  # of scoring one gathered candidate
WORTH = 100  # of sampling and ranking one candidate

_SCORES = 2**20  # scores per block, times a factor for the kind of scorer
_COMPARISONS = 2**24  # comparisons of test items with candidates per block


@dataclass(frozen=True, eq=False)
class SampledRanking:
    """A scorer that ranks the test items of each user among sampled candidates.

    Args:
        scorer: the scorer.
        train: training interactions, the source of item popularity.
        evaluation: the settings.
    """

    scorer: Scorer
    train: Interactions
    evaluation: Evaluation

    def _pool(self, held_out: TestPart) -> np.ndarray:
        """Return the number of candidates of each user that are not test items, int64 [U]."""
        excluded = np.diff(held_out.queries.exclusion(self.train.n_items).indptr)
        return self.train.n_items - excluded - np.diff(held_out.reachable.indptr)

    def reason_against(self, held_out: TestPart) -> str:
        """Return why ranking all candidates is better, as a note; empty if sampling is better."""
        m = self.evaluation.sampled
        most = int(self._pool(held_out).max())
        if m >= most:
            return (
                f"sampled = {m}, and no user has more than {most} candidates: "
                "ranked in full, these numbers are exact"
            )
        if self.evaluation.estimator != "none" and not worthwhile(m, held_out.reachable):
            return (
                f"drawing {m} of {self.train.n_items} candidates costs more than ranking all: "
                "ranked in full, these numbers are exact"
            )
        return ""

    def measure(self, metrics: Sequence[Metric], held_out: TestPart) -> Measured:
        """Estimate metrics from sampled candidates.

        Args:
            metrics: the metrics; all can be sampled, see `Metric.can_be_sampled`.
            held_out: all test queries with their answers.

        Raises:
            InputError: a score is not a number.
        """
        settings = self.evaluation
        by_popularity = settings.sampled_by == "popularity"
        drawn = draw(
            self.scorer,
            held_out.queries,
            held_out.reachable,
            settings.sampled,
            counts=item_counts(self.train.csr) if by_popularity else None,
            seed=settings.seed,
        )
        measured = Measured(len(held_out.queries))
        columns = estimate(drawn, metrics, held_out.n_relevant, settings.estimator)
        for metric in metrics:
            least = settings.least_test_items(metric)
            measured.add(metric, columns[metric.name], held_out, least)
        pool = self._pool(held_out)
        if complete := np.count_nonzero(pool <= settings.sampled):
            measured.notes.append(
                f"{complete} of {len(pool)} users have no more than {settings.sampled} candidates, "
                "which are all ranked"
            )
        sample = f"{settings.sampled} {settings.sampled_by} candidates per user"
        if settings.estimator == "none":
            measured.notes.append(f"uncorrected ranks among {sample}")
        else:
            measured.notes.append(f"estimated from {sample} ({settings.estimator})")
        return measured


def worthwhile(m: int, test: sp.csr_matrix) -> bool:
    """Return whether sampling candidates is cheaper than ranking all; the scorer plays no part.

    Args:
        m: candidates per user.
        test: test items, which are scored, too, CSR [U, n_items].
    """
    return bool(WORTH * (m + test.nnz / max(1, test.shape[0])) <= test.shape[1])


def draw(
    scorer: Scorer,
    queries: Queries,
    test: sp.csr_matrix,
    m: int,
    *,
    counts: np.ndarray | None = None,
    seed: int = 0,
) -> DrawContext:
    """Sample m candidates per query, and rank the answers of the query among them.

    Candidates are items that are neither excluded nor answers. The vectors of `Factors`
    are gathered where that is cheaper than the full product. Other scorers score all items, and
    the scores of the sampled items are read, without a top-k. `worthwhile` says whether sampling
    is cheaper than a full ranking at all.

    Args:
        scorer: the scorer.
        queries: the queries [U]; items that they exclude are not candidates.
        test: answers that are not excluded, CSR [U, n_items].
        m: candidates per user, without replacement; a user with fewer candidates has all of them.
        counts: sample in proportion to counts + 1, int [n_items], so that every item can be
            sampled; None samples uniformly.
        seed: of the sample. The candidates of a user depend on the seed and the user row only, not
            on the scorer or the other users. Without users, or with several queries of one user,
            the position of the query takes the place of the user row.

    Raises:
        InputError: a score is not a number.
    """
    sizes = np.diff(test.indptr)
    excluded = sp.csr_matrix(queries.exclusion(scorer.n_items) + test)
    names = _names(queries)
    excluded.sort_indices()
    pool = (scorer.n_items - np.diff(excluded.indptr)).astype(np.int64)
    width = int(min(m, pool.max(initial=0)))
    most = int(sizes.max(initial=0))
    gathered: Dot | None = None
    cells = scorer.n_items
    plan = scorer.plan()
    if isinstance(plan, Dot) and (width + sizes.mean()) * GATHER < scorer.n_items:
        gathered = plan
        cells = (width + most) * (plan.key.shape[1] + 1)
    step = min(
        (4 if gathered else 16) * _SCORES // cells, _COMPARISONS // (1 + width * max(1, most))
    )
    step = max(1, step)
    weight = None if counts is None else counts + 1.0
    parts = [_Places.empty()]
    for start in range(0, len(queries), step):
        span = slice(start, start + step)
        sample = draw_items(names[span], excluded[span], m, weight=weight, seed=seed)
        scores = _scores(scorer, gathered, queries.take(span), sample.items, test[span])
        scale = None
        if counts is None:
            scale = pool[span] / np.maximum(np.minimum(m, pool[span]), 1)
        parts.append(_places(sample, scores, test[span], scale))
    places = _Places.joined(parts)
    return DrawContext(
        indptr=test.indptr.astype(np.int64),
        beaten_by=places.beaten_by,
        beaten_by_mean=places.beaten_by_mean,
        above=places.above,
        above_mean=places.above_mean,
        peers_mean=places.peers_mean,
        pool=pool,
        m=m,
    )


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores of sampled candidates, float32 [B, w], and of test items, float32 [P]."""

    sampled: np.ndarray
    test: np.ndarray


def _scores(
    scorer: Scorer,
    gathered: Dot | None,
    queries: Queries,
    items: np.ndarray,
    test: sp.csr_matrix,
) -> _Scores:
    """Return the scores of sampled candidates and test items.

    All come from one product, so that equal scores are exactly equal.

    Args:
        scorer: the scorer.
        gathered: its plan, to gather item vectors from; None scores all items.
        queries: the queries [B].
        items: sampled item rows, int [B, w]; -1 as padding.
        test: test items, CSR [B, n_items].

    Raises:
        InputError: a score is not a number.
    """
    width, sizes = items.shape[1], np.diff(test.indptr)
    owner = np.repeat(np.arange(len(queries)), sizes)
    column = width + np.arange(test.nnz) - test.indptr[:-1][owner]
    rows = np.zeros((len(queries), width + int(sizes.max(initial=0))), dtype=np.int64)
    rows[:, :width] = np.maximum(items, 0)
    rows[owner, column] = test.indices
    if gathered is None:
        [(_, scored)] = score_blocks(scorer, _freely(queries), block=len(queries))
        scored = scored.gather(1, torch.as_tensor(rows, device=scored.device))
    else:
        index = torch.as_tensor(rows, device=scorer.device)
        query, _ = gathered.encode(queries)
        key = torch.nn.functional.embedding(index, gathered.key)
        scored = torch.bmm(key, query[:, :, None])[:, :, 0]
    if bool(torch.isnan(scored).any()):
        raise InputError(
            "the scorer gives scores that are not numbers",
            remedy="train again with a smaller learning rate",
        )
    score = scored.float().cpu().numpy()
    return _Scores(score[:, :width], score[owner, column])


def _freely(queries: Queries) -> Queries:
    """Return the queries without what they exclude."""
    return replace(queries, exclude=None, excludes_history=False)


def _names(queries: Queries) -> np.ndarray:
    """Return a number for each query, from which its sample is drawn, int [n]."""
    users = queries.user
    if users is None or len(np.unique(users)) < len(users):
        return np.arange(len(queries))
    return users


@dataclass(frozen=True, eq=False)
class _Places:
    """The columns of `DrawContext` for the test items of some users, [P] each."""

    beaten_by: np.ndarray
    beaten_by_mean: np.ndarray
    above: np.ndarray
    above_mean: np.ndarray
    peers_mean: np.ndarray

    @classmethod
    def empty(cls) -> _Places:
        """Return the columns of no test item."""
        return cls(np.zeros(0, dtype=np.int64), *(np.zeros(0) for _ in range(4)))

    @classmethod
    def joined(cls, parts: Sequence[_Places]) -> _Places:
        """Return the columns of the test items of all parts."""
        return cls(
            np.concatenate([part.beaten_by for part in parts]),
            np.concatenate([part.beaten_by_mean for part in parts]),
            np.concatenate([part.above for part in parts]),
            np.concatenate([part.above_mean for part in parts]),
            np.concatenate([part.peers_mean for part in parts]),
        )


def _places(
    sample: Sample, scores: _Scores, test: sp.csr_matrix, scale: np.ndarray | None
) -> _Places:
    """Return the places of test items among sampled candidates.

    Args:
        sample: the sampled candidates.
        scores: of candidates and test items.
        test: test items, CSR [B, n_items].
        scale: number of candidates that one sampled candidate represents, float [B]; None takes
            1 / its probability.
    """
    tie = tie_order(test.shape[1])
    owner = np.repeat(np.arange(test.shape[0]), np.diff(test.indptr))
    order = np.lexsort((tie[test.indices], -scores.test, owner))
    own = scores.test[order]
    own_tie = tie[test.indices[order]][:, None]
    exists = (sample.items >= 0)[owner]
    higher = (scores.sampled[owner] > own[:, None]) & exists
    equal = (scores.sampled[owner] == own[:, None]) & exists
    before = higher | (equal & (tie[sample.items][owner] < own_tie))
    beaten = np.count_nonzero(before, axis=1)
    mean = np.count_nonzero(higher, axis=1) + np.count_nonzero(equal, axis=1) / 2
    if scale is not None:
        above, above_mean = beaten * scale[owner], mean * scale[owner]
    else:
        represents = 1 / sample.chance[owner]
        above = np.where(before, represents, 0.0).sum(1)
        above_mean = np.where(higher, represents, 0.0).sum(1)
        above_mean += np.where(equal, represents, 0.0).sum(1) / 2
    return _Places(beaten, mean, above, above_mean, _mean_position(owner, own))


def _mean_position(owner: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return how many entries of the same owner score above each entry, float64 [P].

    An equal score counts as one half. Entries are ordered by owner, then by descending score.
    """
    start = np.searchsorted(owner, owner)
    new = np.ones(len(owner), dtype=bool)
    new[1:] = (owner[1:] != owner[:-1]) | (score[1:] != score[:-1])
    first = np.flatnonzero(new)
    run = np.cumsum(new) - 1
    length = np.diff(np.append(first, len(owner)))
    return np.asarray(first[run] - start + (length[run] - 1) / 2)
