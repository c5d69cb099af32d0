"""Whether a scorer's scores are informative for users and items without a training interaction.

Every user and item of the vocabulary has a score. Without a training interaction the score comes
from an initial vector or from zeros and carries no information, unless the method places the row in
another way: items by their features; users because all users get the same list, or by a second
method. Serving and evaluation ask the scorer.

A scorer declares this by an attribute `places`. A scorer without one places neither users nor
items. A user whose history was folded in has interactions and needs no such declaration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from recsys.data.types import Dataset
from recsys.scorer.base import Scorer

__all__ = ["Places", "places_of", "shared_by", "unplaced"]


@dataclass(frozen=True)
class Places:
    """Whether scores are informative without a training interaction.

    Args:
        users: for users without one.
        items: for items without one.
    """

    users: bool = False
    items: bool = False


def places_of(scorer: Scorer) -> Places:
    """Return what a scorer declares; without a declaration it places neither users nor items."""
    declared = getattr(scorer, "places", None)
    return declared if isinstance(declared, Places) else Places()


def shared_by(parts: Iterable[Scorer]) -> Places:
    """Return what all parts of a scorer place: one uninformative part spoils the order."""
    declared = [places_of(part) for part in parts]
    return Places(
        users=bool(declared) and all(part.users for part in declared),
        items=bool(declared) and all(part.items for part in declared),
    )


def unplaced(scorer: Scorer, train: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the users and the items whose scores carry no information.

    Args:
        scorer: a scorer of the users and items of `train`.
        train: training interactions of the users, and the training counts of the items.

    Returns:
        Two masks, bool [n_users] and bool [n_items].
    """
    places = places_of(scorer)
    users = np.bincount(train.pairs.user, minlength=train.n_users) == 0
    return (
        np.zeros(train.n_users, dtype=bool) if places.users else users,
        np.zeros(train.n_items, dtype=bool) if places.items else train.item_counts == 0,
    )
