"""A scorer with two vectors per item: one as the item that is asked about, one as an answer.

    score(L, j) = (1 / |L|) sum over l in L of asked_l . answer_j

L holds the distinct items among the last events of the history; the query of an item is a history
of this one item.
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
from recsys.scorer.ability import Places
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.plan import Dot
from recsys.scorer.stored_histories import StoredHistories

__all__ = ["AskedItems"]


@dataclass(frozen=True, eq=False)
class AskedItems:
    """The inner product of the mean `asked` vector of the last items with an `answer` vector.

    Args:
        asked: vectors of items in a history, float32 [n_items, d]; zeros for an item of which
            nothing is known.
        answer: vectors of items in a list, float32 [n_items, d].
        stored: the last items of each user.
        borrows: whether items without a training interaction have the `asked` vector of a similar
            item.
    """

    asked: Tensor
    answer: Tensor
    stored: StoredHistories
    borrows: bool = False

    kind: ClassVar[str] = "asked-items"
    answers: ClassVar[frozenset[QueryKind]] = frozenset(("user", "history"))

    @property
    def n_users(self) -> int:
        return self.stored.n_users

    @property
    def n_items(self) -> int:
        return int(self.answer.shape[0])

    @property
    def device(self) -> torch.device:
        return self.answer.device

    @property
    def places(self) -> Places:
        """Items, if those without an interaction borrow the vector of a similar one."""
        return Places(items=self.borrows)

    def to(self, device: torch.device | str) -> AskedItems:
        return replace(self, asked=self.asked.to(device), answer=self.answer.to(device))

    def encode(self, queries: Queries) -> Tensor:
        """Return the vectors of queries, float32 [B, d]; zeros for an empty history."""
        distinct = self.stored.answering(queries).csr(self.n_items)
        item, end = (
            torch.from_numpy(part.astype(np.int64)) for part in (distinct.indices, distinct.indptr)
        )
        return F.embedding_bag(
            item.to(self.device),
            self.asked,
            end.to(self.device),
            mode="mean",
            include_last_offset=True,
        )

    def plan(self) -> Dot:
        return Dot(lambda queries: (self.encode(queries), None), self.answer)

    def score(self, queries: Queries) -> Tensor:
        return self.encode(queries) @ self.answer.T

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        inner, about = self.stored.state()
        tensors = {"asked": self.asked, "answer": self.answer} | prefixed("stored.", inner)
        return tensors, {"kind": self.kind, "stored": about, "borrows": self.borrows}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> AskedItems:
        asked, answer = tensors["asked"], tensors["answer"]
        if asked.shape != answer.shape:
            raise ValueError("the two tables of vectors have different shapes")
        stored = StoredHistories.restore(under("stored.", tensors), meta["stored"])
        read = stored.histories.item
        if len(read) and not 0 <= read.min() <= read.max() < len(asked):
            raise ValueError("the stored histories hold other items")
        return cls(asked, answer, stored, bool(meta["borrows"]))
