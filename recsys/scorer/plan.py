"""How a scorer is ranked. Each scorer returns one of these values from `Scorer.plan`.

The ranking code (`recsys.ranking`) knows these plans and no class of scorer. A new kind of scorer
therefore needs no change there: it returns the plan that describes it.

    Dot        one matrix product gives the scores
    NearestOf  the largest of several matrix products gives the scores
    OneOrder   every query has the same scores, so the items are sorted once
    Dense      no structure is known: `Scorer.score` is called for blocks of queries
    Pointwise  one query and one item are scored at a time
    Listed     the scorer makes the lists itself, and has no scores of all items
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch import Tensor

from recsys.data.query import Queries

__all__ = ["Dense", "Dot", "Listed", "NearestOf", "OneOrder", "Plan", "Pointwise"]


@dataclass(frozen=True, eq=False)
class Dot:
    """Inner products: score(q, i) = query_q . key_i + term_q.

    Args:
        encode: returns of B queries their vectors, float32 [B, d], and their terms, float32 [B], or
            None for zero. A term is added after ranking, since it does not change the order of the
            items. Called for one block of queries at a time, by several threads.
        key: float32 [n_items, d].
    """

    encode: Callable[[Queries], tuple[Tensor, Tensor | None]]
    key: Tensor


@dataclass(frozen=True, eq=False)
class NearestOf:
    """The largest of several inner products: score(q, i) = max_c query_qc . key_i.

    Args:
        encode: returns of B queries their vectors, float32 [B, C, d]; called as in `Dot`.
        key: float32 [n_items, d].
    """

    encode: Callable[[Queries], Tensor]
    key: Tensor


@dataclass(frozen=True)
class OneOrder:
    """Every query has the same scores, so one sorted list of items serves all.

    Args:
        scores: float32 [n_items].
    """

    scores: Tensor


@dataclass(frozen=True)
class Dense:
    """Scores come from `Scorer.score`, for one block of queries at a time."""


@dataclass(frozen=True, eq=False)
class Pointwise:
    """Scores of single items, for models that read query and item together.

    Args:
        score: returns of P queries and P item rows, int64 [P], the scores, float32 [P].
    """

    score: Callable[[Queries, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Listed:
    """The scorer makes the lists, as a search over a tree or in several stages does.

    Args:
        top_k: returns for B queries, the length k and the candidates (item rows, or None for all)
            the items, int [B, k], best first, -1 where a list ends, and their scores, float32
            [B, k], -inf there. It leaves out what the queries exclude.
        exact: whether the lists are those of a full ranking.
    """

    top_k: Callable[[Queries, int, np.ndarray | None], tuple[np.ndarray, np.ndarray]]
    exact: bool = False


Plan: TypeAlias = Dot | NearestOf | OneOrder | Dense | Pointwise | Listed
