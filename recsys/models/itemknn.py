"""Item neighbours: an item is scored by its similarity to the items of the user's history.

Papers: Sarwar, Karypis, Konstan, Riedl, "Item-based collaborative filtering recommendation
algorithms", WWW 2001; Deshpande, Karypis, "Item-based top-N recommendation algorithms", TOIS 2004;
powers instead of fixed roots after Aiolli, "Efficient top-N recommendation for very large scale
binary rated datasets", RecSys 2013.

    s(u, j) = sum over items i of u's history among the k most similar to j of S_ij,
    S_ij = sum_v x_vi x_vj / (n_i^history_power n_j^target_power + shrink),

where n_i is the number of users of i, x_vi = d_v^(-user_power / 2) for an observed pair, d_v the
number of items of v, times the factor of `weighting` (`recsys.scorer.row_neighbours`). An item is
never its own neighbour; equal similarities are ordered by item row. The cosine of the papers is
user_power 0 and both powers 1/2. With user_power 1, both powers 1/2 and all neighbours it is the
linear part of GF-CF. A target_power below 1/2 favours popular items.

Differs from the papers: it includes all of them. The scale of an item is a power of its count also
if entries are weighted.

Reproduces nothing published. On the LightGCN split of Gowalla `recsys run
configs/gowalla/itemknn.toml` gives recall@20 0.1844, ndcg@20 0.1514; its settings were chosen on a
ninth of train that was held out for it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.scorer import Product
from recsys.scorer.row_neighbours import Weighting, nearest, weigh
from recsys.scorer.row_neighbours_on_device import nearest_on

__all__ = ["ItemKNN"]


@settings
class ItemKNN:
    """Item neighbours by cosine, TF-IDF or BM25, with adjustable powers (Sarwar et al., 2001)."""

    k: Annotated[int, Bound(ge=1)] = 200
    """Neighbours per item; a k of the number of items or more keeps all."""
    weighting: Weighting = "cosine"
    user_power: Annotated[float, Bound(ge=0, le=4)] = 0.0
    """How much less the long history of a user counts; 1: inversely to its length."""
    history_power: Annotated[float, Bound(ge=0, le=2)] = 0.5
    """How much less a popular item in the history counts."""
    target_power: Annotated[float, Bound(ge=0, le=2)] = 0.5
    """How much a popular item is penalised as a recommendation."""
    shrink: Annotated[float, Bound(ge=0)] = 0.0
    """Reduces similarities that are based on few users."""
    k1: Annotated[float, Bound(ge=0)] = 1.2
    """Only for "bm25": reward for a short row."""
    b: Annotated[float, Bound(ge=0, le=1)] = 0.75
    """Only for "bm25": how much the length of a row counts."""

    def build(self, train: Dataset) -> Product:
        return self.build_on(train, torch.device("cpu"))

    def build_on(self, train: Dataset, device: torch.device) -> Product:
        observed = train.pairs.csr
        users_of = observed.T.tocsr()
        count = np.maximum(np.diff(users_of.indptr), 1).astype(np.float64)
        rows = weigh(users_of, self.weighting, self.user_power, self.k1, self.b)
        left, right = count**self.target_power, count**self.history_power
        if device.type == "cpu":
            similar = nearest(rows, self.k, left=left, right=right, shrink=self.shrink)
        else:
            similar = nearest_on(rows, self.k, left, right, self.shrink, device)
        return Product((observed, similar.T.tocsr()), "history", on=device)
