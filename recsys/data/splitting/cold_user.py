"""Whole users are held out, and nothing of them is given but their attributes."""

from __future__ import annotations

import numpy as np

from recsys.data.splitting.rules import TEST, TRAIN, VALID
from recsys.data.types import Interactions
from recsys.errors import InputError

__all__ = ["by_cold_user"]


def by_cold_user(pairs: Interactions, share: float = 0.2, *, seed: int = 0) -> np.ndarray:
    """Hold out a random share of the users with all their rows: half for valid, half for test.

    The counterpart of `by_new_item`. Only users that occur are drawn. A method without attributes
    of users cannot tell them apart.

    Args:
        pairs: the interactions, n rows.
        share: of the users that are held out.
        seed: of the draw.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: too few users for one in both parts.
    """
    users = np.unique(pairs.user)
    n_cold = int(share * len(users) + 1e-9)
    if n_cold < 2:
        raise InputError(
            f"{share:g} of {len(users)} users is {n_cold}, too few for valid and test",
            place="[split] new_users",
            remedy="raise the share",
        )
    drawn = np.random.default_rng([seed, *b"cold-user"]).permutation(users)[:n_cold]
    part_of_user = np.full(pairs.n_users, TRAIN, dtype=np.int8)
    part_of_user[drawn[: n_cold // 2]] = VALID
    part_of_user[drawn[n_cold // 2 :]] = TEST
    return part_of_user[pairs.user]
