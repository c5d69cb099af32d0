"""Scorer of a Markov chain: the last events of a history vote for the items that follow them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.histories import Histories
from recsys.data.query import Queries, QueryKind
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.plan import Dense, Plan
from recsys.scorer.stored_histories import StoredHistories

__all__ = ["Transitions"]


@dataclass(frozen=True, eq=False)
class Transitions:
    """Scores b by the sum over the last events a_1, a_2, ... of decay^(r - 1) p(b | a_r).

    p(b | a) = chance_ab + rest_a popularity_b, where a_1 is the last event, a_2 the one before.

    Args:
        chance: share of b among the transitions from a, CSR float32 [n_items, n_items].
        rest: what the row of a lacks to 1, which goes to popular items, float32 [n_items].
        popularity: share of each item among all events, float32 [n_items].
        stored: the last events of each user; its length is the number of events that vote.
        decay: factor from one event to the one before it.
    """

    chance: sp.csr_matrix
    rest: np.ndarray
    popularity: np.ndarray
    stored: StoredHistories
    decay: float

    kind: ClassVar[str] = "transitions"
    answers: ClassVar[frozenset[QueryKind]] = frozenset({"user", "history"})

    @property
    def n_users(self) -> int:
        return self.stored.n_users

    @property
    def n_items(self) -> int:
        return int(self.chance.shape[0])

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> Transitions:
        """Return itself: moving a block of scores costs less than a sparse product on a GPU."""
        return self

    def plan(self) -> Plan:
        return Dense()

    def score(self, queries: Queries) -> Tensor:
        """Return the scores of all items, float32 [B, n_items].

        A query of an empty history has zeros only.

        Args:
            queries: users, histories or both.
        """
        votes = self._votes(self.stored.answering(queries))
        scores = (votes @ self.chance).toarray()
        if self.rest.any():
            scores += (votes @ self.rest)[:, None] * self.popularity
        return torch.from_numpy(scores)

    def _votes(self, histories: Histories) -> sp.csr_matrix:
        """Return the weight of each event, CSR float32 [B, n_items]; an item may occur twice."""
        length = histories.length
        end = np.cumsum(length)
        cells = histories.cells()
        steps = np.repeat(end, length) - 1 - np.arange(len(cells))
        weight = np.power(self.decay, steps).astype(np.float32)
        arrays = (weight, histories.item[cells], np.append(0, end))
        votes = sp.csr_matrix(arrays, shape=(len(length), self.n_items))
        votes.check_format(full_check=True)  # an item out of bounds would read other memory
        return votes

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        stored, about = self.stored.state()
        tensors = prefixed("stored.", stored) | {
            "indptr": torch.from_numpy(self.chance.indptr.astype(np.int64)),
            "indices": torch.from_numpy(self.chance.indices.astype(np.int32)),
            "data": torch.from_numpy(self.chance.data.astype(np.float32)),
            "rest": torch.from_numpy(self.rest),
            "popularity": torch.from_numpy(self.popularity),
        }
        return tensors, {"kind": self.kind, "stored": about, "decay": self.decay}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Transitions:
        rest, popularity = tensors["rest"].numpy(), tensors["popularity"].numpy()
        arrays = tuple(tensors[name].numpy() for name in ("data", "indices", "indptr"))
        chance = sp.csr_matrix(arrays, shape=(len(rest), len(popularity)))
        chance.check_format(full_check=True)  # an index out of bounds would read other memory
        stored = StoredHistories.restore(under("stored.", tensors), meta["stored"])
        return cls(chance, rest, popularity, stored, float(meta["decay"]))
