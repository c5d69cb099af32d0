"""Export of a run's vectors, and of an index of them, for systems that search vectors.

The folder holds items.parquet, users.parquet, manifest.json and, if asked for, items.faiss. A run
without vectors whose scores are sums of weights of the items of a history, such as EASE, is written
as these weights (`recsys.serving.history_export`).

The vectors are those of `recsys.serving.plain_vectors`. If a user has several vectors, the best of
them counts: search with each, and keep the best hit of each item. `ann_index.nearest` does that:

    index = read_index("vectors/items.faiss")
    items = pl.read_parquet("vectors/items.parquet")
    users = pl.read_parquet("vectors/users.parquet")
    user = users.filter(pl.col("user") == 12347)["vector"].to_numpy()
    nearest(index, user[None], k=10, ids=items["item"])

An index is written by faiss and holds numbers only.

A user or an item without a training interaction has the vector that training began with. Such
vectors are near to others by chance, so they are left out, unless the scorer places them by
features (`recsys.scorer.ability`) or they are asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import InputError
from recsys.experiment.execution import Run
from recsys.files import write_atomic, write_json
from recsys.scorer import Similarity, unplaced
from recsys.serving.ann_index import (
    HNSW,
    HnswSizes,
    Index,
    IndexKind,
    Search,
    build_index,
    owned,
    serialized,
)
from recsys.serving.export_files import LeftOut, filled, item_columns, libraries, write_table
from recsys.serving.history_export import (
    Solve,
    WeightManifest,
    export_weights,
    has_weights,
    solve_of,
)
from recsys.serving.plain_vectors import Vectors, vectors

__all__ = ["Exported", "IndexFacts", "LeftOut", "Manifest", "VectorCounts", "export"]

_FORMAT = 1  # version of the folder's layout
_ROWS = 1 << 16  # rows of a table that are written at a time
_MERGE = (
    "a user's score for an item is the best over the user's vectors: search with each, "
    "keep an item once, with its best score"
)

# Names of the search in other systems, and what they return.
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


@dataclass(frozen=True)
class VectorCounts:
    """The least and the most vectors of a user, and the vectors of all users together."""

    least: int
    most: int
    all: int


@dataclass(frozen=True)
class IndexFacts:
    """The index in the folder.

    Args:
        kind: of the index.
        file: its name.
        row: which item a row of the index is, in words.
        hnsw: sizes of an HNSW index; None for a flat one.
    """

    kind: IndexKind
    file: str = "items.faiss"
    row: str = "that of items.parquet"
    hnsw: HnswSizes | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the facts as manifest.json has them."""
        sizes = {} if self.hnsw is None else dataclasses.asdict(self.hnsw)
        return {"file": self.file, "kind": self.kind, "row": self.row, **sizes}


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json, in its order.

    Args:
        format: version of the folder's layout.
        run: name of the run.
        method: name of its method, None if the run does not name it.
        fingerprint: of the run.
        similarity: of the scorer itself.
        search: how to search the vectors.
        score: the score that the search gives, in words.
        offset: score = offset - |user - item|^2 for distances with a bias; else 0.
        added: what a column holds that the scorer's own vectors do not have, in words; or None.
        dim: length of a vector.
        users, items: how many are in the tables.
        without_training_pair_left_out: how many are not.
        vectors_per_user: how many vectors the users have.
        merge: how to combine the vectors of a user, in words.
        index: the index, None if none was asked for.
        elsewhere: name of the search in other systems, and what it returns.
        libraries: versions of the libraries that wrote the folder.
        history: how the vector of a history is solved; None if the scorer has no such problem, and
            then it is not in the file.
    """

    format: int
    run: str
    method: str | None
    fingerprint: str
    similarity: Similarity
    search: Search
    score: str
    offset: float
    added: str | None
    dim: int
    users: int
    items: int
    without_training_pair_left_out: LeftOut
    vectors_per_user: VectorCounts
    merge: str
    index: IndexFacts | None
    elsewhere: Mapping[str, str]
    libraries: Mapping[str, str]
    history: Solve | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content as plain values."""
        index = None if self.index is None else self.index.to_json()
        content = {**dataclasses.asdict(self), "index": index}
        if self.history is None:
            del content["history"]
        return content


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        folder: the folder.
        files: paths of the files in it.
        description: how to search the vectors or to use the weights, and what was left out.
    """

    folder: Path
    files: tuple[Path, ...]
    description: Manifest | WeightManifest

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json as plain values."""
        return self.description.to_json()


@dataclass(frozen=True, eq=False)
class _Rows:
    """Which rows of the run are written, int64, ascending."""

    users: np.ndarray
    items: np.ndarray


