"""Vectors out of a run, and an index to search them: items.parquet, users.parquet, manifest.json and, if asked for, items.faiss.

Whatever a scorer adds to its vectors is worked into them, so that any library that knows inner products or Euclidean distances gives
the order that was measured. With u, v as trained, b an item's bias and B the largest of them:

    dot                     u            v                   u.v
    dot, bias               [u, 1]       [v, b]              u.v + b
    cosine (, bias)         as dot, with u and v of norm 1
    euclidean               u            v                   -distance^2
    euclidean, bias         [u, 0]       [v, sqrt(B - b)]    B - distance^2

where the last column is the score. Of several vectors of a user the best counts: search with each, and keep of each item the best hit.
That is what `recsys.serving.ann_index.nearest` does:

    index = read_index("vectors/items.faiss")
    items = pl.read_parquet("vectors/items.parquet")
    mine = pl.read_parquet("vectors/users.parquet").filter(pl.col("user") == 12347)["vector"].to_numpy()
    nearest(index, mine[None], k=10, ids=items["item"])

Sources: for several vectors per user, of which the nearest counts, Bao et al., NeurIPS 2022; for the column added to a distance,
Bachrach et al., "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product spaces", RecSys 2014,
whose column holds what a norm lacks of the largest, as this one does of a bias. An index is written by faiss and holds numbers only.

A user or an item without a training pair has the vector that training began with. Such vectors are near to something by chance, so
they are left out, unless the scorer places them by features (`recsys.scorer.ability`) or they are asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from recsys.errors import InputError
from recsys.experiment.execution import Run
from recsys.files import write_atomic, write_json
from recsys.scorer import Factors, MultiFactors, Scorer, unplaced
from recsys.serving.ann_index import HNSW, Kind, Search, build_index, owned, serialized

__all__ = ["Exported", "Vectors", "export", "vectors"]

_FORMAT = 1  # of the folder
_ROWS = 1 << 16  # of a table, written at a time

# What a search is called elsewhere, and what is returned there.
_ELSEWHERE = {
    "dot": {
        "faiss": "METRIC_INNER_PRODUCT: the score",
        "pgvector": "vector_ip_ops, <#>: minus the score",
        "milvus": "IP: the score",
        "elasticsearch": "max_inner_product, in the same order",
    },
    "euclidean": {
        "faiss": "METRIC_L2: the squared distance",
        "pgvector": "vector_l2_ops, <->: the distance",
        "milvus": "L2: the squared distance",
        "elasticsearch": "l2_norm, in the same order",
    },
}


@dataclass(frozen=True, eq=False)
class Vectors:
    """Plain vectors of a scorer: their inner product, or their distance, gives its order.

    Args:
        user: float32 [n_users, C, d].
        item: float32 [n_items, d].
        count: int64 [n_users], how many of the C vectors a user has, the first ones.
        search: "dot": score = user . item; "euclidean": score = offset - |user - item|^2.
        offset: 0 without a bias.
        added: what stands in columns that the scorer's own vectors do not have, in words.
    """

    user: np.ndarray
    item: np.ndarray
    count: np.ndarray
    search: Search
    offset: float = 0.0
    added: str = ""

    @property
    def dim(self) -> int:
        return int(self.item.shape[1])


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        folder: where.
        files: in it.
        manifest: the content of manifest.json.
    """

    folder: Path
    files: tuple[Path, ...]
    manifest: dict[str, Any]


def vectors(scorer: Scorer) -> Vectors:
    """The vectors of a factor model, with norms and biases worked in; the table above says how.

    Raises:
        InputError: another kind of scorer, which is no product or distance of vectors; a vector that is not finite.
    """
    if not isinstance(scorer, Factors | MultiFactors):
        raise InputError(
            f"a scorer of kind '{getattr(scorer, 'kind', type(scorer).__name__)}' ranks by more than an inner product or a distance of vectors",
            remedy="export a factor method such as mf, cml or dpcml; `recsys recommend` writes lists of any",
        )
    user, item = scorer.user.cpu(), scorer.item.cpu()
    if scorer.similarity == "cosine":
        user, item = F.normalize(user, dim=-1), F.normalize(item, dim=-1)
    bias = scorer.item_bias if isinstance(scorer, Factors) else None
    offset, added = 0.0, ""
    if bias is not None:
        bias = bias.cpu()
        if scorer.similarity == "euclidean":
            offset, added = (
                float(bias.max()),
                "the last column is 0 for users and sqrt(offset - bias) for items",
            )
            more, ones = (bias.max() - bias).sqrt(), 0.0
        else:
            added = "the last column is 1 for users and the bias for items"
            more, ones = bias, 1.0
        user = torch.cat([user, torch.full((len(user), 1), ones)], dim=1)
        item = torch.cat([item, more[:, None]], dim=1)
    if not (bool(torch.isfinite(user).all()) and bool(torch.isfinite(item).all())):
        raise InputError(
            "the scorer holds vectors that are not finite",
            remedy="train again with a smaller learning rate",
        )
    user = user if user.dim() == 3 else user[:, None]
    whole = np.full(len(user), user.shape[1], dtype=np.int64)
    count = (
        scorer.count.cpu().numpy()
        if isinstance(scorer, MultiFactors) and scorer.count is not None
        else whole
    )
    search: Search = "euclidean" if scorer.similarity == "euclidean" else "dot"
    return Vectors(
        user.contiguous().float().numpy(),
        item.contiguous().float().numpy(),
        count,
        search,
        offset,
        added,
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Which rows of the run are written, int64, ascending."""

    users: np.ndarray
    items: np.ndarray


def export(
    run: Run, out: str | Path, index: Kind | None = None, *, unmet: bool = False
) -> Exported:
    """Write the vectors of a run into a new folder, which is there when all of it is.

    items.parquet holds item (outside id), title where the run has titles, and vector (float32, a list of fixed size); users.parquet
    holds user, c (which of the user's vectors, from 0) and vector; manifest.json says how to search them, and how many users and items were
    left out. items.faiss, if asked for, is an index whose row i is row i of items.parquet. The same run gives the same files, byte for
    byte, but for an HNSW index, which several threads build in an order of their own.

    Args:
        run: a finished run.
        out: a folder that is not there yet, or empty.
        index: "flat" searches exactly, "hnsw" approximately and in large catalogues much faster; None: no index.
        unmet: write users and items without a training pair, too.

    Raises:
        InputError: the scorer has no such vectors; the folder is taken or cannot be written; faiss is not installed.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            "exists already and is not empty", place=str(out), remedy="choose another --out"
        )
    try:
        made = vectors(run.scorer)
    except InputError as error:
        raise error.at(str(run.folder)) from None
    rows = _rows(run, unmet)
    made = replace(
        made, user=made.user[rows.users], item=made.item[rows.items], count=made.count[rows.users]
    )
    built = None if index is None else build_index(made.item, made.search, index)
    home = Path(os.path.abspath(out))
    temporary = home.with_name(f".{home.name}.{os.getpid()}.tmp")
    manifest = _manifest(run, made, rows, index)
    try:
        _write_items(temporary / "items.parquet", run, made, rows.items)
        _write_users(temporary / "users.parquet", run, made, rows.users)
        if built is not None:
            write_atomic(
                temporary / "items.faiss", lambda path: path.write_bytes(serialized(built))
            )
        write_json(temporary / "manifest.json", manifest)
        if out.exists():
            out.rmdir()
        temporary.replace(home)
    except BaseException as error:  # an interrupt too leaves nothing half-written behind
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, InputError) and error.place:
            raise InputError(
                error.cause,
                place=error.place.replace(str(temporary), str(out)),
                remedy=error.remedy,
            ) from None
        raise
    names = [
        "items.parquet",
        "users.parquet",
        *(["items.faiss"] if built is not None else []),
        "manifest.json",
    ]
    return Exported(out, tuple(out / name for name in names), manifest)


