"""User neighbours: an item is scored by the similarity of the users who met it.

Papers: Resnick, Iacovou, Suchak, Bergstrom, Riedl, "GroupLens: an open architecture for collaborative filtering of netnews", CSCW 1994;
Herlocker, Konstan, Borchers, Riedl, "An algorithmic framework for performing collaborative filtering", SIGIR 1999; powers after
Aiolli, "Efficient top-N recommendation for very large scale binary rated datasets", RecSys 2013.

    s(u, j) = n_j^(-target_power) sum_{v who met j, v among the k most similar to u} S_uv,
    S_uv = sum_i x_ui x_vi / (d_u^own_power d_v^neighbour_power + shrink),

d_u the number of items of u, n_j the number of users of j, x_ui = n_i^(-item_power / 2) for an observed pair, times what `weighting` adds
(`recsys.nn.neighbours.weigh`). No user is a neighbour of itself; equal similarities are taken in the order of the user rows. The
cosine of the papers is item_power 0, both user powers 1/2, target_power 0.

Differs from the papers: interactions are binary, so neither ratings nor means of users are used.

Reproduces: nothing published.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.sparse as sp

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.nn.neighbours import Weighting, nearest, weigh
from recsys.scorer import Product

__all__ = ["UserKNN"]


@settings
class UserKNN:
    """User neighbours: cosine, TF-IDF or BM25, with powers for the activity of users and the popularity of items (Resnick et al., 1994)."""

    k: Annotated[int, Bound(ge=1)] = 200
    """Neighbours per user; the number of users or more keeps all."""
    weighting: Weighting = "cosine"
    item_power: Annotated[float, Bound(ge=0, le=4)] = 0.0
    """How much less it tells that two users share a popular item."""
    own_power: Annotated[float, Bound(ge=0, le=2)] = 0.5
    """Scale of the user who is served; changes the ranking only together with `shrink`."""
    neighbour_power: Annotated[float, Bound(ge=0, le=2)] = 0.5
    """How much less an active neighbour tells."""
    target_power: Annotated[float, Bound(ge=0, le=2)] = 0.0
    """How much a popular item is held back as a recommendation."""
    shrink: Annotated[float, Bound(ge=0)] = 0.0
    """Holds back similarities that rest on few items."""
    k1: Annotated[float, Bound(ge=0)] = 1.2
    """Of "bm25" alone: reward for a short row."""
    b: Annotated[float, Bound(ge=0, le=1)] = 0.75
    """Of "bm25" alone: how much the length of a row counts."""

    def build(self, train: Dataset) -> Product:
        met = train.pairs.csr
        length = np.maximum(np.diff(met.indptr), 1).astype(np.float64)
        rows = weigh(met, self.weighting, self.item_power, self.k1, self.b)
        similar = nearest(
            rows,
            self.k,
            left=length**self.own_power,
            right=length**self.neighbour_power,
            shrink=self.shrink,
        )
        if not self.target_power:
            return Product((similar, met))
        count = np.maximum(np.bincount(met.indices, minlength=train.n_items), 1).astype(np.float64)
        return Product(
            (similar, (met @ sp.diags(count**-self.target_power)).tocsr().astype(np.float32))
        )
