"""k folds: each row, or each user, is test in one of k splits."""

from __future__ import annotations

import numpy as np

from recsys.data.splitting.rules import TEST, TRAIN, canonical_order, ranks_within
from recsys.data.types import Interactions

__all__ = ["by_fold", "fold_of"]


def by_fold(
    pairs: Interactions, folds: int, fold: int, *, per: str = "user", seed: int = 0
) -> np.ndarray:
    """Deal rows into folds at random, and hold out one fold.

    Per user, the rows of a user are dealt one by one from a fold that is drawn, so that each fold
    gets as many of them, give or take one, and no fold is favoured.

    Args:
        pairs: the interactions, n rows.
        folds: number of folds.
        fold: the fold to hold out, from 1.
        per: "user" or "all".
        seed: of the draw.

    Returns:
        0 train, 2 test; int8 [n].
    """
    rng = np.random.default_rng([seed, *b"fold"])
    group = pairs.user if per == "user" else np.zeros(len(pairs), dtype=np.int32)
    canonical = canonical_order(pairs)
    draw = np.empty(len(pairs), dtype=np.int64)
    draw[canonical] = rng.integers(0, 2**32, len(pairs))
    rank, _ = ranks_within(group, canonical, draw)
    start = rng.integers(0, folds, pairs.n_users if per == "user" else 1)
    part = np.full(len(pairs), TRAIN, dtype=np.int8)
    part[fold_of(rank + start[group], folds) == fold] = TEST
    return part


def fold_of(number: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of things in turn, from 1; int64 [n].

    Args:
        number: of each thing, from 0 [n].
        folds: number of folds.
    """
    return np.asarray(number % folds + 1)
