"""An index of item vectors, and the k best items of users by it: faiss finds, what is seen and what is equal is settled here.

A user may have several vectors, of which the nearest counts: the index is searched with each, and of each item the best hit is kept.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.hashing import tie_order
from recsys.errors import InputError, one_of

__all__ = [
    "HNSW",
    "Index",
    "Kind",
    "Search",
    "build_index",
    "nearest",
    "owned",
    "read_index",
    "serialized",
]

Kind = Literal["flat", "hnsw"]
Search = Literal["dot", "euclidean"]
Index: TypeAlias = Any  # a faiss index

HNSW = {
    "links": 32,
    "build": 200,
    "search": 64,
}  # links per item, candidates when it is built and when it is searched
_ROOM = 1 << 21  # hits held at a time


def build_index(items: np.ndarray, search: Search, kind: Kind = "flat") -> Index:
    """A faiss index of vectors, in their order, for inner products ("dot") or squared distances ("euclidean").

    Args:
        items: float32 [n_items, d].
        search: what makes two vectors near.
        kind: "flat" searches exactly, "hnsw" approximately and in large catalogues much faster.

    Raises:
        InputError: faiss is not installed.
    """
    one_of(search, get_args(Search), "search")
    one_of(kind, get_args(Kind), "kind")
    faiss = _faiss()
    metric = faiss.METRIC_L2 if search == "euclidean" else faiss.METRIC_INNER_PRODUCT
    if kind == "flat":
        index = (
            faiss.IndexFlatL2(items.shape[1])
            if metric == faiss.METRIC_L2
            else faiss.IndexFlatIP(items.shape[1])
        )
    else:
        index = faiss.IndexHNSWFlat(items.shape[1], HNSW["links"], metric)
        index.hnsw.efConstruction, index.hnsw.efSearch = HNSW["build"], HNSW["search"]
    index.add(items)
    return index


def read_index(path: str | Path) -> Index:
    """A faiss index from a file.

    Raises:
        InputError: missing, damaged or no index; faiss is not installed.
    """
    faiss, path = _faiss(), Path(path)
    if not path.is_file():
        raise InputError(
            "no such file", place=str(path), remedy="recsys export RUN --out FOLDER --index flat"
        )
    try:
        return faiss.read_index(str(path))
    except RuntimeError:  # the message tells of lines of C++
        raise InputError(
            "is no index that faiss can read",
            place=str(path),
            remedy="it is damaged or foreign: export again",
        ) from None


def serialized(index: Index) -> memoryview:
    """The bytes of an index file: numbers only, no code."""
    return memoryview(_faiss().serialize_index(index))


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
    """The k best items of each user by an index: searched with each of the user's vectors, each item once, with its best score.

    Each vector asks for k, the number of items seen and one more; that is enough, as an item that is among the k best of a user
    is among the k best that one of the vectors finds. Equal scores stand in the order of `recsys.data.hashing.tie_order`:
    where the last hit equals the last of the
    list, more are asked for. With a flat index the answer is that of `recsys.ranking.top_k`, but that sums are rounded in another order.

    Args:
        index: of the items, of `build_index` or `read_index`.
        users: float32 [U, C, d], the vectors of some users, or [U, d], one each.
        k: items per user; a user with fewer unseen items gets fewer rows.
        count: int64 [U], how many of the C vectors a user has, the first ones; None: all.
        seen: CSR [U, n_items] whose entries are not wanted, or None.
        ids: outside ids of the items by row of the index; None answers with the rows.
        offset: of distances: score = offset - |user - item|^2; the manifest of an export has it.

    Returns:
        user (0..U-1), item, rank (1..k), score.

    Raises:
        InputError: shapes that do not belong together, a vector that is not finite, or k below 1.
    """
    users = np.ascontiguousarray(users, dtype=np.float32)
    users = users[:, None] if users.ndim == 2 else users
    mine = owned(users, count)
    _check(index, users, k, mine, seen, ids)
    known = (
        sp.csr_matrix((len(users), index.ntotal), dtype=np.float32)
        if seen is None
        else sp.csr_matrix(seen)
    )
    left = np.arange(len(users))
    depth = np.minimum(k + np.diff(known.indptr) + 1, index.ntotal).astype(np.int64)
    parts = [_none()]
    while len(left):
        again = []
        # Users who ask for about as much are asked for together: one who has seen a lot is not to cost the others.
        size = np.minimum(2 ** np.ceil(np.log2(np.maximum(depth[left], 1))), index.ntotal).astype(
            np.int64
        )
        for much in np.unique(size):
            some = left[size == much]
            step = max(1, int(_ROOM // (much * users.shape[1])))
            for start in range(0, len(some), step):
                rows = some[start : start + step]
                hits, open_end = _merged(
                    index, users[rows], mine[rows], known[rows], k, int(much), offset
                )
                parts.append(
                    hits.with_columns(pl.Series("user", rows[hits["user"].to_numpy()])).filter(
                        ~pl.Series(open_end[hits["user"].to_numpy()])
                    )
                )
                again.append(rows[open_end])
                depth[rows[open_end]] = min(2 * much, index.ntotal)
        left = np.concatenate(again)
    found = pl.concat(parts).sort("user", "rank")
    return found if ids is None else found.with_columns(ids.gather(found["item"]).alias("item"))


def owned(users: np.ndarray, count: np.ndarray | None) -> np.ndarray:
    """Which of their vectors [U, C, d] users have, bool [U, C]: the first `count` [U], or all."""
    place = np.arange(users.shape[1] if users.ndim == 3 else 0)
    return (
        np.ones((len(users), len(place)), dtype=bool)
        if count is None
        else place < np.asarray(count)[:, None]
    )


def _none() -> pl.DataFrame:
    return pl.DataFrame(
        schema={"user": pl.Int64, "item": pl.Int64, "rank": pl.Int32, "score": pl.Float32}
    )


def _check(
    index: Index,
    users: np.ndarray,
    k: int,
    mine: np.ndarray,
    seen: sp.csr_matrix | None,
    ids: pl.Series | None,
) -> None:
    if k < 1:
        raise InputError(f"k = {k}: a list holds at least one item", remedy="correct k")
    if users.ndim != 3 or users.shape[2] != index.d:
        raise InputError(
            f"users have shape {users.shape}, the index has vectors of {index.d}",
            remedy="give users [U, C, d] of the same export",
        )
    if len(mine) != len(users) or not mine.any(1).all():
        raise InputError(
            "count does not say of each user how many vectors, at least 1",
            remedy=f"give {len(users)} numbers from 1 on",
        )
    if seen is not None and seen.shape != (len(users), index.ntotal):
        raise InputError(
            f"seen has shape {seen.shape}, not {(len(users), index.ntotal)}",
            remedy="give a row per user and a column per item",
        )
    if ids is not None and len(ids) != index.ntotal:
        raise InputError(
            f"{len(ids)} ids for {index.ntotal} items", remedy="give the ids of the same export"
        )
    if not np.isfinite(users[mine]).all():
        raise InputError(
            "users hold vectors that are not finite",
            remedy="train again with a smaller learning rate",
        )


def _merged(
    index: Index,
    users: np.ndarray,
    mine: np.ndarray,
    seen: sp.csr_matrix,
    k: int,
    much: int,
    offset: float,
) -> tuple[pl.DataFrame, np.ndarray]:
    """The k best unseen items of some users, user as place in the block, and of which users more must be asked for, bool [U]."""
    owner = np.nonzero(mine)[0]
    score, item = _search(index, users[mine], much, offset)
    hits = pl.DataFrame(
        {"user": np.repeat(owner, much), "item": item.ravel(), "score": score.ravel()}
    ).filter(pl.col("item") >= 0)
    met = pl.DataFrame(
        {
            "user": np.repeat(np.arange(len(users)), np.diff(seen.indptr)),
            "item": seen.indices.astype(np.int64),
        }
    )
    place = pl.Series("tie", tie_order(index.ntotal))
    best = (
        hits.group_by("user", "item")
        .agg(pl.col("score").max())
        .join(met, on=["user", "item"], how="anti")
        .with_columns(tie=pl.lit(place).gather(pl.col("item")))
        .sort(["user", "score", "tie"], descending=[False, True, False])
        .with_columns((pl.int_range(pl.len()).over("user") + 1).cast(pl.Int32).alias("rank"))
        .filter(pl.col("rank") <= k)
        .select("user", "item", "rank", "score")
    )
    # Behind the last hit of a vector there may be items as good as the last of the list, and theirs may come first among equals.
    last = np.full(len(users), -np.inf, dtype=np.float32)
    full = best.filter(pl.col("rank") == k)
    last[full["user"].to_numpy()] = full["score"].to_numpy()
    more = (item[:, -1] >= 0) & (much < index.ntotal) & (score[:, -1] >= last[owner])
    return best, np.bincount(owner[more], minlength=len(users)) > 0


def _search(
    index: Index, queries: np.ndarray, much: int, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows of the best hits, [m, much] each, best first; row -1 where an approximate index found no more."""
    faiss = _faiss()
    options = {}
    if isinstance(index, faiss.IndexHNSW):
        options["params"] = faiss.SearchParametersHNSW(efSearch=max(index.hnsw.efSearch, much))
    value, item = index.search(queries, much, **options)
    return (np.float32(offset) - value if index.metric_type == faiss.METRIC_L2 else value), item


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise InputError(
            "an index needs faiss, which is not installed", remedy="pip install 'recsys[index]'"
        ) from None
