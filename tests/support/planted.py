"""A data set with a known answer: two camps of users, each of which likes half of the items."""

from __future__ import annotations

import numpy as np

from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab


def two_camps(
    users: int = 60, items: int = 40, each: int = 8, kept: int = 2, seed: int = 0
) -> tuple[Dataset, Interactions]:
    """Return training data and held-out pairs: per user, `each` and `kept` items of their own camp.

    Even users like even items, odd users odd ones, at random. Popularity carries no information;
    the camp carries all of it. The last user has no pair, and no user has interacted with the last
    item. Two modalities reveal the camp of an item, `text` clearly and `image` less so; the new
    item has no text, every seventh item no image.
    """
    rng = np.random.default_rng(seed)
    drawn = np.stack(
        [rng.permutation(np.arange(user % 2, items, 2))[: each + kept] for user in range(users)]
    )
    owner = np.arange(users)
    met = Interactions(np.repeat(owner, each), drawn[:, :each].ravel(), users + 1, items + 1)
    held = Interactions(np.repeat(owner, kept), drawn[:, each:].ravel(), users + 1, items + 1)
    camp = np.eye(2, dtype=np.float32)[np.arange(items + 1) % 2] + rng.normal(
        0, 0.1, (items + 1, 2)
    ).astype(np.float32)
    rough = (
        np.random.default_rng(seed + 1).normal(camp[:, [0, 1, 1]], 0.4).astype(np.float32)
    )  # of its own numbers: what was before stays
    features = {
        "text": FeatureTable(camp, np.arange(items + 1) < items),
        "image": FeatureTable(
            rough, (np.arange(items + 1) % 7 != 3) | (np.arange(items + 1) == items)
        ),
    }
    return Dataset(
        met, Vocab.range(users + 1, "user"), Vocab.range(items + 1, "item"), features
    ), held
