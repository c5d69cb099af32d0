"""Item neighbours: an item is scored by its similarity to what the user has met.

Papers: Sarwar, Karypis, Konstan, Riedl, "Item-based collaborative filtering recommendation algorithms", WWW 2001; Deshpande,
Karypis, "Item-based top-N recommendation algorithms", TOIS 2004; powers instead of fixed roots after Aiolli, "Efficient top-N
recommendation for very large scale binary rated datasets", RecSys 2013.

    s(u, j) = sum_{i met by u, i among the k most similar to j} S_ij,
    S_ij = sum_v x_vi x_vj / (n_i^history_power n_j^target_power + shrink),

n_i the number of users of i, x_vi = d_v^(-user_power / 2) for an observed pair, d_v the number of items of v, times what `weighting`
adds (`recsys.nn.neighbours.weigh`). No item is its own neighbour; equal similarities are taken in the order of the item rows.
The cosine of the papers is user_power 0 and both powers 1/2. With user_power 1, both powers 1/2 and every neighbour it is the linear
part of GF-CF. A target_power below 1/2 favours popular items.

Differs from the papers: in being all of them at once. The scale of an item is a power of its count also where entries are weighted.

Reproduces nothing published. On the LightGCN split of Gowalla `recsys run configs/gowalla/itemknn.toml` gives recall@20 0.1844,
ndcg@20 0.1514; its settings were chosen on a ninth of train that was kept back for it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.nn.neighbours import Weighting, nearest, weigh
from recsys.scorer import Product

__all__ = ["ItemKNN"]


@settings
class ItemKNN:
    """Item neighbours: cosine, TF-IDF or BM25, with powers for the activity of users and the popularity of items (Sarwar et al., 2001)."""

    k: Annotated[int, Bound(ge=1)] = 200
    """Neighbours per item; the number of items or more keeps all."""
    weighting: Weighting = "cosine"
    user_power: Annotated[float, Bound(ge=0, le=4)] = 0.0
    """How much less the long history of a user tells; 1: in inverse proportion to its length."""
    history_power: Annotated[float, Bound(ge=0, le=2)] = 0.5
    """How much less a popular item in the history tells."""
    target_power: Annotated[float, Bound(ge=0, le=2)] = 0.5
    """How much a popular item is held back as a recommendation."""
    shrink: Annotated[float, Bound(ge=0)] = 0.0
    """Holds back similarities that rest on few users."""
    k1: Annotated[float, Bound(ge=0)] = 1.2
    """Of "bm25" alone: reward for a short row."""
    b: Annotated[float, Bound(ge=0, le=1)] = 0.75
    """Of "bm25" alone: how much the length of a row counts."""

    def build(self, train: Dataset) -> Product:
        met = train.pairs.csr
        users_of = met.T.tocsr()
        count = np.maximum(np.diff(users_of.indptr), 1).astype(np.float64)
        rows = weigh(users_of, self.weighting, self.user_power, self.k1, self.b)
        similar = nearest(
            rows,
            self.k,
            left=count**self.target_power,
            right=count**self.history_power,
            shrink=self.shrink,
        )
        return Product((met, similar.T.tocsr()), "history")