def _rows(run: Run, unmet: bool) -> _Rows:
    """The users and items whose vectors mean something; all of them with `unmet`."""
    train = run.train
    users, items = (
        (np.zeros(train.n_users, dtype=bool), np.zeros(train.n_items, dtype=bool))
        if unmet
        else unplaced(run.scorer, train)
    )
    return _Rows(np.flatnonzero(~users), np.flatnonzero(~items))


def _write_items(path: Path, run: Run, made: Vectors, written: np.ndarray) -> None:
    def rows(start: int) -> pl.DataFrame:
        span = slice(start, start + _ROWS)
        frame = pl.DataFrame({"item": run.train.items.ids.gather(written[span])})
        if run.train.titles is not None:
            frame = frame.with_columns(run.train.titles.gather(written[span]).alias("title"))
        return frame.with_columns(pl.Series("vector", made.item[span]))

    _write_table(path, (rows(start) for start in range(0, len(made.item), _ROWS)))


def _write_users(path: Path, run: Run, made: Vectors, written: np.ndarray) -> None:
    step = max(1, _ROWS // made.user.shape[1])

    def rows(start: int) -> pl.DataFrame:
        part = made.user[start : start + step]
        owner, place = np.nonzero(owned(part, made.count[start : start + step]))
        ids = run.train.users.ids.gather(written[start + owner])
        return pl.DataFrame(
            {"user": ids, "c": place.astype(np.int32), "vector": pl.Series(part[owner, place])}
        )

    _write_table(path, (rows(start) for start in range(0, len(made.user), step)))


def _write_table(path: Path, frames: Iterator[pl.DataFrame]) -> None:
    """Write frames below each other, never holding more than one."""

    def produce(temporary: Path) -> None:
        tables = (frame.to_arrow(compat_level=pl.CompatLevel.oldest()) for frame in frames)
        first = next(tables)
        with pq.ParquetWriter(str(temporary), first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)

    write_atomic(path, produce)


def _manifest(run: Run, made: Vectors, rows: _Rows, index: Kind | None) -> dict[str, Any]:
    squared = (
        "minus the squared Euclidean distance"
        if made.added == ""
        else "offset minus the squared Euclidean distance"
    )
    libraries = {}
    for name in ("recsys", "numpy", "polars", "torch", *(("faiss-cpu",) if index else ())):
        with contextlib.suppress(PackageNotFoundError):
            libraries[name] = version(name)
    hnsw = HNSW if index == "hnsw" else {}
    return {
        "format": _FORMAT,
        "run": run.name,
        "method": run.meta.method,
        "fingerprint": run.fingerprint,
        "similarity": getattr(run.scorer, "similarity", None),
        "search": made.search,
        "score": "inner product" if made.search == "dot" else squared,
        "offset": made.offset,
        "added": made.added or None,
        "dim": made.dim,
        "users": len(made.user),
        "items": len(made.item),
        "without_training_pair_left_out": {
            "users": run.train.n_users - len(rows.users),
            "items": run.train.n_items - len(rows.items),
        },
        "vectors_per_user": {
            "least": int(made.count.min()),
            "most": int(made.count.max()),
            "all": int(made.count.sum()),
        },
        "merge": "a user's score for an item is the best over the user's vectors: search with each, keep an item once, with its best score",
        "index": {"file": "items.faiss", "kind": index, "row": "that of items.parquet", **hnsw}
        if index
        else None,
        "elsewhere": _ELSEWHERE[made.search],
        "libraries": libraries,
    }
