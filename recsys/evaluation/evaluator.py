"""Evaluate a scorer on held-out interactions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from recsys.config import to_dict
from recsys.data.held_out import HeldOut
from recsys.data.query import Queries
from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.evaluation.full import FullRanking
from recsys.evaluation.query_rows import query_rows
from recsys.evaluation.report import Report
from recsys.evaluation.sampled import SampledRanking
from recsys.evaluation.settings import Evaluation
from recsys.evaluation.slices import TestPart
from recsys.ranking.rerank import Reranker
from recsys.scorer import Scorer, answered_by, places_of

__all__ = ["Evaluation", "Report", "evaluate", "refuse_drawn"]


def evaluate(
    scorer: Scorer,
    train: Interactions,
    test: HeldOut | Interactions,
    evaluation: Evaluation | None = None,
    *,
    also_seen: Interactions | None = None,
    features: FeatureTable | None = None,
    rerank: Reranker | None = None,
) -> Report:
    """Rank all candidates of every test query, and compute metrics.

    A query is a user with a test interaction, or what the rule of the split asks: a session so far,
    the history of a new user. Test users without a training interaction get the ranking of the
    scorer, too; a note says how many they are, and the slice "cold users" measures them alone.

    A test interaction that also occurs in training (or in `also_seen`) cannot be recommended. It
    counts as missed, and a note says how many there are. Only `auc` and partial AUC leave it out,
    as they are about candidates. Where answers may repeat items of the history, as in sessions,
    these stay candidates.

    Recommendation lists order equal scores by `recsys.data.hashing.tie_order`; in full ranks,
    equal scores share their mean rank. The cost does not grow with the number of metrics: one
    top-k pass at the largest cut-off, and one rank pass if a metric of the full ranking is asked
    for.

    Args:
        scorer: the scorer.
        train: training interactions. They are excluded from the candidates, and they are the
            source of item popularity and co-occurrence.
        test: held-out queries and their answers, or test interactions, of which each user is asked
            once; a duplicate counts once.
        evaluation: the settings; None takes the defaults.
        also_seen: interactions that are excluded, too, unless `keep_valid` is set: the validation
            interactions when testing. They concern queries without a history of their own.
        features: item features for `diversity`. Without them, items are compared by the users they
            have in common.
        rerank: how lists are made of the best items of the scorer (`recsys.ranking.rerank`); None:
            they are its lists. Metrics of the full ranking are those of the scorer in any case.

    Raises:
        InputError: the numbers of users or items disagree, the test set is empty, a score is NaN,
            the scorer does not answer such queries, or a metric of another package returned
            something unexpected.
    """
    started, evaluation = time.perf_counter(), evaluation or Evaluation()
    held_out = test if isinstance(test, HeldOut) else HeldOut.of_pairs(test)
    _check_sizes(scorer, train, held_out.pairs, also_seen)
    answered_by(scorer, held_out.queries, "answer the queries of this split")
    if evaluation.keep_valid and held_out.queries.history is not None:
        raise InputError(
            "keep_valid has no effect: the queries of this split bring their own history",
            place="[evaluate] keep_valid",
            remedy='leave it out; exclude = "none" keeps items of the history as candidates',
        )
    metrics = evaluation.resolved
    if rerank is not None:
        refuse_drawn(evaluation)
    excludes = evaluation.excludes_history(held_out.repeats)
    seen = None
    if excludes:
        seen = train.csr
        if also_seen is not None and not evaluation.keep_valid:
            seen = sp.csr_matrix(train.csr + also_seen.csr)
    every = TestPart.of(_excluding(held_out.queries, seen), held_out.answers)
    ranking = FullRanking(scorer, train, evaluation, features, rerank)
    notes = [*_notes_on_seen(every), *_notes_on_queries(scorer, held_out, ranking)]
    is_sampled = evaluation.candidates == "sampled"
    sampling = SampledRanking(scorer, train, evaluation)
    if is_sampled and (reason := sampling.reason_against(every)):
        notes.append(reason)
        is_sampled = False
    measured = (sampling if is_sampled else ranking).measure(metrics, every)
    columns = measured.per_query
    order = [metric.name for metric in metrics if metric.name in columns]
    order += [name for name in columns if name not in order]
    protocol = evaluation.protocol(is_sampled, question=held_out.rule, repeats=held_out.repeats)
    return Report(
        per_user=query_rows(held_out.unit, {name: columns[name] for name in order}),
        whole=measured.whole,
        names=tuple(metric.name for metric in metrics),
        n_users=len(np.unique(held_out.unit)),
        protocol=protocol if rerank is None else f"{protocol}; {rerank.settings.words()}",
        notes=(*notes, *measured.notes),
        seconds=time.perf_counter() - started,
        settings=to_dict(evaluation),
        unit_name=held_out.unit_name,
    )


def refuse_drawn(evaluation: Evaluation) -> None:
    """Refuse lists that are re-ranked where candidates are drawn.

    Raises:
        InputError: candidates are drawn.
    """
    if evaluation.candidates == "sampled":
        raise InputError(
            "[rerank] makes lists, and candidates = 'sampled' makes none",
            remedy="use candidates = 'all', or leave [rerank] out",
        )


def _excluding(queries: Queries, seen: sp.csr_matrix | None) -> Queries:
    """Return the queries with their own history excluded from the lists.

    Args:
        queries: n queries.
        seen: items of earlier interactions of users, CSR [n_users, n_items], for queries without a
            history; None: nothing is excluded.
    """
    if seen is None:
        return replace(queries, exclude=None, excludes_history=False)
    if queries.history is not None:
        return replace(queries, exclude=None, excludes_history=True)
    assert queries.user is not None
    own = seen
    if len(queries) != seen.shape[0] or (queries.user != np.arange(len(queries))).any():
        own = seen[queries.user]
    return replace(queries, exclude=own)


def _check_sizes(
    scorer: Scorer, train: Interactions, test: Interactions, also_seen: Interactions | None
) -> None:
    """Refuse interactions of other numbers of users or items, and an empty test set."""
    parts = {"train": train, "test": test}
    if also_seen is not None:
        parts["also_seen"] = also_seen
    for name, pairs in parts.items():
        for what, expected, actual in (
            ("users", scorer.n_users, pairs.n_users),
            ("items", scorer.n_items, pairs.n_items),
        ):
            if actual != expected:
                raise InputError(
                    f"the scorer has {expected} {what} and {name} {actual}",
                    remedy="evaluate it on the data it was trained on",
                )
    if not len(test):
        raise InputError(
            "the test set has no interactions",
            remedy="split the data so that something is left to test on",
        )


def _notes_on_seen(every: TestPart) -> Iterator[str]:
    """Yield how many test interactions occurred before and cannot be recommended."""
    n = every.relevant.nnz
    lost = n - every.reachable.nnz
    if not lost:
        return
    whom = "pairs" if every.queries.history is None else "answers"
    note = f"{lost} of {n} test {whom} were already seen and cannot be hit"
    asked = "users" if every.queries.history is None else "queries"
    n_without = np.count_nonzero(np.diff(every.reachable.indptr) == 0)
    yield f"{note}; {n_without} {asked} have no other test pair and score 0" if n_without else note


def _notes_on_queries(scorer: Scorer, held_out: HeldOut, ranking: FullRanking) -> Iterator[str]:
    """Yield how many queries have no history, and what the scorer does not read.

    Args:
        scorer: the scorer.
        held_out: the test queries.
        ranking: knows which queries are cold.
    """
    queries = held_out.queries
    n_cold = np.count_nonzero(ranking.cold(queries))
    if n_cold:
        ability = "this method cannot place them, and `recommend` answers them by popularity"
        if places_of(scorer).users:
            ability = "this method can place them"
        who = f"{n_cold} of {len(queries)} test users have no training pair"
        if queries.history is not None:
            who = f"{n_cold} of {len(queries)} test queries have an empty history"
        yield f"{who}: {ability}; metrics of theirs alone: [cold users]"
    if queries.history is not None and answered_by(scorer, queries) == "user":
        without = np.count_nonzero((np.diff(ranking.train.csr.indptr) == 0)[queries.user])
        unknown = f"; {without} of {len(queries)} queries are of users without a training pair"
        yield (
            "this method answers users by what it learned in training: it does not read what they "
            f"did since{unknown if without else ''}"
        )
