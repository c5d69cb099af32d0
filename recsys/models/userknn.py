"""User neighbours: an item is scored by the similarity of the users who interacted with it.

Papers: Resnick, Iacovou, Suchak, Bergstrom, Riedl, "GroupLens: an open architecture for
collaborative filtering of netnews", CSCW 1994; Herlocker, Konstan, Borchers, Riedl, "An algorithmic
framework for performing collaborative filtering", SIGIR 1999; powers after Aiolli, "Efficient top-N
recommendation for very large scale binary rated datasets", RecSys 2013.

    s(u, j) = n_j^(-target_power) sum over users v of j among the k most similar to u of S_uv,
    S_uv = sum_i x_ui x_vi / (d_u^own_power d_v^neighbour_power + shrink),

where d_u is the number of items of u, n_j the number of users of j, and x_ui = n_i^(-item_power /
2) for an observed pair, times the factor of `weighting` (`recsys.scorer.row_neighbours`). A user is
never their own neighbour; equal similarities are ordered by user row. The cosine of the papers is
item_power 0, both user powers 1/2, target_power 0.

A history that comes after training is one more user: its neighbours are found by the same formula,
with the n_i and the mean length of training. Every user of training can be one of them. So the
history of a user of training, asked for as a history, has this user as a neighbour, whose items
gain; asked for by user, it has not.

Differs from the papers: interactions are binary, so neither ratings nor means of users are used.

Reproduces: nothing published.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.sparse as sp

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.scorer import Product
from recsys.scorer.row_neighbours import Weighting
from recsys.scorer.user_neighbours import UserNeighbours, UserSimilarity

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
        similarity = UserSimilarity(
            k=self.k,
            weighting=self.weighting,
            item_power=self.item_power,
            own_power=self.own_power,
            neighbour_power=self.neighbour_power,
            shrink=self.shrink,
            k1=self.k1,
            b=self.b,
        )
        similar = UserNeighbours(observed, similarity).of_users()
        if self.target_power:
            users = np.bincount(observed.indices, minlength=train.n_items)
            scale = np.maximum(users, 1).astype(np.float64) ** -self.target_power
            observed = (observed @ sp.diags(scale)).tocsr().astype(np.float32)
        return Product((similar, observed), similar=similarity)
