"""Rows of equal time: what orders them, and how many users they decide for."""

from __future__ import annotations

import numpy as np

from recsys.data.hashing import hash_ids, hash_pairs
from recsys.data.types import Dataset, Interactions

__all__ = ["cut_ties", "tie_keys", "tie_words", "words_of_ties"]


def tie_keys(data: Dataset, seed: int = 0, events: Interactions | None = None) -> np.ndarray:
    """Return the keys that order rows of equal times, [n]: the row in the source, or a hash.

    The hash is of (seed, user id, item id): neither a row number nor the spelling of ids favours a
    user or an item. It serves sources without an order: matrices and folders of many files.

    Args:
        data: knows the ids.
        seed: of the hash.
        events: the n rows, over the users and items of the data; None: its pairs.
    """
    pairs = data.pairs if events is None else events
    if pairs.order is not None:
        return pairs.order
    user, item = hash_ids(data.users.ids), hash_ids(data.items.ids)
    return hash_pairs(user[pairs.user], item[pairs.item], seed)


def cut_ties(pairs: Interactions, part: np.ndarray) -> tuple[int, int]:
    """Count the users who are cut between rows of equal time, and the users who are cut at all.

    Args:
        pairs: the interactions, with times.
        part: 0 train, 1 valid, 2 test; [n].
    """
    assert pairs.time is not None
    order = np.lexsort((part, pairs.time, pairs.user))
    user = pairs.user[order]
    time = pairs.time[order]
    part = part[order]
    cut = (user[1:] == user[:-1]) & (part[1:] != part[:-1])
    tied = cut & (time[1:] == time[:-1])
    return len(np.unique(user[1:][tied])), len(np.unique(user[1:][cut]))


def tie_words(pairs: Interactions, part: np.ndarray, seed: int) -> str:
    """Describe what decides between rows of equal times, and for how many users; "" for none."""
    return words_of_ties(pairs, *cut_ties(pairs, part), seed)


def words_of_ties(pairs: Interactions, tied: int, cut: int, seed: int) -> str:
    """Describe what decides between rows of equal times.

    Args:
        pairs: the interactions.
        tied, cut: as from `cut_ties`.
        seed: of the hash.
    """
    if not tied:
        return ""
    order = "in the order of the file" if pairs.order is not None else f"by hash, seed {seed}"
    return f"; equal times {order}: they decide for {tied} of {cut} users ({tied / cut:.1%})"
