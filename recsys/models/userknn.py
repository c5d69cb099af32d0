"""User neighbours: an item is scored by the similarity of the users who interacted with it.

Papers: Resnick, Iacovou, Suchak, Bergstrom, Riedl, "GroupLens: an open architecture for
collaborative filtering of netnews", CSCW 1994; Herlocker, Konstan, Borchers, Riedl, "An algorithmic
framework for performing collaborative filtering", SIGIR 1999; powers after Aiolli, "Efficient top-N
recommendation for very large scale binary rated datasets", RecSys 2013.

    s(u, j) = n_j^(-target_power) sum over users v of j among the k most similar to u of S_uv,
    S_uv = sum_i x_ui x_vi / (d_u^own_power d_v^neighbour_power + shrink),

where d_u is the number of items of u, n_j the number of users of j, and x_ui = n_i^(-item_power /
2) for an observed pair, times the factor of `weighting` (`recsys.nn.neighbours.weigh`). A user is
never their own neighbour; equal similarities are ordered by user row. The cosine of the papers is
item_power 0, both user powers 1/2, target_power 0.

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
    """User neighbours by cosine, TF-IDF or BM25, with adjustable powers (Resnick et al., 1994)."""

    k: Annotated[int, Bound(ge=1)] = 200
    """Neighbours per user; a k of the number of users or more keeps all."""
    weighting: Weighting = "cosine"
    item_power: Annotated[float, Bound(ge=0, le=4)] = 0.0
    """How much less a popular item counts in the similarity of two users."""
    own_power: Annotated[float, Bound(ge=0, le=2)] = 0.5
    """Scale of the user who is served; changes the ranking only together with `shrink`."""
    neighbour_power: Annotated[float, Bound(ge=0, le=2)] = 0.5
    """How much less an active neighbour counts."""
    target_power: Annotated[float, Bound(ge=0, le=2)] = 0.0
    """How much a popular item is penalised as a recommendation."""
    shrink: Annotated[float, Bound(ge=0)] = 0.0
    """Reduces similarities that are based on few items."""
    k1: Annotated[float, Bound(ge=0)] = 1.2
    """Only for "bm25": reward for a short row."""
    b: Annotated[float, Bound(ge=0, le=1)] = 0.75
    """Only for "bm25": how much the length of a row counts."""

    def build(self, train: Dataset) -> Product:
        observed = train.pairs.csr
        length = np.maximum(np.diff(observed.indptr), 1).astype(np.float64)
        rows = weigh(observed, self.weighting, self.item_power, self.k1, self.b)
        similar = nearest(
            rows,
            self.k,
            left=length**self.own_power,
            right=length**self.neighbour_power,
            shrink=self.shrink,
        )
        if not self.target_power:
            return Product((similar, observed))
        users = np.bincount(observed.indices, minlength=train.n_items)
        scale = np.maximum(users, 1).astype(np.float64) ** -self.target_power
        return Product((similar, (observed @ sp.diags(scale)).tocsr().astype(np.float32)))
