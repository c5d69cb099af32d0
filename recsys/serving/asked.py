"""What a request asks, in rows: queries for users, for histories, or for items.

`ask` turns a request into one `Asked`, and `recsys.serving.recommender` ranks it, regardless of who
asks. A history is read by scorers that answer histories. What goes with an item is asked with a
history of this item; scorers that read no history but have item vectors rank by the similarity of
vectors instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.histories import Histories
from recsys.data.ids import Ids, match_id_type, requested_ids
from recsys.data.query import Queries
from recsys.data.types import Dataset, Vocab
from recsys.data.unmatched import such_as
from recsys.errors import InputError
from recsys.scorer import (
    Factors,
    ItemVectors,
    Scorer,
    Similarity,
    VectorScorer,
    places_of,
    unplaced,
)
from recsys.serving.given_histories import GivenHistories, given_histories
from recsys.serving.request import Request

__all__ = ["Asked", "Unanswered", "ask", "by_histories", "by_items", "by_users", "refuse"]

Kind: TypeAlias = Literal["user", "history", "item"]


@dataclass(frozen=True, eq=False)
class Unanswered:
    """Queries that the scorer cannot answer for one reason.

    Args:
        why: the reason, in words.
        where: which queries, bool [n].
        vocab: known ids, among which an id may have been misspelt; None: ids are not looked up.
    """

    why: str
    where: np.ndarray
    vocab: Vocab | None = None

    def example(self, ids: pl.Series) -> str:
        """Return the first of the ids as an example, with a similar known id if there is one."""
        some = ids.filter(pl.Series(self.where))
        return f"such as {some[0]!r}" if self.vocab is None else such_as(some, self.vocab)


@dataclass(frozen=True, eq=False)
class Asked:
    """A request in rows.

    Args:
        kind: who asks: "user", "history" or "item".
        ids: outside names of the queries [n]; the name of the series is that of the column.
        queries: n queries, with what must not be in their lists. The users of those that are not
            answered may be -1.
        scorer: answers the queries.
        unanswered: which queries it cannot answer, and why.
        source: what the column `source` holds for its lists: "model", or "vectors" for the
            similarity of item vectors.
        notes: what of the request is not read.
    """

    kind: Kind
    ids: pl.Series
    queries: Queries
    scorer: Scorer
    unanswered: tuple[Unanswered, ...] = ()
    source: str = "model"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def answered(self) -> np.ndarray:
        """Which queries the scorer answers, bool [n]."""
        answered = np.ones(len(self), dtype=bool)
        for each in self.unanswered:
            answered &= ~each.where
        return answered

    @property
    def plural(self) -> str:
        """What several queries are called."""
        return {"user": "users", "history": "histories", "item": "items"}[self.kind]

    def take(self, rows: np.ndarray | slice) -> Asked:
        """Return some of the queries.

        Args:
            rows: positions [k], or a slice.
        """
        return replace(
            self,
            ids=self.ids[rows],
            queries=self.queries.take(rows),
            unanswered=tuple(replace(each, where=each.where[rows]) for each in self.unanswered),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of who asks and of what is known of them."""
        named = Vocab(self.ids).fingerprint
        if self.kind == "user":
            return named
        digest = hashlib.sha256(f"{self.kind} {named}".encode())
        if self.kind == "history" and self.queries.history is not None:
            packed = self.queries.history.packed()
            for array in (packed.begin, packed.item, packed.time):
                digest.update(b"-" if array is None else array.tobytes())
        return digest.hexdigest()


def ask(scorer: Scorer, train: Dataset, request: Request) -> Asked:
    """Return what a request asks of a scorer.

    Args:
        scorer: the scorer.
        train: its training data.
        request: users, histories or items.

    Raises:
        InputError: the scorer does not answer such a request; an id is missing; with unknown =
            "error", a query that it cannot answer.
    """
    if request.items is not None:
        return by_items(request.items, scorer, train, request)
    if request.histories is not None:
        given = given_histories(request.histories, request.users)
        return by_histories(given, scorer, train, request)
    return by_users(request.users, scorer, train, request)


