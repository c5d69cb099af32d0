"""A request for recommendations: who asks, list length, candidates, treatment of the unknown."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from recsys.data.ids import Ids, match_id_type
from recsys.data.types import Vocab
from recsys.errors import InputError, one_of
from recsys.ranking.rerank import Rerank
from recsys.scorer import Scorer
from recsys.serving.given_histories import HistoriesLike

__all__ = ["Request", "Unknown", "allowed_rows", "length_of", "without_unplaced"]

Unknown = Literal["popular", "skip", "error"]


@dataclass(frozen=True, eq=False)
class Request:
    """A request for recommendations, in outside ids: for users, for histories, or for items.

    Args:
        users: ids, in the order of the answer; None: every user of the run, if neither histories
            nor items are given.
        k: items per list, at least 1; a list with fewer candidates has fewer rows.
        filter_seen: whether to leave out the user's training items, or the items of the history.
        candidates: ids of the only items to recommend; None: all.
        exclude: ids of items never to recommend.
        unknown: what users get whom the scorer does not know. "popular": the most popular
            candidates; "skip": no rows; "error": an error. Unknown is a user who is not in the
            training data; who has no training interaction, unless the scorer places such users; or
            whose candidates all have the same score. So is a history without a known item, and an
            item without a training interaction.
        unmet: whether items without a training interaction are candidates even if the scorer does
            not place them.
        titles: whether to add a column with the titles of the items, where the data have them.
        histories: the histories to rank by, in any form that
            `recsys.serving.given_histories.given_histories` takes. `users` names those of a list.
        items: ids of the items to rank what goes with them.
        rerank: how lists are made of the best items of the scorer, also those by popularity.

    Raises:
        InputError: k is not an integer of at least 1, `unknown` is not a valid choice, items are
            given together with users or histories, or filter_seen = False together with items.
    """

    users: Ids | None = None
    k: int = 10
    filter_seen: bool = True
    candidates: Ids | None = None
    exclude: Ids | None = None
    unknown: Unknown = "popular"
    unmet: bool = False
    titles: bool = False
    histories: HistoriesLike | None = None
    items: Ids | None = None
    rerank: Rerank = field(default_factory=Rerank)

    def __post_init__(self) -> None:
        if self.items is not None:
            self._check_items()
        one_of(self.unknown, get_args(Unknown), "unknown")
        object.__setattr__(self, "k", length_of(self.k))

    def _check_items(self) -> None:
        """Refuse settings that have no effect on what goes with items."""
        for name in ("users", "histories"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"items and {name} do not go together", remedy="ask for each on its own"
                )
        if not self.filter_seen:
            raise InputError(
                "an item never goes with itself, so filter_seen = False (--keep-seen) has no "
                "effect on items",
                remedy="leave it out",
            )


def length_of(k: int) -> int:
    """Return the length of a list as an integer.

    Raises:
        InputError: k is not an integer, or is below 1.
    """
    try:
        length = operator.index(k)
    except TypeError:
        raise InputError(
            f"k must be an integer, got {k!r}", remedy="ask for 1 or more items"
        ) from None
    if length < 1:
        raise InputError(f"k must be at least 1, got {k}", remedy="ask for 1 or more items")
    return length


def allowed_rows(items: Vocab, request: Request) -> np.ndarray | None:
    """Return the item rows that may be recommended, ascending; None: all.

    Args:
        items: ids of the items.
        request: with the ids of `candidates` and `exclude`.

    Raises:
        InputError: an unknown id, or no item is left.
    """
    if request.candidates is None and request.exclude is None:
        return None
    allowed = np.arange(len(items))
    if request.candidates is not None:
        allowed = _rows(items, request.candidates, "candidates")
    if request.exclude is not None:
        allowed = np.setdiff1d(allowed, _rows(items, request.exclude, "exclude"))
    if not len(allowed):
        raise InputError(
            "no item is left to recommend",
            place="candidates",
            remedy="give more candidates, or exclude fewer items",
        )
    return allowed


def _rows(items: Vocab, ids: Ids, place: str) -> np.ndarray:
    return np.unique(items.require(match_id_type(ids, items.ids.dtype, place), place))


def without_unplaced(
    allowed: np.ndarray | None, unplaced: np.ndarray, scorer: Scorer
) -> np.ndarray | None:
    """Return the allowed item rows that a scorer can rank; None: all items.

    Args:
        allowed: item rows; None: all.
        unplaced: items whose scores carry no information, bool [n_items].
        scorer: the scorer, for the message.

    Raises:
        InputError: no item is left.
    """
    if not unplaced.any():
        return allowed
    pool = np.flatnonzero(~unplaced) if allowed is None else allowed[~unplaced[allowed]]
    if not len(pool):
        n = len(unplaced) if allowed is None else len(allowed)
        raise InputError(
            f"none of the {n} candidates has a training interaction, and this '{scorer.kind}' "
            "scorer cannot place items without one",
            place="candidates",
            remedy="give other candidates, use a method that places items by their features, "
            "or rank them all the same: --unmet",
        )
    return pool
