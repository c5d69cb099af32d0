"""Pairs of a user and an item as numbers, so that equal pairs are found quickly."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.data.vocab import Vocab

__all__ = ["pair_numbers", "repeated_pairs"]


def pair_numbers(frame: pl.DataFrame) -> np.ndarray:
    """Return a number for the user and item of each row, int64 [n]; equal pairs share one."""
    users, items = (Vocab.of(frame[role]) for role in ("user", "item"))
    user_rows = users.rows(frame["user"]).astype(np.int64)
    return np.asarray(user_rows * max(len(items), 1) + items.rows(frame["item"]))


def repeated_pairs(pairs: np.ndarray) -> np.ndarray:
    """Return whether the pair of a row occurs more than once, bool [n].

    Sorting one number per pair is several times faster than hashing two columns.

    Args:
        pairs: as from `pair_numbers`.
    """
    repeated = np.zeros(len(pairs), dtype=bool)
    ordered = np.sort(pairs)
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(pairs)
        same = pairs[order[1:]] == pairs[order[:-1]]
        repeated[order[1:][same]] = True
        repeated[order[:-1][same]] = True
    return repeated
