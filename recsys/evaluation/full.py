"""Metrics of full rankings, on slices of the test set.

All slices that rank the whole catalogue share one pass that makes the recommendation lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from recsys.data.query import Queries
from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.evaluation.contexts import ListContext, RankContext
from recsys.evaluation.measured import Measured
from recsys.evaluation.metrics import ListMetric, Metric, RankMetric, hit_matrix, parse
from recsys.evaluation.settings import Evaluation
from recsys.evaluation.slices import (
    EVERYTHING,
    GROUPS,
    SLICES,
    Slice,
    TestPart,
    item_counts,
    popularity_group,
)
from recsys.ranking import TopK, ranks, top_k
from recsys.ranking.rerank import Reranker
from recsys.scorer import Listed, Scorer, VectorScorer

__all__ = ["FullRanking"]

_GROUPS_CUTOFF = 20  # of recall by popularity, if no metric has a cut-off


@dataclass(frozen=True, eq=False)
class FullRanking:
    """A scorer that ranks all candidates of every test query.

    Args:
        scorer: the scorer.
        train: training interactions: the source of item popularity and co-occurrence. Its items
            are warm.
        evaluation: the settings.
        features: item features for the metric `diversity`, or None.
        rerank: how lists are made of the best items of the scorer; None: they are its lists.
    """

    scorer: Scorer
    train: Interactions
    evaluation: Evaluation
    features: FeatureTable | None = None
    rerank: Reranker | None = None

    @cached_property
    def item_counts(self) -> np.ndarray:
        """Distinct training users per item, int64 [n_items]."""
        return item_counts(self.train.csr)

    @cached_property
    def groups(self) -> np.ndarray:
        """Popularity group of each item, int8 [n_items], as codes into `GROUPS`."""
        return popularity_group(self.item_counts)

    def cold(self, queries: Queries) -> np.ndarray:
        """Return which queries have no history, and no user with one, bool [n]."""
        if queries.history is not None:
            return queries.history.length == 0
        return (np.diff(self.train.csr.indptr) == 0)[queries.user]

    @cached_property
    def item_vectors(self) -> np.ndarray | None:
        """Item embeddings that the scorer ranks with, float32 [n_items, d].

        They have unit length for cosine similarity. None for a scorer without item embeddings.
        """
        scorer = self.scorer
        if not isinstance(scorer, VectorScorer):
            return None
        vectors = scorer.item
        if scorer.similarity == "cosine":
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return np.asarray(vectors.detach().float().cpu().numpy())

    def measure(self, metrics: Sequence[Metric], every: TestPart) -> Measured:
        """Compute metrics, slice by slice.

        Args:
            metrics: the metrics; each has its slice.
            every: all test queries with all their answers.

        Raises:
            InputError: a score is not a number, or a metric returned something unexpected.
        """
        measured = Measured(len(every.queries))
        slices = dict.fromkeys(metric.slice for metric in metrics)
        measured.notes += self._notes_on_new_items(slices)
        is_shared = EVERYTHING in slices or self.evaluation.groups
        shared: TopK | None = None
        for test_slice in slices:
            chosen = [metric for metric in metrics if metric.slice == test_slice]
            part, pool = self.on(test_slice, every) if test_slice.name else (every, None)
            if is_shared and pool is None and shared is None:
                shared = self._lists(every, _of_catalogue(metrics), None)
                measured.notes += self._notes_on_ties(shared, every)
            if pool is None and shared is not None:
                lists: np.ndarray | None = shared.item[part.index]
            else:
                lists = _items(self._lists(part, chosen, pool))
            if lists is not None:
                self._measure_lists(chosen, part, lists, pool, measured)
            self._measure_ranks(chosen, part, pool, measured)
            if not len(part.queries):
                measured.notes.append(_note_on_empty(test_slice))
        if self.evaluation.groups:
            lists = _items(shared or self._lists(every, [], None))
            if lists is not None:
                self._measure_groups(metrics, every, lists, measured)
        return measured

    def on(self, test_slice: Slice, every: TestPart) -> tuple[TestPart, np.ndarray | None]:
        """Return the queries and answers of a slice, and the ranked items; None for all items.

        Args:
            test_slice: a slice that selects items or users.
            every: all test queries with all their answers.
        """
        users, items = test_slice.users, test_slice.items
        if users != "all":
            cold = self.cold(every.queries)
            return every.only(cold if users == "cold" else ~cold), None
        kept = (self.item_counts == 0) == (items == "new")
        if items in GROUPS:
            kept = self.groups == GROUPS.index(items)
        pool = np.flatnonzero(kept) if test_slice.own_candidates else None
        return every.only_items(kept), pool

    def _lists(
        self, part: TestPart, metrics: Sequence[Metric], pool: np.ndarray | None
    ) -> TopK | None:
        """Return the lists of some users at the largest cut-off; None if no metric needs them."""
        default = _GROUPS_CUTOFF if self.evaluation.groups and pool is None else 0
        k = max((metric.k for metric in metrics if metric.k is not None), default=default)
        if not k:
            return None
        block = self.evaluation.block
        if self.rerank is not None:
            return self.rerank.lists(self.scorer, part.queries, k, candidates=pool, block=block)
        return top_k(self.scorer, part.queries, k, candidates=pool, block=block)

    def _measure_lists(
        self,
        metrics: Sequence[Metric],
        part: TestPart,
        items: np.ndarray,
        pool: np.ndarray | None,
        measured: Measured,
    ) -> None:
        """Compute the metrics of recommendation lists.

        Args:
            metrics: metrics of one slice; those of the full ranking are passed over.
            part: users with their test items.
            items: their lists at the largest cut-off, int [U, k], -1 as padding.
            pool: the ranked items; None for all.
            measured: receives the values.
        """
        kinds = [(each, each.kind) for each in metrics if isinstance(each.kind, ListMetric)]
        with_vectors = [metric.word for metric, kind in kinds if kind.needs_item_vectors]
        context = ListContext(
            queries=part.queries,
            items=items,
            hits=hit_matrix(items, part.relevant),
            n_relevant=part.n_relevant,
            train=self.train,
            item_counts=self.item_counts,
            features=self.features,
            item_vectors=self.item_vectors if with_vectors else None,
            pool=pool,
        )
        for metric, kind in kinds:
            # A shorter list is a prefix of a longer one.
            at_k = replace(context, items=items[:, : metric.k], hits=context.hits[:, : metric.k])
            value = kind.compute(at_k)
            measured.add(metric, value, part, self.evaluation.least_test_items(metric))
        if context.item_vectors is None:
            measured.notes += [
                f"{word} is not defined: the scorer has no item vectors"
                for word in dict.fromkeys(with_vectors)
            ]

    def _measure_ranks(
        self,
        metrics: Sequence[Metric],
        part: TestPart,
        pool: np.ndarray | None,
        measured: Measured,
    ) -> None:
        """Compute the metrics of the full ranking. The arguments are those of `_measure_lists`."""
        kinds = [(each, each.kind) for each in metrics if isinstance(each.kind, RankMetric)]
        if not kinds:
            return
        if isinstance(self.scorer.plan(), Listed):
            names = ", ".join(metric.name for metric, _ in kinds)
            raise InputError(
                f"{names}: this '{self.scorer.kind}' scorer makes lists, without a rank for every "
                "item",
                place="[evaluate] metrics",
                remedy="leave out metrics of the full ranking",
            )
        ranked = ranks(
            self.scorer,
            part.queries,
            part.reachable,
            candidates=pool,
            block=self.evaluation.block,
        )
        context = RankContext(
            ranked.rank, ranked.indptr, ranked.candidates, part.n_relevant, ranked.tied
        )
        reached = context.sizes > 0
        for metric, kind in kinds:
            value = kind.compute(context)
            measured.add(metric, value, part, self.evaluation.least_test_items(metric))
            if metric.kept is None:
                continue
            if undefined := int(np.isnan(value[reached]).sum()):
                measured.notes.append(
                    f"{metric.name} is not defined for {undefined} of {reached.sum()} users: "
                    "a fraction of their items is less than one"
                )

    def _measure_groups(
        self, metrics: Sequence[Metric], every: TestPart, items: np.ndarray, measured: Measured
    ) -> None:
        """Add recall by item popularity, at the cut-offs of recall, for users with any test item.

        A metric of the same name that was asked for keeps its value.
        """
        recalls = [each for each in metrics if each.slice == EVERYTHING and each.word == "recall"]
        cuts = dict.fromkeys(metric.k for metric in recalls if metric.k is not None)
        for group in GROUPS:
            part, _ = self.on(SLICES[group], every)
            hits = hit_matrix(items[part.index], part.relevant)
            for k in cuts or [items.shape[1]]:
                metric = parse(f"recall@{k}[{group}]")
                if metric.name not in measured.per_query:
                    measured.add(metric, hits[:, :k].sum(1) / part.n_relevant, part, least=0)

    def _notes_on_new_items(self, slices: Iterable[Slice]) -> Iterator[str]:
        """Yield how many items are new, if a slice separates them."""
        if any(part.by_novelty for part in slices):
            new = np.count_nonzero(self.item_counts == 0)
            yield (
                f"new: {new} of {len(self.item_counts)} items have no training pair; "
                "the others are warm"
            )

    def _notes_on_ties(self, lists: TopK | None, every: TestPart) -> Iterator[str]:
        """Yield how many users with training interactions have equal scores for all candidates.

        Their lists are in the order of ties, so they do not depend on the user.
        """
        if lists is None or self.rerank is not None:
            return
        several = (lists.item >= 0).sum(1) > 1
        lowest = np.where(lists.item < 0, np.inf, lists.score).min(1)
        equal = lists.score[:, 0] == lowest
        tied = every.only(several & equal & ~self.cold(every.queries))
        if not len(tied.queries):
            return
        flat = top_k(self.scorer, tied.queries, 2, flat=True).flat
        n = 0 if flat is None else int(flat.sum())
        if n:
            yield (
                f"{n} test users with training pairs get the same score for every candidate: "
                "their lists do not depend on the user"
            )


def _of_catalogue(metrics: Iterable[Metric]) -> list[Metric]:
    """Return the metrics on slices that rank the whole catalogue."""
    return [metric for metric in metrics if not metric.slice.own_candidates]


def _items(lists: TopK | None) -> np.ndarray | None:
    """Return the recommended items, int [U, k]; None without lists."""
    return None if lists is None else lists.item


def _note_on_empty(part: Slice) -> str:
    """Return the note on a slice without a test user."""
    if part.users == "cold":
        return (
            "every test user has a training pair: [cold users] is not defined; "
            "[split] drop_cold = false keeps users without"
        )
    if part.users == "warm":
        return "no test user has a training pair: [warm users] is not defined"
    return f"no user has a held-back {part.items} item: [{part.name}] is not defined"
