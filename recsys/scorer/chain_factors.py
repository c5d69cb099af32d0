"""A scorer of factorised personal Markov chains: a user's taste plus what follows the last items.

    score(u, L, i) = user_u . taste_i + (1 / |L|) sum over l in L of previous_l . after_i

L holds the last items of the history. An unknown user has no first term, an empty history has no
second one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.query import Queries, QueryKind
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.plan import Dot
from recsys.scorer.stored_histories import StoredHistories

__all__ = ["ChainFactors"]


@dataclass(frozen=True, eq=False)
class ChainFactors:
    """The inner product of [user, mean of the last items] and [taste, after] of an item.

    A query of a user and a history is answered by both: the taste of the user, and the last items
    of the history.

    Args:
        user: float32 [n_users, d].
        previous: vectors of the last items of a history, float32 [n_items, d].
        item: taste and after, side by side, float32 [n_items, 2 d].
        stored: the last events of each user, as many as are read.
    """

    user: Tensor
    previous: Tensor
    item: Tensor
    stored: StoredHistories

    kind: ClassVar[str] = "chain-factors"
    answers: ClassVar[frozenset[QueryKind]] = frozenset(("user", "history"))

    @property
    def n_users(self) -> int:
        return int(self.user.shape[0])

    @property
    def n_items(self) -> int:
        return int(self.item.shape[0])

    @property
    def device(self) -> torch.device:
        return self.item.device

    def to(self, device: torch.device | str) -> ChainFactors:
        user, previous, item = (x.to(device) for x in (self.user, self.previous, self.item))
        return replace(self, user=user, previous=previous, item=item)

    def encode(self, queries: Queries) -> Tensor:
        """Return the vectors of queries, float32 [B, 2 d]."""
        histories = self.stored.answering(queries)
        item = torch.from_numpy(histories.item[histories.cells()].astype(np.int64))
        end = torch.from_numpy(np.append(0, np.cumsum(histories.length)))
        chain = F.embedding_bag(
            item.to(self.device),
            self.previous,
            end.to(self.device),
            mode="mean",
            include_last_offset=True,
        )
        if queries.user is None:
            taste = torch.zeros_like(chain)
        else:
            rows = torch.from_numpy(queries.user.astype(np.int64))
            taste = self.user[rows.to(self.device)]
        return torch.cat([taste, chain], 1)

    def plan(self) -> Dot:
        return Dot(lambda queries: (self.encode(queries), None), self.item)

    def score(self, queries: Queries) -> Tensor:
        return self.encode(queries) @ self.item.T

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        inner, about = self.stored.state()
        tensors = {"user": self.user, "previous": self.previous, "item": self.item}
        return tensors | prefixed("stored.", inner), {"kind": self.kind, "stored": about}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> ChainFactors:
        user, previous, item = (tensors[name] for name in ("user", "previous", "item"))
        stored = StoredHistories.restore(under("stored.", tensors), meta["stored"])
        read = stored.histories.item
        if len(read) and not 0 <= read.min() <= read.max() < len(item):
            raise ValueError("the stored histories hold other items")
        if stored.n_users != len(user):
            raise ValueError("the stored histories are those of other users")
        return cls(user, previous, item, stored)
