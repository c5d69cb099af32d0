"""Lists of a request, in outside ids: by the model, or by popularity for whom it cannot answer.

The ranking is `recsys.ranking.top_k`, as in evaluation: what is shipped is what was measured. Rows
whose scores carry no information are not ranked by the model: users without a training interaction,
histories without a known item, queries whose candidates all have the same score, and items without
a training interaction, unless the scorer places them (`recsys.scorer.ability`).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl
import torch

from recsys.data.types import Dataset
from recsys.ranking import TopK, top_k
from recsys.ranking.rerank import resolve
from recsys.scorer import Product, Scorer, unplaced
from recsys.serving.asked import Asked, refuse
from recsys.serving.request import Request, allowed_rows, without_unplaced

__all__ = ["Recommender"]


class Recommender:
    """How a request is answered: list length, candidates, treatment of unknown users.

    Args:
        scorer: the scorer.
        train: its training data: the ids, and the training counts of the items.
        request: what is asked for; who asks is given to the methods, as `recsys.serving.asked`
            resolves it.

    Raises:
        InputError: an unknown item, or no candidate is left.
    """

    def __init__(self, scorer: Scorer, train: Dataset, request: Request) -> None:
        self.train, self.request = train, request
        self.k = min(request.k, train.n_items)  # a longer list has no more items
        self.titles = train.titles if request.titles else None
        self.allowed = allowed_rows(train.items, request)
        self.unplaced_items = unplaced(scorer, train)[1] & (not request.unmet)
        self.ranked = without_unplaced(self.allowed, self.unplaced_items, scorer)
        self.reranker = resolve(request.rerank, scorer, train)

    def lists(self, asked: Asked) -> TopK:
        """Return the k best candidates of queries that the scorer answers.

        Args:
            asked: the queries.
        """
        return self._top_k(asked.scorer, asked, self.ranked, flat=True)

    def frame(self, asked: Asked) -> pl.DataFrame:
        """Return the recommendations of queries, in their order.

        Args:
            asked: the queries.

        Returns:
            user or query_item, item (outside ids), rank (1..k), score, source, and title if it was
            asked for.

        Raises:
            InputError: a query whose candidates all have the same score, with unknown = "error".
        """
        known = asked.answered
        served = np.flatnonzero(known)
        best = self.lists(asked.take(served))
        assert best.flat is not None
        known[served[best.flat]] = False
        if self.request.unknown == "error":
            refuse(asked, ~known, "gets the same score for every candidate")
        by_model = ~best.flat
        frames = [
            self._table(
                asked.ids,
                served[by_model],
                best.item[by_model],
                best.score[by_model],
                asked.source,
            )
        ]
        left = np.flatnonzero(~known)
        if len(left) and self.request.unknown == "popular":
            popular = self._popular(asked.take(left))
            frames.append(self._table(asked.ids, left, popular.item, popular.score, "popular"))
        frame = pl.concat(frames).sort("position", "rank").drop("position")
        if self.request.unknown == "popular" or asked.kind != "user":
            return frame
        return frame.with_columns(pl.col("user").cast(self.train.users.ids.dtype))

    def _table(
        self,
        ids: pl.Series,
        positions: np.ndarray,
        items: np.ndarray,
        scores: np.ndarray,
        source: str,
    ) -> pl.DataFrame:
        """Return lists as a table, a row per recommendation.

        Args:
            ids: outside ids of all queries of the request.
            positions: positions in `ids` of the lists [n].
            items, scores: the lists, [n, k] each; item -1 where a list has ended.
            source: where the lists come from.
        """
        filled = items >= 0
        owner = np.repeat(positions, filled.sum(1))
        rank = np.broadcast_to(np.arange(1, self.k + 1, dtype=np.int32), items.shape)[filled]
        columns = {
            "position": pl.Series(owner.astype(np.int64)),
            ids.name: ids.gather(owner),
            "item": self.train.items.ids.gather(items[filled]),
            "rank": pl.Series(rank),
            "score": pl.Series(scores[filled].astype(np.float32)),
            "source": pl.Series([source], dtype=pl.String).new_from_index(0, len(owner)),
        }
        if self.titles is not None:
            columns["title"] = self.titles.gather(items[filled])
        return pl.DataFrame(columns)

    def _popular(self, asked: Asked) -> TopK:
        """Return the most popular candidates of queries, less what they exclude.

        Equal counts are ordered as in every ranking. Items without a training interaction are left
        out.

        Args:
            asked: the queries.
        """
        counts = self.train.item_counts
        pool = np.arange(self.train.n_items) if self.allowed is None else self.allowed
        pool = pool[counts[pool] > 0]
        scores = torch.from_numpy(counts.astype(np.float32))
        scorer = Product((torch.ones(1, 1), scores[None, :]), "ones")
        return self._top_k(scorer, asked, pool)

    def _top_k(
        self, scorer: Scorer, asked: Asked, candidates: np.ndarray | None, *, flat: bool = False
    ) -> TopK:
        """Return the lists of queries by a scorer, under the rules of the request."""
        if self.reranker is None:
            return top_k(scorer, asked.queries, self.k, candidates=candidates, flat=flat)
        return self.reranker.lists(
            scorer, asked.queries, self.k, ids=asked.ids, candidates=candidates, flat=flat
        )

    def identity(self, asked: Asked) -> dict[str, Any]:
        """Return what decides the bytes of an answer, apart from the model and the format.

        Args:
            asked: the queries.
        """
        candidates = "all"
        if self.ranked is not None:
            candidates = hashlib.sha256(self.ranked.tobytes()).hexdigest()
        return {
            "users_fingerprint": asked.fingerprint,
            "seen_fingerprint": self.train.pairs_fingerprint,
            "candidates": candidates,
            "k": self.k,
            "filter_seen": self.request.filter_seen,
            "unknown": self.request.unknown,
            "unmet": self.request.unmet,
            "rerank": None if self.reranker is None else self.reranker.identity(),
            "titles": None if self.titles is None else _fingerprint(self.titles),
        }


def _fingerprint(titles: pl.Series) -> str:
    """Return the SHA-256 of titles, of which some may be missing."""
    digest = hashlib.sha256()
    for start in range(0, len(titles), 1 << 16):
        some = titles[start : start + (1 << 16)]
        digest.update("\0".join(title if title is not None else "\1" for title in some).encode())
    return digest.hexdigest()
