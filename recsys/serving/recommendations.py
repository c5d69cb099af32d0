"""Recommendations out of a scorer, in outside ids: as a frame, or as a restartable job that writes files.

The ranking is `recsys.ranking.top_k`, the one that evaluation uses: what ships is what was measured. What a model knows nothing of
is not ranked by it: users without a training pair, users whose candidates all score the same, and items that nobody has met, unless
the scorer says that it places them (`recsys.scorer.ability`).
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch

from recsys.data.id_files import read_ids
from recsys.data.ids import Ids, match_id_type, requested_ids
from recsys.data.types import Dataset, Vocab
from recsys.errors import InputError, first_line, suggest
from recsys.files import read_json, write_atomic, write_json
from recsys.ranking import TopK, top_k
from recsys.scorer import Factors, Product, Scorer, unplaced

__all__ = [
    "Job",
    "Unknown",
    "read_ids",
    "recommend",
    "requested_ids",
    "similar_items",
    "write_recommendations",
]

Unknown = Literal["popular", "skip", "error"]
_FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}


def recommend(
    scorer: Scorer,
    train: Dataset,
    users: Ids | None = None,
    k: int = 10,
    *,
    filter_seen: bool = True,
    candidates: Ids | None = None,
    exclude: Ids | None = None,
    unknown: Unknown = "popular",
    unmet: bool = False,
    titles: bool = False,
) -> pl.DataFrame:
    """The k best items of each user.

    Args:
        scorer: what ranks.
        train: what it learned from: the ids, and what users have seen.
        users: outside ids, in the order of the answer; None for every user of the run.
        k: items per user; a user with fewer candidates gets fewer rows.
        filter_seen: leave out what the user has in `train`.
        candidates: outside ids of the only items to recommend; None for all.
        exclude: outside ids of items never to recommend.
        unknown: users the scorer does not know: "popular" gives the most popular candidates, "skip" leaves them out, "error" stops. Not known
            is who is not in `train`, who has no pair there, unless the scorer places such users, and whose candidates all score the same.
        unmet: items without a training pair are candidates, too, of a scorer that does not place them.
        titles: add a column with the items' titles, where the data have them.

    Returns:
        user, item (outside ids), rank (1..k), score, source ("model", or "popular" for the fallback, whose score is the train count). Users are of
        the type of the run's ids; all are text where one who is answered cannot be, as 'guest' in a run of numbers.

    Raises:
        InputError: no ids, a k or an `unknown` that is none, an unknown item in `candidates` or `exclude`, no candidate left, or an unknown user with
            unknown = "error".
    """
    maker = _Recommender(scorer, train, k, filter_seen, candidates, exclude, unknown, unmet, titles)
    asked = requested_ids(train.users.ids, users)
    maker.check(asked)
    return maker.frame(asked)


def similar_items(scorer: Scorer, train: Dataset, items: Ids, k: int = 10) -> pl.DataFrame:
    """The k items whose vectors are nearest to each given item (by distance where the scorer's is one, else cosine).

    Items without a training pair are near to nothing, and are left out, unless the scorer places them.

    Returns:
        item, similar, rank, score.

    Raises:
        InputError: the scorer has no item vectors, an item is unknown or has no training pair, or k below 1.
    """
    k = _length(k)
    vectors = getattr(scorer, "item", None)
    if vectors is None:
        raise InputError(
            f"a scorer of kind '{getattr(scorer, 'kind', type(scorer).__name__)}' has no item vectors",
            remedy="use a factor method",
        )
    rows = train.items.require(match_id_type(items, train.items.ids.dtype, "items"), "items")
    _, strange = unplaced(scorer, train)
    if strange[rows].any():
        first = train.items.ids[int(rows[strange[rows]][0])]
        raise InputError(
            f"item {first!r} has no training pair, so its vector is near to nothing",
            place="items",
            remedy="leave it out, or use a method that places items by their features",
        )
    # An inner product favours popular items whatever the question; the angle does not. Distances stay distances.
    itself = Factors(
        vectors[rows],
        vectors,
        "euclidean" if getattr(scorer, "similarity", "") == "euclidean" else "cosine",
    )
    # One more than asked for: an item is nearest to itself.
    pool = np.flatnonzero(~strange) if strange.any() else None
    best = top_k(itself, np.arange(len(rows)), k + 1, candidates=pool)
    keep = (best.item != rows[:, None]) & (best.item >= 0)
    keep &= keep.cumsum(1) <= k
    owner = np.repeat(np.arange(len(rows)), keep.sum(1))
    names = train.items.ids
    return pl.DataFrame(
        {
            "item": names.gather(rows[owner]),
            "similar": names.gather(best.item[keep]),
            "rank": keep.cumsum(1)[keep].astype(np.int32),
            "score": best.score[keep],
        }
    )


@dataclass(frozen=True)
class Job:
    """What a batch of recommendations wrote.

    Args:
        files: in order of the users.
        users: how many were answered by the model.
        fallback: how many were answered by popularity.
        rows: recommendations written.
        reused: files that an earlier, interrupted job had finished.
    """

    files: tuple[Path, ...]
    users: int
    fallback: int
    rows: int
    reused: int = 0


def write_recommendations(
    out: Path,
    scorer: Scorer,
    train: Dataset,
    users: Ids | None = None,
    k: int = 10,
    *,
    filter_seen: bool = True,
    candidates: Ids | None = None,
    exclude: Ids | None = None,
    unknown: Unknown = "popular",
    unmet: bool = False,
    titles: bool = False,
    batch: int = 50_000,
    format: Literal["parquet", "csv", "jsonl"] = "parquet",
    model: str = "",
    training: Mapping[str, Any] | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> Job:
    """Write `recommend` to a file, or to a folder in parts of `batch` users.

    A path that ends in .parquet, .csv or .jsonl is a file; any other is a folder of part-00000.<format> and manifest.json. A job that was
    interrupted goes on where it stopped when it is started again with the same arguments: parts that are there are not made again, the
    manifest is written last, and a reader that waits for it never sees half a job.

    Args:
        out: file or folder.
        scorer, train, users, k, filter_seen, candidates, exclude, unknown, unmet, titles: as in `recommend`.
        batch: users per part.
        format: of the parts of a folder; a file's ending names its own.
        model: identity of the model, for the manifest; a part of another model is not reused.
        training: how the model's training ended, for the manifest (`Stopping.plain`).
        tell: told (users done, users in all).

    Raises:
        InputError: as `recommend`; a format or `batch` that is none; the folder holds the parts of another job; the disk is full.
    """
    out = Path(out)
    _one_of("format", format, _FORMATS.values())
    if batch < 1:
        raise InputError(
            f"batch = {batch}: a part holds at least one user", remedy="ask for at least 1"
        )
    maker = _Recommender(scorer, train, k, filter_seen, candidates, exclude, unknown, unmet, titles)
    asked = requested_ids(train.users.ids, users)
    maker.check(asked)
    if out.suffix in _FORMATS:
        frame = maker.frame(asked)
        write_atomic(out, lambda path: _save(frame, path, _FORMATS[out.suffix]))
        if tell is not None:
            tell(len(asked), len(asked))
        return _count([out], [frame])
    if out.suffix and not out.is_dir():
        raise InputError(
            f"unknown ending '{out.suffix}'",
            place=str(out),
            remedy=f"end in {', '.join(_FORMATS)}, or give a folder",
        )
    identity = maker.identity(asked, batch, format, model)
    _claim(out, identity)
    parts, reused, rows, answered, fallback = [], 0, 0, 0, 0
    for number, start in enumerate(range(0, max(1, len(asked)), batch)):
        path = out / f"part-{number:05d}.{format}"
        if path.exists():
            reused += 1
            done = _count([path], [_load(path, format)])
        else:
            frame = maker.frame(asked.slice(start, batch))
            write_atomic(path, lambda temporary, frame=frame: _save(frame, temporary, format))  # type: ignore[misc]
            done = _count([path], [frame])
        parts.append(path)
        rows, answered, fallback = rows + done.rows, answered + done.users, fallback + done.fallback
        if tell is not None:
            tell(min(start + batch, len(asked)), len(asked))
    job = Job(tuple(parts), answered, fallback, rows, reused)
    write_json(
        out / "manifest.json",
        {
            **identity,
            "status": "finished",
            "files": [path.name for path in parts],
            "rows": rows,
            "users": answered,
            "fallback": fallback,
            **({} if training is None else {"training": dict(training)}),
        },
    )
    return job


class _Recommender:
    """The arguments of `recommend`, resolved once to rows."""

    def __init__(
        self,
        scorer: Scorer,
        train: Dataset,
        k: int,
        filter_seen: bool,
        candidates: Ids | None,
        exclude: Ids | None,
        unknown: Unknown,
        unmet: bool,
        titles: bool,
    ) -> None:
        _one_of("unknown", unknown, get_args(Unknown))
        self.scorer, self.train, self.unknown, self.unmet = scorer, train, unknown, unmet
        self.counts = train.item_counts
        self.k = min(_length(k), train.n_items)  # a longer list has nothing more to hold
        self.filter_seen = filter_seen
        self.titles = train.titles if titles else None
        self.allowed = _allowed(train.items, candidates, exclude)
        self.strange, items = unplaced(scorer, train)
        self.ranked = self.allowed if unmet else _placed(self.allowed, ~items, scorer)

    def check(self, users: pl.Series) -> None:
        """Refuse users of whom the model knows nothing, where they are an error.

        Raises:
            InputError: there is one.
        """
        if self.unknown == "error":
            rows = self.train.users.require(users, "users")
            self._refuse(
                users, self.strange[rows], "has no training pair, so the model knows nothing of it"
            )

    def frame(self, users: pl.Series) -> pl.DataFrame:
        """Recommendations for outside ids, in their order."""
        rows = self.train.users.rows(users)
        known = rows >= 0
        known[known] = ~self.strange[rows[known]]
        served = np.flatnonzero(known)
        seen = self.train.pairs.csr if self.filter_seen else None
        best = top_k(
            self.scorer, rows[served], self.k, seen=seen, candidates=self.ranked, flat=True
        )
        assert best.flat is not None
        known[served[best.flat]] = False
        if self.unknown == "error":
            self._refuse(users, ~known, "gets the same score for every candidate")
        told = ~best.flat
        frames = [self._table(users, served[told], best.item[told], best.score[told], "model")]
        left = np.flatnonzero(~known)
        if len(left) and self.unknown == "popular":
            popular = self._popular(rows[left], seen)
            frames.append(self._table(users, left, popular.item, popular.score, "popular"))
        frame = pl.concat(frames).sort("place", "rank").drop("place")
        return (
            frame
            if self.unknown == "popular"
            else frame.with_columns(pl.col("user").cast(self.train.users.ids.dtype))
        )

    def _table(
        self,
        users: pl.Series,
        places: np.ndarray,
        items: np.ndarray,
        scores: np.ndarray,
        source: str,
    ) -> pl.DataFrame:
        there = items >= 0
        owner = np.repeat(places, there.sum(1))
        rank = np.broadcast_to(np.arange(1, self.k + 1, dtype=np.int32), items.shape)[there]
        columns = {
            "place": pl.Series(owner.astype(np.int64)),
            "user": users.gather(owner),
            "item": self.train.items.ids.gather(items[there]),
            "rank": pl.Series(rank),
            "score": pl.Series(scores[there].astype(np.float32)),
            "source": pl.Series([source], dtype=pl.String).new_from_index(0, len(owner)),
        }
        if self.titles is not None:
            columns["title"] = self.titles.gather(items[there])
        return pl.DataFrame(columns)

    def _refuse(self, users: pl.Series, which: np.ndarray, why: str) -> None:
        """Stop where the mask `which` holds for a user [n]."""
        if which.any():
            first = users[int(np.flatnonzero(which)[0])]
            raise InputError(
                f"user {first!r} {why} ({which.sum()} of {len(users)} are so)",
                place="users",
                remedy="leave such users out, or use --unknown popular or skip",
            )

    def _popular(self, rows: np.ndarray, seen: sp.csr_matrix | None) -> TopK:
        """Return the most popular candidates of users [n], -1 for one who is not in the run, less what each has seen.

        Equal counts stand in the order of all rankings. What nobody has met is not popular and left out.
        """
        pool = np.arange(self.train.n_items) if self.allowed is None else self.allowed
        pool = pool[self.counts[pool] > 0]
        counts = torch.from_numpy(self.counts.astype(np.float32))
        # One row more, of a user who has seen nothing, for all who are not in the run.
        scorer = Product((torch.ones(self.train.n_users + 1, 1), counts[None, :]), "ones")
        if seen is not None:
            nobody = np.append(seen.indptr, seen.indptr[-1])
            seen = sp.csr_matrix(
                (seen.data, seen.indices, nobody), shape=(seen.shape[0] + 1, seen.shape[1])
            )
        users = np.where(rows < 0, self.train.n_users, rows)
        return top_k(scorer, users, self.k, seen=seen, candidates=pool)

    def identity(self, users: pl.Series, batch: int, format: str, model: str) -> dict[str, Any]:
        """What decides every byte of a job's parts."""
        allowed = (
            "all" if self.ranked is None else hashlib.sha256(self.ranked.tobytes()).hexdigest()
        )
        return {
            "model": model,
            "users_fingerprint": Vocab(users).fingerprint,
            "seen_fingerprint": self.train.pairs_fingerprint,
            "candidates": allowed,
            "k": self.k,
            "filter_seen": self.filter_seen,
            "unknown": self.unknown,
            "unmet": self.unmet,
            "titles": self.titles is not None,
            "batch": batch,
            "format": format,
        }


def _allowed(items: Vocab, candidates: Ids | None, exclude: Ids | None) -> np.ndarray | None:
    """Rows that may be recommended, ascending, or None for all."""
    if candidates is None and exclude is None:
        return None
    rows = {
        name: np.unique(items.require(match_id_type(ids, items.ids.dtype, name), name))
        for name, ids in (("candidates", candidates), ("exclude", exclude))
        if ids is not None
    }
    allowed = np.setdiff1d(rows.get("candidates", np.arange(len(items))), rows.get("exclude", []))
    if not len(allowed):
        raise InputError(
            "no item is left to recommend",
            place="candidates",
            remedy="give more candidates, or exclude fewer items",
        )
    return allowed


def _placed(allowed: np.ndarray | None, known: np.ndarray, scorer: Scorer) -> np.ndarray | None:
    """Return the rows of `allowed` that the scorer can place by the mask `known`; None for all there are."""
    if known.all():
        return allowed
    pool = np.flatnonzero(known) if allowed is None else allowed[known[allowed]]
    if not len(pool):
        n = len(known) if allowed is None else len(allowed)
        kind = getattr(scorer, "kind", type(scorer).__name__)
        raise InputError(
            f"none of the {n} candidates has a training pair, and this '{kind}' scorer places no item without one",
            place="candidates",
            remedy="give other candidates, use a method that places items by their features, or rank them all the same: --unmet",
        )
    return pool


def _length(k: int) -> int:
    try:
        length = operator.index(k)
    except TypeError:
        raise InputError(
            f"k = {k!r} is no whole number", remedy="ask for 1 or more items"
        ) from None
    if length < 1:
        raise InputError(f"k = {k} recommends nothing", remedy="ask for at least 1")
    return length


def _one_of(setting: str, value: object, known: Iterable[str]) -> None:
    known = tuple(known)
    if value not in known:
        raise InputError(
            f"{setting} = {value!r} is none of them", remedy=suggest(str(value), known)
        )


def _claim(out: Path, identity: dict[str, Any]) -> None:
    """Make the folder of a job, or find in it an earlier try at the same one."""
    manifest = out / "manifest.json"
    if manifest.exists():
        before = read_json(manifest)
        differing = [
            key
            for key, value in json.loads(json.dumps(identity)).items()
            if before.get(key) != value
        ]
        if differing:
            raise InputError(
                f"holds the parts of another job ({', '.join(differing)} differ)",
                place=str(out),
                remedy="choose another folder, or empty this one",
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            "exists already and is not the folder of a job",
            place=str(out),
            remedy="choose another folder",
        )
    write_json(manifest, {**identity, "status": "running"})


def _save(frame: pl.DataFrame, path: Path, format: str) -> None:
    if format == "parquet":
        frame.write_parquet(path, compression="zstd")
    elif format == "csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)


def _load(path: Path, format: str) -> pl.DataFrame:
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        "parquet": pl.read_parquet,
        "csv": lambda file: pl.read_csv(file, infer_schema=False),
        "jsonl": pl.read_ndjson,
    }
    try:
        if format == "jsonl" and not path.stat().st_size:  # nobody in it has a recommendation
            return pl.DataFrame(schema={"user": pl.String, "source": pl.String})
        return readers[format](path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read: {first_line(error)}",
            place=str(path),
            remedy="delete this part and start the job again",
        ) from None


def _count(files: list[Path], frames: list[pl.DataFrame]) -> Job:
    users = pl.concat([frame.select("user", "source") for frame in frames]).unique()
    fallback = users.filter(pl.col("source") == "popular").height
    return Job(
        tuple(files), users.height - fallback, fallback, sum(frame.height for frame in frames)
    )
