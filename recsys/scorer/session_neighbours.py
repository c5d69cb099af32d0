"""Scorer of session neighbours: similar sessions of training vote for their items."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from recsys.config import build, to_dict
from recsys.data.query import Queries, QueryKind
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.past_sessions import PastSessions
from recsys.scorer.plan import Dense, Plan
from recsys.scorer.session_search import SessionSearch
from recsys.scorer.session_similarity import SessionSimilarity
from recsys.scorer.stored_histories import StoredHistories

__all__ = ["SessionNeighbours"]


@dataclass(frozen=True, eq=False)
class SessionNeighbours:
    """Scores an item by the similarity of the nearest training sessions that hold it.

    Args:
        sessions: the training sessions.
        stored: the last events of each user.
        similarity: how sessions are compared.
        k: number of neighbours.
        m: number of candidates, the newest sessions that share an item with the query.
    """

    sessions: PastSessions
    stored: StoredHistories
    similarity: SessionSimilarity
    k: int
    m: int

    kind: ClassVar[str] = "session-neighbours"
    answers: ClassVar[frozenset[QueryKind]] = frozenset({"user", "history"})

    @property
    def n_users(self) -> int:
        return self.stored.n_users

    @property
    def n_items(self) -> int:
        return int(self.sessions.places.shape[1])

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> SessionNeighbours:
        """Return itself: the search needs sorts and sparse products, which a CPU does best."""
        return self

    def plan(self) -> Plan:
        return Dense()

    def score(self, queries: Queries) -> Tensor:
        """Return the scores of all items, float32 [B, n_items].

        A query of an empty history, or of items that no training session holds, has zeros only.

        Args:
            queries: users, histories or both. The age of a session is counted from `queries.now`,
                otherwise from the last event of the history. Without either, age does not count,
                and a warning says so.

        Raises:
            ValueError: an item that does not exist.
        """
        moment = None
        if self.similarity.reads_time:
            moment = self.stored.moments(queries)
            if moment is None:
                warnings.warn(
                    "these queries have no time, so the age of sessions (l2) does not count",
                    stacklevel=2,
                )
        return torch.from_numpy(self.search.scores(self.stored.answering(queries), moment))

    @cached_property
    def search(self) -> SessionSearch:
        """The search for neighbours, with its index of the training sessions."""
        return SessionSearch(self.sessions, self.similarity, self.k, self.m)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        sessions, about_sessions = self.sessions.state()
        stored, about_stored = self.stored.state()
        tensors = prefixed("sessions.", sessions) | prefixed("stored.", stored)
        return tensors, {
            "kind": self.kind,
            "sessions": about_sessions,
            "stored": about_stored,
            "similarity": to_dict(self.similarity),
            "k": self.k,
            "m": self.m,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> SessionNeighbours:
        return cls(
            PastSessions.restore(under("sessions.", tensors), meta["sessions"]),
            StoredHistories.restore(under("stored.", tensors), meta["stored"]),
            build(SessionSimilarity, meta["similarity"]),
            int(meta["k"]),
            int(meta["m"]),
        )
