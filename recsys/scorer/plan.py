"""How a scorer is ranked. Each scorer returns one of these values from `Scorer.plan`.

The ranking code (`recsys.ranking`) knows these plans and no class of scorer. A new kind of scorer
therefore needs no change there: it returns the plan that describes it.

    Gemm           one matrix product gives the scores
    BestOfSeveral  the largest of several matrix products gives the scores
    OneOrder       every user has the same scores, so the items are sorted once
    Blocks         no structure is known: `Scorer.score` is called for blocks of users
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

__all__ = ["BestOfSeveral", "Blocks", "Gemm", "OneOrder", "Plan"]


@dataclass(frozen=True, eq=False)
class Gemm:
    """Inner products: score(u, i) = query_u . key_i + term_u.

    Args:
        query: float32 [n_users, d].
        key: float32 [n_items, d].
        term: float32 [n_users], added to every score of a user after ranking, since it does not
            change the order of the user's items. None: zero.
    """

    query: Tensor
    key: Tensor
    term: Tensor | None = None


@dataclass(frozen=True, eq=False)
class BestOfSeveral:
    """The largest of several inner products: score(u, i) = max_c query_uc . key_i.

    Args:
        query: float32 [n_users, C, d].
        key: float32 [n_items, d].
    """

    query: Tensor
    key: Tensor


@dataclass(frozen=True)
class OneOrder:
    """Every user has the scores of user row 0, so one sorted list of items serves all users."""


@dataclass(frozen=True)
class Blocks:
    """Scores come from `Scorer.score`, for one block of users at a time."""


Plan: TypeAlias = Gemm | BestOfSeveral | OneOrder | Blocks