def by_users(users: Ids | None, scorer: Scorer, train: Dataset, request: Request) -> Asked:
    """Return the queries of users of training; a scorer that reads histories only gets theirs.

    Args:
        users: outside ids; None: every user.
        scorer, train, request: as in `ask`.
    """
    ids = requested_ids(train.users.ids, users)
    if request.unknown == "error":
        train.users.require(ids, "users")
    rows = train.users.rows(ids)
    queries = Queries.of_users(rows, _seen(train, rows) if request.filter_seen else None)
    if "user" not in scorer.answers:
        queries = replace(queries, history=train.log.histories.take(np.maximum(rows, 0)))
    asked = Asked("user", ids, queries, scorer, _unknown_users(rows, scorer, train))
    return _checked(
        asked, request, "has no training interaction, so the model cannot rank items for them"
    )


def by_histories(given: GivenHistories, scorer: Scorer, train: Dataset, request: Request) -> Asked:
    """Return the queries of histories.

    A scorer that reads histories gets the items of each history that are known, in order. Any other
    scorer is asked by the users of training among the names, and a note says so.

    Args:
        given: the histories.
        scorer, train, request: as in `ask`.

    Raises:
        InputError: a duplicate id, or an item is missing; the scorer does not read histories and
            knows no user among them.
    """
    ids = _names(given, train)
    items = match_id_type(given.item, train.items.ids.dtype, "histories")
    rows = train.items.rows(items)
    end = np.cumsum(given.length)
    n_items = train.n_items
    every = Histories(
        np.where(rows < 0, n_items, rows), end - given.length, end, given.time, given.time_unit
    )
    history = every.within(n_items)
    queries = Queries(history=history, now=_now(every), excludes_history=request.filter_seen)
    notes = (*given.notes, *_unknown_items(items, rows, train))
    if "history" in scorer.answers:
        empty = history.length == 0
        without = Unanswered("without a known item", empty & (not places_of(scorer).users))
        asked = Asked("history", ids, queries, scorer, (without,), notes=notes)
        return _checked(asked, request, "holds no known item")
    users = train.users.rows(ids) if given.of_users else np.full(len(ids), -1, dtype=np.int32)
    if len(ids) and (users < 0).all():
        scorer.score(queries.take(slice(0, 1)))  # says why it cannot; a joined one names the part
    exclude = _seen(train, users) if request.filter_seen else None
    queries = replace(queries, user=users, exclude=exclude)
    notes = (
        *notes,
        f"this method reads no history: {(users >= 0).sum():,} of {len(ids):,} histories are "
        "ranked by what it learned of their users in training, and what they did since is not read",
    )
    unanswered = _unknown_users(users, scorer, train)
    asked = Asked("history", ids, queries, scorer, unanswered, notes=notes)
    return _checked(asked, request, "belongs to no user with a training interaction")


def by_items(
    items: Ids, scorer: Scorer, train: Dataset, request: Request, *, by_vectors: bool = False
) -> Asked:
    """Return a query for each item: what goes with it? The item itself is left out.

    Args:
        items: outside ids.
        scorer, train, request: as in `ask`.
        by_vectors: whether to compare item vectors, if the scorer has some, even if it reads
            histories.

    Raises:
        InputError: the scorer neither reads histories nor has item vectors.
    """
    ids = match_id_type(items, train.items.ids.dtype, "items")
    if request.unknown == "error":
        train.items.require(ids, "items")
    rows = train.items.rows(ids)
    known = rows >= 0
    begin = np.arange(len(rows))
    history = Histories(np.maximum(rows, 0), begin, begin + known)
    queries = Queries(history=history, excludes_history=True)
    without = unplaced(scorer, train)[1]
    unanswered = (
        Unanswered("unknown to the run", ~known, train.items),
        Unanswered("without a training pair", known & without[np.maximum(rows, 0)]),
    )
    source = "model"
    if isinstance(scorer, ItemVectors) and (by_vectors or "history" not in scorer.answers):
        scorer, source = _among_items(scorer), "vectors"
        queries = replace(queries, user=rows)
    elif "history" not in scorer.answers:
        raise InputError(
            f"cannot rank what goes with an item: this '{scorer.kind}' scorer neither reads a "
            "history nor has item vectors",
            remedy="use itemknn, ease, ials or contentknn, or a factor method such as mf, cml or "
            "lightgcn",
        )
    named = ids.alias("query_item")
    asked = Asked("item", named, queries, scorer, unanswered, source)
    return _checked(asked, request, "has no training interaction, so nothing is known of it")


