"""The most similar users of training, for users of training and for histories by one rule.

`recsys.models.userknn` gives the similarity. The rule is part of the scorer, because a history that
comes after training is one more row to compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from recsys.scorer.row_neighbours import EntryWeights, Weighting, nearest

__all__ = ["UserNeighbours", "UserSimilarity"]


@dataclass(frozen=True)
class UserSimilarity:
    """Which users are similar to a user.

    Args:
        k: neighbours per user.
        weighting, item_power, k1, b: weights of the items, see `EntryWeights`.
        own_power, neighbour_power: powers of the lengths of the two histories in the divisor.
        shrink: added to the divisor.
    """

    k: int
    weighting: Weighting
    item_power: float
    own_power: float
    neighbour_power: float
    shrink: float
    k1: float
    b: float


class UserNeighbours:
    """Finds the nearest users of training.

    Args:
        observed: the histories of the users of training, CSR [n_users, n_items]; its pattern holds
            the interactions.
        similarity: which users are similar.
    """

    def __init__(self, observed: sp.csr_matrix, similarity: UserSimilarity) -> None:
        self.observed, self.similarity = observed, similarity
        self.weights = EntryWeights.of(
            observed, similarity.weighting, similarity.item_power, similarity.k1, similarity.b
        )
        self.right = _lengths(observed) ** similarity.neighbour_power

    @cached_property
    def _columns(self) -> sp.csr_matrix:
        """The weighted histories of the users of training as columns, CSR [n_items, n_users]."""
        return self.weights(self.observed).T.tocsr()

    def of_users(self) -> sp.csr_matrix:
        """Return the neighbours of the users of training, CSR float32 [n_users, n_users].

        A user is not their own neighbour.
        """
        return nearest(
            self.weights(self.observed),
            self.similarity.k,
            left=_lengths(self.observed) ** self.similarity.own_power,
            right=self.right,
            shrink=self.similarity.shrink,
        )

    def of_histories(self, histories: sp.csr_matrix) -> sp.csr_matrix:
        """Return the neighbours of histories, CSR float32 [B, n_users].

        Every user of training can be a neighbour, also one with the very same history.

        Args:
            histories: CSR [B, n_items], binary.
        """
        return nearest(
            self.weights(histories),
            self.similarity.k,
            left=_lengths(histories) ** self.similarity.own_power,
            right=self.right,
            shrink=self.similarity.shrink,
            among=self._columns,
        )


def _lengths(rows: sp.csr_matrix) -> np.ndarray:
    """Return the number of entries of each row, at least 1, float64 [n]."""
    return np.maximum(np.diff(rows.indptr), 1).astype(np.float64)
