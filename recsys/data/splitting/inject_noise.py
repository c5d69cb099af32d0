"""Noise put into a split on purpose: false pairs with label 0 among those that learn and select, none in the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from recsys.config import Bound, settings
from recsys.data.types import Interactions

__all__ = ["Noise", "inject", "labelled"]

_ROUNDS = 200  # of redrawing what has been met already; who has met nearly everything gets fewer


@settings
class Noise:
    """False pairs that are added to train and valid: of users with items that they have met in no part."""

    kind: Literal["none", "random", "popular"] = "none"
    """random: items at random. popular: in proportion to their train pairs, as by mistake or for show. Only items of train, else they would
    be told by that alone."""
    share: Annotated[float, Bound(ge=0, le=10)] = 0.1
    """False pairs for every true one of a part."""
    per: Literal["user", "all"] = "user"
    """user: every user gets the share of its own pairs, so that activity stays as it was. all: users at random, so that those with few
    pairs have the larger part of it."""
    valid: bool = True
    """Into valid too; else selection is by true pairs only."""
    seed: Annotated[int, Bound(ge=0)] = 0
    """Of the draw."""


def labelled(pairs: Interactions) -> Interactions:
    """The same with a label on every pair, 1 where there was none."""
    return (
        pairs
        if pairs.label is not None
        else replace(pairs, label=np.ones(len(pairs), dtype=np.int8))
    )


def inject(
    pairs: Interactions,
    train: Interactions,
    met: Sequence[Interactions],
    noise: Noise,
    *,
    name: str = "train",
) -> Interactions:
    """The pairs with false ones among them, all labelled, in order of user and item.

    A false pair takes time, position, weight and behaviour of a true pair of the same user, drawn at random, so that no column tells it. Nothing here
    depends on the order of rows as long as no pair is there twice.

    Args:
        pairs: of a part; only its users get false ones.
        train: whose items are drawn.
        met: all parts, the test too: what is in one of them is no noise.
        noise: what kind, and how much.
        name: of the part; another name draws other numbers.
    """
    pairs = labelled(pairs)
    pairs = pairs.take(np.argsort(pairs.key, kind="stable"))
    if noise.kind == "none" or noise.share == 0 or not len(pairs):
        return pairs
    rng = np.random.default_rng([noise.seed, *name.encode()])
    owners = _owners(pairs, noise, rng)
    count = np.bincount(train.item, minlength=train.n_items)
    weight = (count > 0).astype(np.float64) if noise.kind == "random" else count.astype(np.float64)
    user, item = _draw(
        owners,
        np.cumsum(weight),
        np.unique(np.concatenate([part.key for part in met])),
        pairs.n_items,
        rng,
    )
    first, size = (np.searchsorted(pairs.user, user, side) for side in ("left", "right"))
    donor = first + (rng.random(len(user)) * (size - first)).astype(np.int64)
    columns: dict[str, Any] = {
        "user": np.concatenate([pairs.user, user]),
        "item": np.concatenate([pairs.item, item]),
    }
    assert pairs.label is not None
    columns["label"] = np.concatenate([pairs.label, np.zeros(len(user), dtype=np.int8)])
    for column in ("time", "position", "weight", "behaviour"):
        values = getattr(pairs, column)
        if values is not None:
            columns[column] = np.concatenate([values, values[donor]])
    both = replace(pairs, **columns)
    return both.take(np.argsort(both.key, kind="stable"))


def _owners(pairs: Interactions, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """The user of each false pair, int64 [n]."""
    counts = np.bincount(pairs.user, minlength=pairs.n_users)
    if noise.per == "all":
        return np.sort(rng.choice(np.flatnonzero(counts), round(noise.share * len(pairs))))
    # Rounded up or down at random, so that the share is right in the mean for users with few pairs too.
    wanted = np.floor(noise.share * counts + rng.random(len(counts))).astype(np.int64)
    return np.repeat(np.arange(len(counts)), np.where(counts > 0, wanted, 0))


def _draw(
    owners: np.ndarray,
    cumulative: np.ndarray,
    met: np.ndarray,
    n_items: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """An item for each owner that it has not met, none twice; who has met nearly everything is left out where luck does not help."""
    found: list[np.ndarray] = []
    waiting = owners.astype(np.int64)
    for _ in range(_ROUNDS):
        if not len(waiting):
            break
        item = np.searchsorted(cumulative, rng.random(len(waiting)) * cumulative[-1], side="right")
        key = waiting * n_items + np.minimum(item, n_items - 1)
        _, once = np.unique(key, return_index=True)
        good = np.zeros(len(key), dtype=bool)
        good[once] = True
        good &= ~np.isin(key, met)
        found.append(key[good])
        met = np.union1d(met, key[good])
        waiting = waiting[~good]
    keys = np.sort(np.concatenate([*found, np.empty(0, dtype=np.int64)]))
    return keys // n_items, keys % n_items
