"""What a scorer can say of users and items that no training pair holds: the scorer declares it, and whatever serves or judges asks.

A row of the vocabulary is not yet known to the model. Without a training pair it has the vector it started with, or zeros, and its
scores tell nothing, unless the method places it by something else: items by their features, users by a second method or because
everybody is served alike. A user whose history is folded in has pairs, and needs no such ability.

A scorer declares by an attribute `places`; one that has none places nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.data.types import Dataset

__all__ = ["Places", "places_of", "shared_by", "unplaced"]


@dataclass(frozen=True)
class Places:
    """Whether scores mean something without a training pair.

    Args:
        users: the scores of a user who has none.
        items: the scores of an item that nobody has met.
    """

    users: bool = False
    items: bool = False


def places_of(scorer: Any) -> Places:
    """Return what a scorer declares; a scorer that declares nothing places neither."""
    declared = getattr(scorer, "places", None)
    return declared if isinstance(declared, Places) else Places()


def shared_by(parts: Iterable[Any]) -> Places:
    """Return what all parts of a scorer place: in a sum, one part that knows nothing spoils the order."""
    each = [places_of(part) for part in parts]
    return Places(
        bool(each) and all(one.users for one in each), bool(each) and all(one.items for one in each)
    )


def unplaced(scorer: Any, train: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return which users and which items the model knows nothing of, bool [n_users] and [n_items].

    Args:
        scorer: what ranks.
        train: the pairs by which its users are known, and how many it has learned from of each item.
    """
    places = places_of(scorer)
    users = np.bincount(train.pairs.user, minlength=train.n_users) == 0
    return (
        np.zeros(train.n_users, dtype=bool) if places.users else users,
        np.zeros(train.n_items, dtype=bool) if places.items else train.item_counts == 0,
    )
