"""The lists of queries under the rules of `[rerank]`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.query import Queries
from recsys.data.types import Interactions, Vocab
from recsys.errors import InputError
from recsys.ranking.lists import TopK, top_k
from recsys.ranking.rerank.calibration import Calibration
from recsys.ranking.rerank.dpp import DPP
from recsys.ranking.rerank.greedy import AtMost, ByScore, Rule, choose
from recsys.ranking.rerank.mmr import MMR
from recsys.ranking.rerank.pool import Pool
from recsys.ranking.rerank.popularity import LessPopular
from recsys.ranking.rerank.settings import Rerank
from recsys.ranking.rerank.similarity import cosines
from recsys.ranking.rerank.tables import Categories, ItemsOf
from recsys.scorer import Scorer

__all__ = ["Reranker"]

_CELLS = 1 << 23  # numbers of the largest array of a chunk of queries
_WIDER = 4  # how many times as large the next pool of a list that is too short


@dataclass(frozen=True, eq=False)
class Reranker:
    """How lists are made of the best items of a scorer; `recsys.ranking.rerank.resolve` returns it.

    Args:
        settings: the section `[rerank]`.
        train: training interactions.
        users: ids of the users.
        categories: categories of the items, by column.
        vectors: rows whose cosine is the similarity of two items, [n_items, d], or None.
        popularity: popularity of every item, float64 [n_items], or None.
        exclusions: items that users never get, or None.
        candidates: the only items of users or groups, or None.
        group: table of `user` and `group`, as text; None: `candidates` are those of users.
        available: rows of the items that can be recommended; None: all.
    """

    settings: Rerank
    train: Interactions
    users: Vocab
    categories: Mapping[str, Categories]
    vectors: np.ndarray | sp.csr_matrix | None = None
    popularity: np.ndarray | None = None
    exclusions: ItemsOf | None = None
    candidates: ItemsOf | None = None
    group: pl.DataFrame | None = None
    available: np.ndarray | None = None

    def lists(
        self,
        scorer: Scorer,
        queries: Queries,
        k: int,
        *,
        ids: pl.Series | None = None,
        candidates: np.ndarray | None = None,
        block: int = 0,
        flat: bool = False,
    ) -> TopK:
        """Return the list of each query, in the order of the rules; scores are those of the scorer.

        Args:
            scorer: any scorer.
            queries: n queries.
            k: length of a list.
            ids: outside ids of those who ask [n]; None: those of the users of the queries.
            candidates: item rows that may be recommended; None: all.
            block, flat: as in `recsys.ranking.top_k`.

        Raises:
            InputError: as `top_k`; rules of users, and queries without one.
        """
        if self.available is not None:
            candidates = self.available if candidates is None else _both(candidates, self.available)
        best = TopK.empty(len(queries), k, flat=flat)
        if not len(queries):
            return best
        if self.exclusions is None and self.candidates is None:
            return self._under(scorer, queries, k, candidates, block, flat)
        ids = self._ids(queries) if ids is None else ids.cast(pl.String)
        if self.exclusions is not None:
            exclude = self.exclusions.of_each(ids)
            if queries.exclude is not None:
                exclude = sp.csr_matrix(queries.exclude + exclude)
            exclude.data[:] = 1.0
            queries = replace(queries, exclude=exclude)
        for rows, pool in self._by_candidates(ids, candidates):
            if pool is not None and not len(pool):
                continue
            some = self._under(scorer, queries.take(rows), k, pool, block, flat)
            best.item[rows], best.score[rows] = some.item, some.score
            if best.flat is not None:
                best.flat[rows] = some.flat
        return best

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the settings and of what was read from the files."""
        values = dict(self.settings.to_json())
        for key in ("categories", "exclusions", "candidates", "groups", "availability"):
            values.pop(key, None)
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
        matrices = [each.matrix for each in self.categories.values()]
        for items in (self.exclusions, self.candidates):
            digest.update(b"-" if items is None else b"+")
            if items is not None:
                digest.update("\0".join(items.index["id"].to_list()).encode())
                matrices.append(items.items)
        if self.group is not None:
            rows = self.group.sort("user").rows()
            digest.update("\0".join("\1".join(row) for row in rows).encode())
        for matrix in matrices:
            digest.update(str(matrix.shape).encode())
            digest.update(matrix.indptr.astype(np.int64).tobytes())
            digest.update(matrix.indices.astype(np.int64).tobytes())
        if self.available is not None:
            digest.update(self.available.astype(np.int64).tobytes())
        return digest.hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return what decides the lists, for a manifest."""
        return {**self.settings.to_json(), "fingerprint": self.fingerprint}

    def _ids(self, queries: Queries) -> pl.Series:
        """Return the outside ids of the users of queries, as text."""
        if queries.user is None or (queries.user < 0).any():
            raise InputError(
                "exclusions and candidates are those of users, and some queries have no user",
                place="[rerank]",
                remedy="leave them out, or use a split that asks users",
            )
        return self.users.ids.gather(queries.user).cast(pl.String)

    def _by_candidates(
        self, ids: pl.Series, candidates: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield positions of queries that have the same candidates, and these."""
        if self.candidates is None:
            yield np.arange(len(ids)), candidates
            return
        names = ids
        if self.group is not None:
            asked = pl.DataFrame({"user": ids})
            joined = asked.join(self.group, on="user", how="left", maintain_order="left")
            names = joined["group"]
        rows = self.candidates.rows(names)
        order = np.argsort(rows, kind="stable")
        for some in np.split(order, np.flatnonzero(np.diff(rows[order])) + 1):
            row = int(rows[some[0]])
            if row < 0:
                yield some, candidates
                continue
            own = np.unique(self.candidates.items[row].indices)
            yield some, own if candidates is None else _both(own, candidates)

    def _under(
        self,
        scorer: Scorer,
        queries: Queries,
        k: int,
        candidates: np.ndarray | None,
        block: int,
        flat: bool,
    ) -> TopK:
        """Return the lists of queries with common candidates; arguments as `lists`."""
        if candidates is not None and not len(candidates):
            return TopK.empty(len(queries), k, flat=flat)
        if not self.settings.chooses:
            return top_k(scorer, queries, k, candidates=candidates, block=block, flat=flat)
        best = TopK.empty(len(queries), k, flat=flat)
        rows = np.arange(len(queries))
        size = max(k, self.settings.pool)
        n_candidates = scorer.n_items if candidates is None else len(candidates)
        while len(rows):
            size = min(size, n_candidates)
            some = queries.take(rows)
            pool = top_k(scorer, some, size, candidates=candidates, block=block, flat=flat)
            chosen = self._chosen(pool, some, k)
            at = np.maximum(chosen, 0)
            lists = np.arange(len(rows))[:, None]
            best.item[rows] = np.where(chosen < 0, -1, pool.item[lists, at])
            best.score[rows] = np.where(chosen < 0, -np.inf, pool.score[lists, at])
            if best.flat is not None and pool.flat is not None:
                best.flat[rows] = pool.flat
            # A list that the limits left short is chosen from more items, if there are more.
            is_short = (chosen < 0).any(1) & (pool.item[:, -1] >= 0)
            rows = rows[is_short] if size < n_candidates else rows[:0]
            size *= _WIDER
        return best

    def _chosen(self, best: TopK, queries: Queries, k: int) -> np.ndarray:
        """Return the positions of the items of each list in its pool, int [n, k]; -1 at the end."""
        size = best.item.shape[1]
        chosen = np.full((len(queries), k), -1, dtype=np.int64)
        step = max(1, _CELLS // (size * max(size, self._n_values)))
        for start in range(0, len(queries), step):
            span = slice(start, start + step)
            pool = Pool(best.item[span], best.score[span])
            limits = [
                AtMost(most, self.categories[name].padded[pool.rows], self._counts[name])
                for name, most in self.settings.at_most.items()
            ]
            chosen[span] = choose(pool, k, self._rule(pool, queries.take(span), k), limits)
        return chosen

    def _rule(self, pool: Pool, queries: Queries, k: int) -> Rule:
        settings, weight = self.settings, self.settings.weight
        if settings.by == "none":
            return ByScore(pool)
        if settings.by == "popularity":
            assert self.popularity is not None
            return LessPopular(pool, self.popularity, weight)
        if settings.by == "calibration":
            return Calibration(pool, self._shares, self._target(queries), weight)
        assert self.vectors is not None
        similarity = cosines(self.vectors, pool.rows)
        if settings.by == "mmr":
            return MMR(pool, similarity, weight)
        return DPP(pool, similarity, weight, k)

    def _target(self, queries: Queries) -> np.ndarray:
        """Return the shares of categories in the history of each query, float64 [n, G]."""
        history = queries.history
        if history is not None:
            matrix = history.csr(len(self._shares))
        else:
            assert queries.user is not None
            matrix = self.train.csr[np.maximum(queries.user, 0)]
            matrix = sp.diags_array((queries.user >= 0).astype(np.float32)) @ matrix
        shares = sp.csr_matrix(matrix) @ self._shares
        total = shares.sum(1, keepdims=True)
        return np.asarray(shares / np.where(total > 0, total, 1.0))

    @cached_property
    def _shares(self) -> np.ndarray:
        return self.categories[self.settings.category].shares

    @cached_property
    def _counts(self) -> dict[str, int]:
        return {name: len(each.values) for name, each in self.categories.items()}

    @property
    def _n_values(self) -> int:
        """Length of the last axis of the largest array of a rule."""
        return self._counts[self.settings.category] if self.settings.by == "calibration" else 1


def _both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the rows in both, ascending."""
    return np.intersect1d(a, b)
