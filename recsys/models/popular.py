"""The most popular items, the same for every user: the baseline that any method must beat.

Score: s(u, i) = sum over the distinct users v of i of 2^(-(now - t_vi) / half_life), where t_vi is
the time of the last interaction of v and i, and now is the last time in training. Without
`half_life` every summand is 1 and the score is the number of users of i. Equal scores are ranked by
a hash of the item, as `recsys.ranking` does for every method.

Reproduces: recall@20 0.0416, ndcg@20 0.0317 on the LightGCN split of Gowalla (`recsys run
configs/popular-gowalla.toml`).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch

from recsys.config import Bound, settings
from recsys.data.times import TICKS
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError
from recsys.scorer import Product

__all__ = ["Popular"]

_DAY = 86_400


@settings
class Popular:
    """The most popular items, optionally weighted by recency; ties by a hash of the item."""

    half_life: Annotated[float, Bound(gt=0)] | None = None
    """Days after which an interaction counts half; none: all count equally. Needs times."""

    def build(self, train: Dataset) -> Product:
        score = torch.from_numpy(_counts(train.pairs, self.half_life).astype(np.float32))
        return Product((torch.ones(train.n_users, 1), score[None, :]), "ones")


def _counts(pairs: Interactions, half_life: float | None) -> np.ndarray:
    """Return the weighted number of distinct users of each item, float64 [n_items]."""
    if half_life is None:
        return np.bincount(pairs.csr.indices, minlength=pairs.n_items).astype(np.float64)
    if pairs.time is None:
        raise InputError(
            "half_life needs times, and these interactions have no time",
            place="[model] half_life",
            remedy="name the time column, or drop half_life",
        )
    if not len(pairs):
        return np.zeros(pairs.n_items)
    order = np.lexsort((pairs.time, pairs.key))
    last = order[np.append(np.diff(pairs.key[order]) != 0, True)]
    age = (pairs.time.max() - pairs.time[last]) / (_DAY * TICKS[pairs.time_unit])
    return np.bincount(pairs.item[last], weights=np.exp2(-age / half_life), minlength=pairs.n_items)
