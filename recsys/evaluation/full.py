"""Full rankings in views: which test items or test users count, and among which items they are ranked.

A view (`metrics.VIEWS`) is of one kind of test items, those with or without a training pair, and ranks them among their kind or in the whole
catalogue; or of one kind of test users, with all of their test items in the whole catalogue. All that look into the whole catalogue share
one pass of lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch

from recsys.data.types import FeatureTable, Interactions
from recsys.evaluation import list_metrics as of_lists
from recsys.evaluation import metrics as m
from recsys.evaluation.metrics import Metric
from recsys.evaluation.settings import Evaluation
from recsys.ranking import TopK, ranks, top_k
from recsys.scorer import Scorer, VectorScorer

__all__ = ["Part", "Ranking", "leave_out_short", "users_of_items"]

_OF_USERS = ("cold users", "warm users")


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the test users with some of their test items.

    Args:
        users: user rows [U'], those who have such items.
        places: where they stand among all test users [U'].
        relevant: their test items of the kind, CSR [U', n_items].
        reachable: those of them that were not seen.
    """

    users: np.ndarray
    places: np.ndarray
    relevant: sp.csr_matrix
    reachable: sp.csr_matrix

    @property
    def n_relevant(self) -> np.ndarray:
        """Test items of the kind per user, int64 [U']."""
        return np.diff(self.relevant.indptr).astype(np.int64)

    def only(self, kept: np.ndarray) -> Part:
        """The part of the items of a mask [n_items], with the users who have one."""
        relevant, reachable = _of_items(self.relevant, kept), _of_items(self.reachable, kept)
        some = np.flatnonzero(np.diff(relevant.indptr))
        return Part(self.users[some], self.places[some], relevant[some], reachable[some])

    def of_users(self, kept: np.ndarray) -> Part:
        """The part of the users of a mask [n_users], with all their items."""
        some = np.flatnonzero(kept[self.users])
        return Part(self.users[some], self.places[some], self.relevant[some], self.reachable[some])


