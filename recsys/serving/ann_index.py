"""A nearest-neighbour index of item vectors, and the k best items of users by it.

faiss searches; seen items, equal scores and several vectors per user are handled here. If a user
has several vectors, the index is searched with each, and the best hit of each item is kept.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.hashing import tie_order
from recsys.errors import InputError, one_of

__all__ = [
    "HNSW",
    "HnswSizes",
    "Index",
    "IndexKind",
    "Search",
    "build_index",
    "nearest",
    "owned",
    "read_index",
    "serialized",
]

IndexKind = Literal["flat", "hnsw"]
Search = Literal["dot", "euclidean"]
Index: TypeAlias = Any  # a faiss index

_ROOM = 1 << 21  # hits in memory at a time


@dataclass(frozen=True)
class HnswSizes:
    """Sizes of an HNSW index.

    Args:
        links: links per item.
        build: candidates while the index is built.
        search: candidates while it is searched.
    """

    links: int
    build: int
    search: int


HNSW = HnswSizes(links=32, build=200, search=64)


def build_index(items: np.ndarray, search: Search, kind: IndexKind = "flat") -> Index:
    """Return a faiss index of vectors, in their order.

    Args:
        items: float32 [n_items, d].
        search: "dot" by inner products, "euclidean" by squared distances.
        kind: "flat" searches exactly, "hnsw" approximately and in large catalogues much faster.

    Raises:
        InputError: an invalid `search` or `kind`; faiss is not installed.
    """
    one_of(search, get_args(Search), "search")
    one_of(kind, get_args(IndexKind), "kind")
    faiss = _faiss()
    dim = items.shape[1]
    if kind == "flat":
        index = faiss.IndexFlatL2(dim) if search == "euclidean" else faiss.IndexFlatIP(dim)
    else:
        metric = faiss.METRIC_L2 if search == "euclidean" else faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexHNSWFlat(dim, HNSW.links, metric)
        index.hnsw.efConstruction, index.hnsw.efSearch = HNSW.build, HNSW.search
    index.add(items)
    return index


def read_index(path: str | Path) -> Index:
    """Read a faiss index from a file.

    Raises:
        InputError: the file is missing, damaged or not an index; faiss is not installed.
    """
    faiss, path = _faiss(), Path(path)
    if not path.is_file():
        raise InputError(
            "no such file", place=str(path), remedy="recsys export RUN --out FOLDER --index flat"
        )
    try:
        return faiss.read_index(str(path))
    except RuntimeError:  # its message names lines of C++
        raise InputError(
            "is not an index that faiss can read",
            place=str(path),
            remedy="it is damaged or foreign: export again",
        ) from None


def serialized(index: Index) -> memoryview:
    """Return the bytes of an index file: numbers only, no code."""
    return memoryview(_faiss().serialize_index(index))


@dataclass(frozen=True, eq=False)
class _Queries:
    """The users of a search.

    Args:
        vectors: float32 [U, C, d].
        owned: which of the C vectors a user has, bool [U, C].
        seen: items that are left out, CSR [U, n_items].
    """

    vectors: np.ndarray
    owned: np.ndarray
    seen: sp.csr_matrix

    def of(self, rows: np.ndarray) -> _Queries:
        """Return the queries of some users."""
        return _Queries(self.vectors[rows], self.owned[rows], self.seen[rows])


def nearest(
    index: Index,
    users: np.ndarray,
    k: int,
    *,
    count: np.ndarray | None = None,
    seen: sp.csr_matrix | None = None,
    ids: pl.Series | None = None,
    offset: float = 0.0,
) -> pl.DataFrame:
    """Return the k best items of each user by an index.

    The index is searched with each of a user's vectors; each item is listed once, with its best
    score. Each vector asks for k, the number of seen items, and one more. That is enough, because
    an item among the k best of a user is among the k best that one of the vectors finds. Equal
    scores are in the order of `recsys.data.hashing.tie_order`: where the last hit equals the last
    item of the list, more hits are asked for. With a flat index the result is that of
    `recsys.ranking.top_k`, up to the rounding of sums.

    Args:
        index: index of the items, from `build_index` or `read_index`.
        users: vectors of some users, float32 [U, C, d], or [U, d] for one per user.
        k: items per user; a user with fewer unseen items gets fewer rows.
        count: int64 [U], how many of the C vectors a user has, the first ones; None: all.
        seen: CSR [U, n_items], whose entries are left out; None: no entries.
        ids: outside ids of the items by row of the index; None: the result has the rows.
        offset: score = offset - |user - item|^2 for distances; in the manifest of an export.

    Returns:
        user (0..U-1), item, rank (1..k), score.

    Raises:
        InputError: shapes that do not fit, a vector that is not finite, or k below 1.
    """
    users = np.ascontiguousarray(users, dtype=np.float32)
    users = users[:, None] if users.ndim == 2 else users
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}", remedy="correct k")
    if seen is None:
        seen = sp.csr_matrix((len(users), index.ntotal), dtype=np.float32)
    queries = _Queries(users, owned(users, count), sp.csr_matrix(seen))
    _check(index, queries, ids)
    left = np.arange(len(users))
    depth = np.minimum(k + np.diff(queries.seen.indptr) + 1, index.ntotal).astype(np.int64)
    parts = [_no_rows()]
    while len(left):
        deeper = []
        # Users who ask for about as many hits are searched together, so that a user with a long
        # history does not make the search of the others deeper.
        power = 2 ** np.ceil(np.log2(np.maximum(depth[left], 1)))
        size = np.minimum(power, index.ntotal).astype(np.int64)
        for hits in np.unique(size):
            some = left[size == hits]
            step = max(1, int(_ROOM // (hits * users.shape[1])))
            for start in range(0, len(some), step):
                rows = some[start : start + step]
                best, open_end = _merged(index, queries.of(rows), k, int(hits), offset)
                owner = best["user"].to_numpy()
                complete = best.with_columns(pl.Series("user", rows[owner]))
                parts.append(complete.filter(~pl.Series(open_end[owner])))
                deeper.append(rows[open_end])
                depth[rows[open_end]] = min(2 * hits, index.ntotal)
        left = np.concatenate(deeper)
    lists = pl.concat(parts).sort("user", "rank")
    return lists if ids is None else lists.with_columns(ids.gather(lists["item"]).alias("item"))


def owned(users: np.ndarray, count: np.ndarray | None) -> np.ndarray:
    """Return which of their vectors users have, bool [U, C].

    Args:
        users: [U, C, d].
        count: [U], the first vectors count; None: all.
    """
    index = np.arange(users.shape[1] if users.ndim == 3 else 0)
    if count is None:
        return np.ones((len(users), len(index)), dtype=bool)
    return index < np.asarray(count)[:, None]


def _no_rows() -> pl.DataFrame:
    return pl.DataFrame(
        schema={"user": pl.Int64, "item": pl.Int64, "rank": pl.Int32, "score": pl.Float32}
    )


def _check(index: Index, queries: _Queries, ids: pl.Series | None) -> None:
    """Refuse shapes that do not fit, and vectors that are not finite."""
    users, owns = queries.vectors, queries.owned
    seen = queries.seen
    if users.ndim != 3 or users.shape[2] != index.d:
        raise InputError(
            f"users have shape {users.shape}, the index has vectors of {index.d}",
            remedy="give users [U, C, d] of the same export",
        )
    if len(owns) != len(users) or not owns.any(1).all():
        raise InputError(
            "count must hold one integer >= 1 per user",
            remedy=f"give {len(users)} integers, each at least 1",
        )
    if seen.shape != (len(users), index.ntotal):
        raise InputError(
            f"seen has shape {seen.shape}, not {(len(users), index.ntotal)}",
            remedy="give a row per user and a column per item",
        )
    if ids is not None and len(ids) != index.ntotal:
        raise InputError(
            f"{len(ids)} ids for {index.ntotal} items", remedy="give the ids of the same export"
        )
    if not np.isfinite(users[owns]).all():
        raise InputError(
            "users hold vectors that are not finite",
            remedy="train again with a smaller learning rate",
        )


def _merged(
    index: Index, queries: _Queries, k: int, hits: int, offset: float
) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the k best unseen items of some users, and the users who must ask for more hits.

    Args:
        index, k, offset: as in `nearest`.
        queries: the users.
        hits: hits per vector.

    Returns:
        A table whose `user` is the position in `queries`, and a mask of users, bool [U].
    """
    n_users = len(queries.vectors)
    owner = np.nonzero(queries.owned)[0]
    score, item = _search(index, queries.vectors[queries.owned], hits, offset)
    every_hit = pl.DataFrame(
        {"user": np.repeat(owner, hits), "item": item.ravel(), "score": score.ravel()}
    ).filter(pl.col("item") >= 0)
    history = pl.DataFrame(
        {
            "user": np.repeat(np.arange(n_users), np.diff(queries.seen.indptr)),
            "item": queries.seen.indices.astype(np.int64),
        }
    )
    tie = pl.Series("tie", tie_order(index.ntotal))
    best = (
        every_hit.group_by("user", "item")
        .agg(pl.col("score").max())
        .join(history, on=["user", "item"], how="anti")
        .with_columns(tie=pl.lit(tie).gather(pl.col("item")))
        .sort(["user", "score", "tie"], descending=[False, True, False])
        .with_columns((pl.int_range(pl.len()).over("user") + 1).cast(pl.Int32).alias("rank"))
        .filter(pl.col("rank") <= k)
        .select("user", "item", "rank", "score")
    )
    # Behind the last hit of a vector there may be items as good as the last of the list, and they
    # may come first among equals.
    last = np.full(n_users, -np.inf, dtype=np.float32)
    full = best.filter(pl.col("rank") == k)
    last[full["user"].to_numpy()] = full["score"].to_numpy()
    more = (item[:, -1] >= 0) & (hits < index.ntotal) & (score[:, -1] >= last[owner])
    return best, np.bincount(owner[more], minlength=n_users) > 0


def _search(
    index: Index, queries: np.ndarray, hits: int, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and rows of the best hits of vectors [m, d], best first, [m, hits] each.

    The row is -1 where an approximate index has no further hit.
    """
    faiss = _faiss()
    options = {}
    if isinstance(index, faiss.IndexHNSW):
        options["params"] = faiss.SearchParametersHNSW(efSearch=max(index.hnsw.efSearch, hits))
    value, item = index.search(queries, hits, **options)
    return (np.float32(offset) - value if index.metric_type == faiss.METRIC_L2 else value), item


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise InputError(
            "an index needs faiss, which is not installed", remedy="pip install 'recsys[index]'"
        ) from None