def _checked(asked: Asked, request: Request, why: str) -> Asked:
    """Return what is asked, if every query can be answered or need not be.

    Args:
        asked: the queries.
        request: says with unknown = "error" that every query must be answered.
        why: the reason, for the error.
    """
    if request.unknown == "error":
        refuse(asked, ~asked.answered, why)
    return asked


def refuse(asked: Asked, where: np.ndarray, why: str) -> None:
    """Raise the error of the first query that must not be there, if there is one.

    Args:
        asked: n queries.
        where: which must not be there, bool [n].
        why: the reason, in words.
    """
    if where.any():
        first = asked.ids[int(np.flatnonzero(where)[0])]
        raise InputError(
            f"{asked.kind} {first!r} {why} ({where.sum()} of {len(asked)} {asked.plural})",
            place=asked.plural,
            remedy=f"leave such {asked.plural} out, or use --unknown popular or skip",
        )


def _seen(train: Dataset, rows: np.ndarray) -> sp.csr_matrix:
    """Return the training items of users, CSR [n, n_items]; none for row -1."""
    seen = train.pairs.csr
    if len(rows) == train.n_users and bool((rows == np.arange(len(rows))).all()):
        return seen
    indptr = np.append(seen.indptr, seen.indptr[-1])
    shape = (train.n_users + 1, train.n_items)
    return sp.csr_matrix((seen.data, seen.indices, indptr), shape=shape)[rows]


def _unknown_users(
    rows: np.ndarray, scorer: Scorer, train: Dataset
) -> tuple[Unanswered, Unanswered]:
    """Return the users, by row, that training does not know, or knows without an interaction."""
    without = unplaced(scorer, train)[0]
    return (
        Unanswered("unknown to the run", rows < 0, train.users),
        Unanswered("without a training pair", (rows >= 0) & without[np.maximum(rows, 0)]),
    )


def _names(given: GivenHistories, train: Dataset) -> pl.Series:
    """Return the ids of histories; those of users in the type of the users of training."""
    own = given.of_users
    ids = requested_ids(train.users.ids, given.ids) if own else pl.Series("user", given.ids)
    if (repeated := ids.is_duplicated()).any():
        raise InputError(
            f"duplicate id {ids.filter(repeated)[0]!r}",
            place="histories",
            remedy="give one history per id",
        )
    return ids


def _now(histories: Histories) -> np.ndarray | None:
    """Return the time of the last event of each history; of an empty one, the last of all."""
    if histories.time is None or not len(histories.time):
        return None
    last = histories.time[np.maximum(histories.end - 1, 0)]
    return np.where(histories.length > 0, last, histories.time.max())


def _unknown_items(items: pl.Series, rows: np.ndarray, train: Dataset) -> tuple[str, ...]:
    """Return a note about the items of histories that the run does not know, if there are any."""
    strange = items.filter(pl.Series(rows < 0)).unique(maintain_order=True)
    if not len(strange):
        return ()
    return (
        f"{len(strange):,} of {items.n_unique():,} items of the histories unknown to the run, "
        f"{such_as(strange, train.items)}: {(rows < 0).sum():,} of {len(rows):,} events left out",
    )


def _among_items(scorer: ItemVectors) -> Factors:
    """Return the scorer of similar vectors, whose users are the items.

    Vectors are compared by distance if the scorer ranks by distance, and by cosine otherwise: an
    inner product favours popular items for every query, the cosine does not.
    """
    by_distance = isinstance(scorer, VectorScorer) and scorer.similarity == "euclidean"
    similarity: Similarity = "euclidean" if by_distance else "cosine"
    return Factors(scorer.item, scorer.item, similarity)
