"""Held-out answers: queries with the items that answer them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import scipy.sparse as sp

from recsys.data.interactions import Interactions
from recsys.data.query import Queries
from recsys.notebook import Shown, counted

__all__ = ["HeldOut"]

Unit = Literal["user", "session", "item"]


@dataclass(frozen=True, eq=False, repr=False)
class HeldOut(Shown):
    """What evaluation and early stopping work on: queries, their answers, and who is resampled.

    Args:
        pairs: the held-out interactions, over the users and items of train. A refit adds them to
            train.
        queries: n questions.
        unit: who each query belongs to, int32 [n]; intervals and tests resample units.
        targets: relevant items of each query, CSR [n, n_items], binary; None: the query of a user
            is answered by the user's items in `pairs`.
        unit_name: what a unit is: "user", "session" or "item".
        repeats: whether an answer may be an item of the query's history, so that items of the
            history stay candidates.
        rule: which questions are asked, in words; empty for one question per user.

    Raises:
        ValueError: parts of different lengths, or neither targets nor users.
    """

    pairs: Interactions
    queries: Queries
    unit: np.ndarray
    targets: sp.csr_matrix | None = None
    unit_name: Unit = "user"
    repeats: bool = False
    rule: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", np.ascontiguousarray(self.unit, dtype=np.int32))
        n = len(self.queries)
        if len(self.unit) != n:
            raise ValueError(f"{len(self.unit)} units for {n} queries")
        if self.targets is not None and self.targets.shape != (n, self.pairs.n_items):
            raise ValueError(
                f"targets have shape {self.targets.shape}, expected {(n, self.pairs.n_items)}"
            )
        if self.targets is None and self.queries.user is None:
            raise ValueError("queries without users need targets")

    @classmethod
    def of_pairs(cls, pairs: Interactions) -> HeldOut:
        """Return a query for each user with a held-out interaction, answered by all of them."""
        users = np.flatnonzero(pairs.user_counts()).astype(np.int32)
        return cls(pairs, Queries.of_users(users), users)

    @property
    def by_user(self) -> bool:
        """Whether there is one query per user, answered by the held-out items of the user."""
        return self.targets is None

    @cached_property
    def answers(self) -> sp.csr_matrix:
        """Relevant items of each query, CSR [n, n_items], binary."""
        return self.pairs.csr[self.queries.user] if self.targets is None else self.targets

    def __len__(self) -> int:
        """Return the number of held-out interactions."""
        return len(self.pairs)

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", f"{len(self.queries):,} queries"
        yield "", counted(int(self.answers.nnz), "answer")
        yield "of", counted(len(np.unique(self.unit)), self.unit_name)
        if self.rule:
            yield "rule", self.rule

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over pairs, queries, answers and units; that of the pairs with one per user."""
        if self.by_user:
            return self.pairs.fingerprint
        digest = hashlib.sha256(f"{self.pairs.fingerprint} {self.repeats}".encode())
        history = self.queries.history
        arrays = [self.queries.user, self.queries.now, self.answers.indptr, self.answers.indices]
        if history is not None:
            # As they are: spans that overlap may hold far more items than the array.
            arrays += [history.item, history.begin, history.end, history.time]
        for array in (*arrays, self.unit):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