@dataclass(frozen=True, eq=False)
class Ranking:
    """What every view of one evaluation shares.

    Args:
        scorer: what ranks.
        train: the source of item popularity and co-occurrence; its items are warm.
        masked: what cannot be recommended, CSR [n_users, n_items].
        evaluation: which metrics and how.
        features: item features for `diversity`, or None.
    """

    scorer: Scorer
    train: Interactions
    masked: sp.csr_matrix
    evaluation: Evaluation
    features: FeatureTable | None = None

    @cached_property
    def new(self) -> np.ndarray:
        """Which items have no training pair, bool [n_items]."""
        return users_of_items(self.train) == 0

    @cached_property
    def cold(self) -> np.ndarray:
        """Which users have no training pair, bool [n_users]."""
        return np.diff(self.train.csr.indptr) == 0

    def _part(self, every: Part, view: str) -> tuple[Part, np.ndarray | None]:
        """The users and test items of a view, and the items among which they are ranked; None for all."""
        if not view:
            return every, None
        if view in _OF_USERS:
            return every.of_users(self.cold if view == "cold users" else ~self.cold), None
        kept = self.new if view.startswith("new") else ~self.new
        return every.only(kept), None if view.endswith("in all") else np.flatnonzero(kept)

    def measure(
        self,
        wanted: Sequence[Metric],
        every: Part,
        columns: dict[str, np.ndarray],
        whole: dict[str, float],
    ) -> tuple[str, ...]:
        """Fill in all metrics, view by view, and return what is to be said of them."""
        notes: tuple[str, ...] = ()
        views = dict.fromkeys(metric.view for metric in wanted)
        if any(view and view not in _OF_USERS for view in views):
            notes += (
                f"new: {np.count_nonzero(self.new)} of {len(self.new)} items have no training pair; the others are warm",
            )
        # Test items of a kind in the whole catalogue are looked for in the lists that all test items share.
        shared, lists = every if "" in views else None, None
        for view in views:
            chosen = [metric for metric in wanted if metric.view == view]
            part, pool = self._part(every, view)
            if shared is not None and pool is None and lists is None:
                lists = self._lists(
                    shared,
                    [
                        metric
                        for metric in wanted
                        if metric.view in ("", "new in all", "warm in all", *_OF_USERS)
                    ],
                    None,
                )
                notes += () if lists is None else self._alike(lists)
            items = None
            if lists is not None and pool is None:
                items = lists.item[part.places]
            elif (own := self._lists(part, chosen, pool)) is not None:
                items = own.item
            found: dict[str, np.ndarray] = {}
            notes += self._view(chosen, part, items, pool, found, whole)
            if not view and self.evaluation.groups and items is not None:
                cuts = [metric.k for metric in chosen if metric.kind == "recall" and metric.k] or [
                    items.shape[1]
                ]
                found |= m.recall_by_popularity(
                    items,
                    m.hit_matrix(items, part.relevant),
                    part.relevant,
                    m.popularity_group(users_of_items(self.train)),
                    cuts,
                )
            for name, values in found.items():
                columns[name] = np.full(len(every.users), np.nan)
                columns[name][part.places] = values
            if not len(part.users):
                notes += (_empty(view),)
        return notes

    def _lists(self, part: Part, wanted: Sequence[Metric], pool: np.ndarray | None) -> TopK | None:
        """The lists of the users of a part at the largest cut-off, or None where no metric asks."""
        cuts = [metric.k for metric in wanted if metric.k is not None]
        cut = max(cuts, default=20 if self.evaluation.groups and pool is None else 0)
        if not cut:
            return None
        return top_k(
            self.scorer,
            part.users,
            cut,
            seen=self.masked,
            candidates=pool,
            block=self.evaluation.block,
        )

    def _alike(self, lists: TopK) -> tuple[str, ...]:
        """What to say of users with training pairs whose candidates all score the same: their lists are the order of ties."""
        two = (lists.item >= 0).sum(1) > 1
        equal = lists.score[:, 0] == np.where(lists.item < 0, np.inf, lists.score).min(1)
        some = lists.user[two & equal & ~self.cold[lists.user]]
        if not len(some):
            return ()
        flat = top_k(self.scorer, some, 2, seen=self.masked, flat=True).flat
        n = 0 if flat is None else int(flat.sum())
        if not n:
            return ()
        return (
            f"{n} test users with training pairs get the same score for every candidate: their lists are no recommendation",
        )

    def _view(
        self,
        wanted: Sequence[Metric],
        part: Part,
        items: np.ndarray | None,
        pool: np.ndarray | None,
        columns: dict[str, np.ndarray],
        whole: dict[str, float],
    ) -> tuple[str, ...]:
        """The metrics of one view for the users of its part."""
        notes: tuple[str, ...] = ()
        listed, full = (
            [metric for metric in wanted if (metric.k is None) == over_all]
            for over_all in (False, True)
        )
        if items is not None:
            far = any(metric.kind == "maxdiv" for metric in listed)
            vectors = _item_vectors(self.scorer) if far else None
            hits = m.hit_matrix(items, part.relevant)
            _of_lists(
                listed, items, hits, part, self.train, self.features, vectors, pool, columns, whole
            )
            if vectors is None and far:
                notes += ("maxdiv is not defined: the scorer has no item vectors",)
        if full:
            targets = _place(part.reachable, part.users, self.train.n_users)
            ranked = ranks(
                self.scorer,
                part.users,
                targets,
                seen=self.masked,
                candidates=pool,
                block=self.evaluation.block,
            )
            standing = ranked.rank, ranked.indptr, ranked.candidates, part.n_relevant
            for metric in full:
                columns[metric.name] = (
                    metric.function(*standing)
                    if metric.kept is None
                    else metric.function(*standing, ranked.tied)
                )
            notes += _floors(full, columns, part.reachable)
        leave_out_short(columns, wanted, part, self.evaluation)
        return notes


def _empty(view: str) -> str:
    """What to say of a view that no test user has a part in."""
    if view == "cold users":
        return "every test user has a training pair: [cold users] is not defined; [split] drop_cold = false keeps users without"
    if view == "warm users":
        return "no test user has a training pair: [warm users] is not defined"
    return f"no user has a held-back {view.split(maxsplit=1)[0]} item: [{view}] is not defined"


