"""Synthetic logs of a given shape: a few camps of taste, popular items, active users."""

from __future__ import annotations

import numpy as np

from recsys.data.types import Dataset, Interactions, Vocab


def log(n_users: int, n_items: int, n_pairs: int, seed: int = 0, camps: int = 50) -> Interactions:
    """Return about `n_pairs` distinct pairs.

    Users' activity is log-normal, items' popularity follows a power law, and taste has camps.
    """
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(0, 1.1, n_users)
    sizes = np.minimum(
        rng.poisson(activity / activity.sum() * n_pairs * 1.15), n_items // 2
    ).astype(np.int64)
    user = np.repeat(np.arange(n_users, dtype=np.int32), sizes)
    camp = rng.integers(camps, size=n_users, dtype=np.int32)[user]
    # Ranks drawn by a power law; four in five of them are those of the user's own camp.
    rank = (n_items * rng.random(len(user)) ** 2.2).astype(np.int64)
    own = rng.random(len(user)) < 0.8
    item = np.where(own, (rank // camps) * camps + camp, rank) % n_items
    key = np.unique(user.astype(np.int64) * n_items + item)
    return Interactions(
        (key // n_items).astype(np.int32), (key % n_items).astype(np.int32), n_users, n_items
    )


def dataset(pairs: Interactions) -> Dataset:
    """Return a dataset with row numbers for ids."""
    return Dataset(pairs, Vocab.range(pairs.n_users, "user"), Vocab.range(pairs.n_items, "item"))
