"""A data set whose answer is known: two camps of users, each of which likes half of the items."""

from __future__ import annotations

import numpy as np

from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab


def two_camps(
    users: int = 60, items: int = 40, each: int = 8, kept: int = 2, seed: int = 0
) -> tuple[Dataset, Interactions]:
    """Training data and what was kept back: `each` and `kept` items per user, all of the user's own camp.

    Even users like even items, odd users odd ones, at random. Popularity tells nothing; the camp tells all that can be told.
    One user more (the last row) has no pair, and one item more (the last row) nobody has met. Two modalities tell the camp of an item, `text`
    plainly and `image` less so; the new item has no text, every seventh item no image.
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
