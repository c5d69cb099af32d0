"""Co-purchase counts: items are ordered by how often they were bought together with the query.

Symbols: c_ij is the number of baskets that hold items i and j, n_i of those that hold i, and L the
items of the history.

    s(L, j) = sum over i in L of c_ij           (weighting = "count")
    s(L, j) = sum over i in L of c_ij / n_i     (weighting = "share", the confidence of i -> j)

Source: association rules of two items, Agrawal, Imielinski, Swami, "Mining association rules
between sets of items in large databases", SIGMOD 1993. It is the first baseline of methods for
complementary products. Reproduces nothing published.

For one item both weightings give the same list. A basket is a session of the log, or all items of a
user where the log has no sessions; `itemknn` compares the users of two items instead.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import scipy.sparse as sp

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models._sessions import Sessions, training_histories
from recsys.nn.item_pairs import baskets_of, pair_counts, with_least
from recsys.scorer import Product

__all__ = ["CoPurchase"]


@settings
class CoPurchase:
    """Counts of baskets that hold two items (Agrawal et al., SIGMOD 1993)."""

    weighting: Literal["count", "share"] = "share"
    """count: number of baskets. share: of the baskets of the item in the history."""
    least: Annotated[int, Bound(ge=1)] = 1
    """Smallest number of baskets that hold both items of a pair."""
    sessions: Sessions = "auto"
    """true: a basket is a session. false: all events of a user. auto: a session if the log has
    sessions."""

    def build(self, train: Dataset) -> Product:
        histories = training_histories(train.log, self.sessions)
        baskets = baskets_of(train.log, histories, train.n_items)
        pairs = with_least(pair_counts(baskets), baskets, least=self.least)
        count = pairs.count
        if self.weighting == "share":
            count = count / np.asarray(baskets.sum(axis=0)).ravel()[pairs.first]
        shape = (train.n_items, train.n_items)
        cells = (count.astype(np.float32), (pairs.first, pairs.second))
        return Product((train.pairs.csr, sp.csr_matrix(cells, shape=shape)), "history")
