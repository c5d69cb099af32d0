"""Injected noise: false interactions with label 0 in train and valid, never in the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from recsys.config import Bound, settings
from recsys.data.interactions import contains
from recsys.data.types import Interactions

__all__ = ["Noise", "inject", "labelled"]

# Rounds of rejection; a user who has interacted with almost every item may get fewer pairs.
_ROUNDS = 200


@settings
class Noise:
    """False pairs added to train and valid: users with items they never interacted with."""

    kind: Literal["none", "random", "popular"] = "none"
    """random: items drawn uniformly. popular: in proportion to their interactions in train, as if
    clicked by mistake. Only items of train are drawn: other items would be recognised as noise."""
    share: Annotated[float, Bound(ge=0, le=10)] = 0.1
    """False pairs per true pair of a part."""
    per: Literal["user", "all"] = "user"
    """user: every user gets this share of their own pairs, which preserves their activity. all:
    users drawn uniformly, so that inactive users have the larger share of false pairs."""
    valid: bool = True
    """Add false pairs to valid too; otherwise selection uses true pairs only."""
    seed: Annotated[int, Bound(ge=0)] = 0
    """Seed of the draw."""


def labelled(pairs: Interactions) -> Interactions:
    """Return the interactions with a label each: 1 (clean) if they had none."""
    if pairs.clean is not None:
        return pairs
    return replace(pairs, clean=np.ones(len(pairs), dtype=np.int8))


def inject(
    pairs: Interactions,
    train: Interactions,
    known: Sequence[Interactions],
    noise: Noise,
    *,
    name: str = "train",
) -> Interactions:
    """Add false pairs to the interactions of a part.

    A false pair takes time, order, weight, behaviour and session of a random true pair of the
    same user, so that no column gives it away. The result does not depend on the order of the rows,
    provided that no pair occurs twice.

    Args:
        pairs: interactions of the part; only its users get false pairs.
        train: interactions whose items are drawn.
        known: interactions of all parts, including the test; they are never drawn as noise.
        noise: what to add.
        name: of the part; it decides the random numbers together with the seed.

    Returns:
        True and false pairs, all labelled, in order of user and item.
    """
    pairs = labelled(pairs)
    pairs = pairs.take(np.argsort(pairs.key, kind="stable"))
    if noise.kind == "none" or noise.share == 0 or not len(pairs):
        return pairs
    rng = np.random.default_rng([noise.seed, *name.encode()])
    owners = _owners(pairs, noise, rng)
    count = train.item_counts()
    weight = (count > 0).astype(np.float64) if noise.kind == "random" else count.astype(np.float64)
    true_keys = np.unique(np.concatenate([part.key for part in known]))
    user, item = _draw(owners, np.cumsum(weight), true_keys, pairs.n_items, rng)
    first = np.searchsorted(pairs.user, user, "left")
    end = np.searchsorted(pairs.user, user, "right")
    donor = first + (rng.random(len(user)) * (end - first)).astype(np.int64)
    assert pairs.clean is not None
    columns: dict[str, Any] = {
        "user": np.concatenate([pairs.user, user]),
        "item": np.concatenate([pairs.item, item]),
        "clean": np.concatenate([pairs.clean, np.zeros(len(user), dtype=np.int8)]),
    }
    for column in ("time", "order", "weight", "behaviour", "session"):
        values = getattr(pairs, column)
        if values is not None:
            columns[column] = np.concatenate([values, values[donor]])
    both = replace(pairs, **columns)
    return both.take(np.argsort(both.key, kind="stable"))


def _owners(pairs: Interactions, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Return the user of each false pair, int64 [n]."""
    counts = pairs.user_counts()
    if noise.per == "all":
        return np.sort(rng.choice(np.flatnonzero(counts), round(noise.share * len(pairs))))
    # Randomly rounded, so that the share is also right on average for users with few pairs.
    per_user = np.floor(noise.share * counts + rng.random(len(counts))).astype(np.int64)
    return np.repeat(np.arange(len(counts)), np.where(counts > 0, per_user, 0))


def _draw(
    owners: np.ndarray,
    cumulative: np.ndarray,
    known: np.ndarray,
    n_items: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one unseen item per requested user, without duplicate pairs.

    Users who have interacted with almost every item may get fewer, once the rejection rounds are
    used up.

    Args:
        owners: a user per false pair [n].
        cumulative: cumulative weights of the items [n_items].
        known: sorted keys (user * n_items + item) of the pairs that cannot be drawn.
        n_items: number of items.
        rng: source of random numbers.

    Returns:
        Users and items of the false pairs in order of their key, int64 [m] each, m <= n.
    """
    accepted: list[np.ndarray] = []
    waiting = owners.astype(np.int64)
    for _ in range(_ROUNDS):
        if not len(waiting):
            break
        item = np.searchsorted(cumulative, rng.random(len(waiting)) * cumulative[-1], side="right")
        key = waiting * n_items + np.minimum(item, n_items - 1)
        _, first = np.unique(key, return_index=True)
        good = np.zeros(len(key), dtype=bool)
        good[first] = True
        good &= ~contains(known, key)
        accepted.append(key[good])
        known = np.union1d(known, key[good])
        waiting = waiting[~good]
    keys = np.sort(np.concatenate([*accepted, np.empty(0, dtype=np.int64)]))
    return keys // n_items, keys % n_items