def export(
    run: Run, out: str | Path, index: IndexKind | None = None, *, unmet: bool = False
) -> Exported:
    """Write the vectors of a run into a new folder, which appears when it is complete.

    items.parquet holds item (outside id), title where the run has titles, and vector (float32, a
    list of fixed size); users.parquet holds user, c (which of the user's vectors, from 0) and
    vector; manifest.json says how to search them, and how many users and items were left out.
    items.faiss, if asked for, is an index whose row i is row i of items.parquet. The same run gives
    the same files, byte for byte, except an HNSW index, which several threads build in varying
    order.

    A run without vectors whose scores are sums of weights of the items of a history gives
    items.parquet without vectors, and weights.npy or weights.parquet.

    Args:
        run: a finished run.
        out: a folder that does not exist yet, or is empty.
        index: "flat" searches exactly, "hnsw" approximately and in large catalogues much faster;
            None: no index.
        unmet: whether to write users and items without a training interaction, too.

    Raises:
        InputError: the scorer has neither such vectors nor weights, or an index of weights is asked
            for; the folder is not empty or cannot be written; faiss is not installed.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            "already exists and is not empty", place=str(out), remedy="choose another --out"
        )
    rows = _rows(run, unmet)
    if has_weights(run.scorer):
        if index is not None:
            raise InputError(
                f"an index needs vectors, and this '{run.scorer.kind}' scorer has weights of items",
                place=str(run.folder),
                remedy="leave out --index",
            )
        weights = export_weights(run, out, rows.items, _left_out(run, rows))
        return Exported(out, tuple(out / name for name in weights.files), weights)
    try:
        whole = vectors(run.scorer)
    except InputError as error:
        raise error.at(str(run.folder)) from None
    written = replace(
        whole,
        user=whole.user[rows.users],
        item=whole.item[rows.items],
        count=whole.count[rows.users],
    )
    built = None if index is None else build_index(written.item, written.search, index)
    manifest = _manifest(run, written, rows, index)

    def fill(folder: Path) -> list[str]:
        names = _write_folder(folder, run, written, rows, built)
        write_json(folder / "manifest.json", manifest.to_json())
        return names

    names = filled(out, fill)
    return Exported(out, tuple(out / name for name in (*names, "manifest.json")), manifest)


def _rows(run: Run, unmet: bool) -> _Rows:
    """Return the users and items whose vectors are informative; all of them with `unmet`."""
    train = run.train
    if unmet:
        return _Rows(np.arange(train.n_users), np.arange(train.n_items))
    users, items = unplaced(run.scorer, train)
    return _Rows(np.flatnonzero(~users), np.flatnonzero(~items))


def _write_folder(
    folder: Path, run: Run, written: Vectors, rows: _Rows, index: Index | None
) -> list[str]:
    """Write the tables, and the index if there is one, and return the names of the files."""
    _write_items(folder / "items.parquet", run, written, rows.items)
    _write_users(folder / "users.parquet", run, written, rows.users)
    names = ["items.parquet", "users.parquet"]
    if index is not None:
        content = serialized(index)
        write_atomic(folder / "items.faiss", lambda path: path.write_bytes(content))
        names.append("items.faiss")
    return names


def _write_items(path: Path, run: Run, written: Vectors, items: np.ndarray) -> None:
    def rows(start: int) -> pl.DataFrame:
        span = slice(start, start + _ROWS)
        frame = item_columns(run.train, items[span])
        return frame.with_columns(pl.Series("vector", written.item[span]))

    write_table(path, (rows(start) for start in range(0, len(written.item), _ROWS)))


def _write_users(path: Path, run: Run, written: Vectors, users: np.ndarray) -> None:
    step = max(1, _ROWS // written.user.shape[1])

    def rows(start: int) -> pl.DataFrame:
        part = written.user[start : start + step]
        owner, position = np.nonzero(owned(part, written.count[start : start + step]))
        ids = run.train.users.ids.gather(users[start + owner])
        return pl.DataFrame(
            {
                "user": ids,
                "c": position.astype(np.int32),
                "vector": pl.Series(part[owner, position]),
            }
        )

    write_table(path, (rows(start) for start in range(0, len(written.user), step)))


def _left_out(run: Run, rows: _Rows) -> LeftOut:
    return LeftOut(
        users=run.train.n_users - len(rows.users), items=run.train.n_items - len(rows.items)
    )


def _manifest(run: Run, written: Vectors, rows: _Rows, index: IndexKind | None) -> Manifest:
    score = "inner product"
    if written.search == "euclidean":
        score = "minus the squared Euclidean distance"
        if written.added:
            score = "offset minus the squared Euclidean distance"
    return Manifest(
        format=_FORMAT,
        run=run.name,
        method=run.meta.method,
        fingerprint=run.fingerprint,
        similarity=written.similarity,
        search=written.search,
        score=score,
        offset=written.offset,
        added=written.added or None,
        dim=written.dim,
        users=len(written.user),
        items=len(written.item),
        without_training_pair_left_out=_left_out(run, rows),
        vectors_per_user=VectorCounts(
            least=int(written.count.min()),
            most=int(written.count.max()),
            all=int(written.count.sum()),
        ),
        merge=_MERGE,
        index=None if index is None else IndexFacts(index, hnsw=HNSW if index == "hnsw" else None),
        elsewhere=_ELSEWHERE[written.search],
        libraries=libraries(*(("faiss-cpu",) if index else ())),
        history=solve_of(run.scorer),
    )