def leave_out_short(
    columns: dict[str, np.ndarray], wanted: Sequence[Metric], part: Part, evaluation: Evaluation
) -> None:
    """NaN for users with too few test items for a metric, as the settings have it."""
    for metric in wanted:
        short = part.n_relevant < (
            evaluation.min_test_full
            if metric.k is None
            else metric.k
            if evaluation.skip_short_users
            else 1
        )
        if metric.name in columns and metric.source in ("hits", "ranks"):
            columns[metric.name] = np.where(short, np.nan, columns[metric.name])


def _floors(
    wanted: Sequence[Metric], columns: Mapping[str, np.ndarray], reachable: sp.csr_matrix
) -> tuple[str, ...]:
    """Which partial AUCs leave out users who have test items: a fraction of theirs may be less than one item."""
    some = np.diff(reachable.indptr) > 0
    counts = {
        metric.name: int(np.isnan(columns[metric.name][some]).sum())
        for metric in wanted
        if metric.kept is not None
    }
    return tuple(
        f"{name} is not defined for {n} of {some.sum()} users: a fraction of their items is less than one"
        for name, n in counts.items()
        if n
    )


def _of_lists(
    wanted: Sequence[Metric],
    items: np.ndarray,
    hits: np.ndarray,
    part: Part,
    train: Interactions,
    features: FeatureTable | None,
    vectors: np.ndarray | None,
    pool: np.ndarray | None,
    columns: dict[str, np.ndarray],
    whole: dict[str, float],
) -> None:
    """Fill in every metric at a cut-off from the lists at the largest one: a shorter list is a prefix."""
    count = users_of_items(train)
    active = int(np.count_nonzero(np.diff(train.csr.indptr)))
    for metric in wanted:
        lists = items[:, : metric.k]
        if metric.source == "hits":
            columns[metric.name] = metric.function(hits[:, : metric.k], part.n_relevant)
        elif metric.whole and not len(lists):
            whole[metric.name] = float("nan")
        elif metric.whole and pool is not None:  # the catalogue is what could be recommended
            whole[metric.name] = metric.function(
                np.where(lists < 0, -1, np.searchsorted(pool, lists)), len(pool)
            )
        elif metric.whole:
            whole[metric.name] = metric.function(lists, train.n_items)
        elif metric.kind == "lift":
            columns[metric.name] = metric.function(lists, count, train.csr[part.users])
        elif metric.kind == "diversity":
            columns[metric.name] = (
                of_lists.diversity(lists, train.csr)
                if features is None
                else of_lists.diversity_of(lists, features.values, features.present)
            )
        elif metric.kind == "maxdiv":
            columns[metric.name] = (
                np.full(len(lists), np.nan) if vectors is None else metric.function(lists, vectors)
            )
        else:
            columns[metric.name] = metric.function(lists, count, active)


def _item_vectors(scorer: Scorer) -> np.ndarray | None:
    """The item vectors a scorer ranks with, float32 [n_items, d]; of unit length for a cosine. None for a scorer without."""
    if not isinstance(scorer, VectorScorer):
        return None
    vectors = (
        torch.nn.functional.normalize(scorer.item, dim=-1)
        if scorer.similarity == "cosine"
        else scorer.item
    )
    return np.asarray(vectors.detach().float().cpu().numpy())


def users_of_items(train: Interactions) -> np.ndarray:
    """Distinct training users per item, int64 [n_items]."""
    return np.bincount(train.csr.indices, minlength=train.n_items)


def _of_items(rows: sp.csr_matrix, kept: np.ndarray) -> sp.csr_matrix:
    """The entries in the columns of a mask; the shape stays."""
    some = rows.tocoo()
    inside = kept[some.col]
    return sp.csr_matrix(
        (some.data[inside], (some.row[inside], some.col[inside])), shape=rows.shape
    )


def _place(rows: sp.csr_matrix, users: np.ndarray, n_users: int) -> sp.csr_matrix:
    """The rows of `users` back in a matrix of all users."""
    sizes = np.zeros(n_users, dtype=np.int64)
    sizes[users] = np.diff(rows.indptr)
    return sp.csr_matrix(
        (rows.data, rows.indices, np.concatenate([[0], np.cumsum(sizes)])),
        shape=(n_users, rows.shape[1]),
    )
