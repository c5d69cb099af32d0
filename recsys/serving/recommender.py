"""Lists of a request, in outside ids: by the model, or by popularity for users it does not know.

The ranking is `recsys.ranking.top_k`, as in evaluation: what is shipped is what was measured. Rows
whose scores carry no information are not ranked by the model: users without a training interaction,
users whose candidates all have the same score, and items without a training interaction, unless the
scorer places them (`recsys.scorer.ability`).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch

from recsys.data.types import Dataset, Vocab
from recsys.errors import InputError
from recsys.ranking import TopK, top_k
from recsys.scorer import Product, Scorer, unplaced
from recsys.serving.request import Request, allowed_rows, without_unplaced

__all__ = ["Recommender"]


class Recommender:
    """A request, resolved once to rows.

    Args:
        scorer: the scorer.
        train: its training data: the ids, and the histories of the users.
        request: what is asked for; its `users` are given to the methods instead.

    Raises:
        InputError: an unknown item, or no candidate is left.
    """

    def __init__(self, scorer: Scorer, train: Dataset, request: Request) -> None:
        self.scorer, self.train = scorer, train
        self.request = request
        self.k = min(request.k, train.n_items)  # a longer list has no more items
        self.seen = train.pairs.csr if request.filter_seen else None
        self.titles = train.titles if request.titles else None
        self.allowed = allowed_rows(train.items, request)
        self.unplaced_users, items = unplaced(scorer, train)
        self.ranked = self.allowed
        if not request.unmet:
            self.ranked = without_unplaced(self.allowed, items, scorer)

    def check(self, users: pl.Series) -> None:
        """Refuse users whom the model does not know, if the request says so.

        Args:
            users: outside ids.

        Raises:
            InputError: there is one.
        """
        if self.request.unknown == "error":
            rows = self.train.users.require(users, "users")
            self._refuse(
                users,
                self.unplaced_users[rows],
                "has no training interaction, so the model cannot rank items for them",
            )

    def frame(self, users: pl.Series) -> pl.DataFrame:
        """Return the recommendations of users, in their order.

        Args:
            users: outside ids.

        Returns:
            user, item (outside ids), rank (1..k), score, source, and title if it was asked for.

        Raises:
            InputError: a user whose candidates all have the same score, with unknown = "error".
        """
        rows = self.train.users.rows(users)
        known = rows >= 0
        known[known] = ~self.unplaced_users[rows[known]]
        served = np.flatnonzero(known)
        best = top_k(
            self.scorer, rows[served], self.k, seen=self.seen, candidates=self.ranked, flat=True
        )
        assert best.flat is not None
        known[served[best.flat]] = False
        if self.request.unknown == "error":
            self._refuse(users, ~known, "gets the same score for every candidate")
        by_model = ~best.flat
        frames = [
            self._table(users, served[by_model], best.item[by_model], best.score[by_model], "model")
        ]
        left = np.flatnonzero(~known)
        if len(left) and self.request.unknown == "popular":
            popular = self._popular(rows[left])
            frames.append(self._table(users, left, popular.item, popular.score, "popular"))
        frame = pl.concat(frames).sort("position", "rank").drop("position")
        if self.request.unknown == "popular":
            return frame
        return frame.with_columns(pl.col("user").cast(self.train.users.ids.dtype))

    def _table(
        self,
        users: pl.Series,
        positions: np.ndarray,
        items: np.ndarray,
        scores: np.ndarray,
        source: str,
    ) -> pl.DataFrame:
        """Return lists as a table, a row per recommendation.

        Args:
            users: outside ids of all users of the request.
            positions: positions in `users` of the lists [n].
            items, scores: the lists, [n, k] each; item -1 where a list has ended.
            source: where the lists come from.
        """
        filled = items >= 0
        owner = np.repeat(positions, filled.sum(1))
        rank = np.broadcast_to(np.arange(1, self.k + 1, dtype=np.int32), items.shape)[filled]
        columns = {
            "position": pl.Series(owner.astype(np.int64)),
            "user": users.gather(owner),
            "item": self.train.items.ids.gather(items[filled]),
            "rank": pl.Series(rank),
            "score": pl.Series(scores[filled].astype(np.float32)),
            "source": pl.Series([source], dtype=pl.String).new_from_index(0, len(owner)),
        }
        if self.titles is not None:
            columns["title"] = self.titles.gather(items[filled])
        return pl.DataFrame(columns)

    def _refuse(self, users: pl.Series, refused: np.ndarray, why: str) -> None:
        """Raise the error of the first user of a mask [n], if it has one."""
        if refused.any():
            first = users[int(np.flatnonzero(refused)[0])]
            raise InputError(
                f"user {first!r} {why} ({refused.sum()} of {len(users)} users)",
                place="users",
                remedy="leave such users out, or use --unknown popular or skip",
            )

    def _popular(self, rows: np.ndarray) -> TopK:
        """Return the most popular candidates of some users, less the items they have seen.

        Equal counts are ordered as in every ranking. Items without a training interaction are left
        out.

        Args:
            rows: user rows [n]; -1 for a user who is not in the run.
        """
        counts = self.train.item_counts
        pool = np.arange(self.train.n_items) if self.allowed is None else self.allowed
        pool = pool[counts[pool] > 0]
        # One more row, of a user without a history, for all users who are not in the run.
        n_users, seen = self.train.n_users, self.seen
        scores = torch.from_numpy(counts.astype(np.float32))
        scorer = Product((torch.ones(n_users + 1, 1), scores[None, :]), "ones")
        if seen is not None:
            indptr = np.append(seen.indptr, seen.indptr[-1])
            seen = sp.csr_matrix(
                (seen.data, seen.indices, indptr), shape=(n_users + 1, seen.shape[1])
            )
        users = np.where(rows < 0, n_users, rows)
        return top_k(scorer, users, self.k, seen=seen, candidates=pool)

    def identity(self, users: pl.Series) -> dict[str, Any]:
        """Return what decides the bytes of an answer, apart from the model and the format.

        Args:
            users: outside ids.
        """
        candidates = "all"
        if self.ranked is not None:
            candidates = hashlib.sha256(self.ranked.tobytes()).hexdigest()
        return {
            "users_fingerprint": Vocab(users).fingerprint,
            "seen_fingerprint": self.train.pairs_fingerprint,
            "candidates": candidates,
            "k": self.k,
            "filter_seen": self.request.filter_seen,
            "unknown": self.request.unknown,
            "unmet": self.request.unmet,
            "titles": self.titles is not None,
        }
