"""Evaluate a scorer on held-out interactions."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.config import to_dict
from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.evaluation.full import FullRanking
from recsys.evaluation.report import Report
from recsys.evaluation.sampled import SampledRanking
from recsys.evaluation.settings import Evaluation
from recsys.evaluation.slices import HeldOut
from recsys.scorer import Scorer, places_of

__all__ = ["Evaluation", "Report", "evaluate"]


def evaluate(
    scorer: Scorer,
    train: Interactions,
    test: Interactions,
    evaluation: Evaluation | None = None,
    *,
    also_seen: Interactions | None = None,
    features: FeatureTable | None = None,
) -> Report:
    """Rank all candidates of every test user, and compute metrics.

    Only users with a test interaction are scored. Test users without a training interaction get
    the ranking of the scorer, too; a note says how many they are, and the slice "cold users"
    measures them alone.

    A test interaction that also occurs in training (or in `also_seen`) cannot be recommended. It
    counts as missed, and a note says how many there are. Only `auc` and partial AUC leave it out,
    as they are about candidates.

    Recommendation lists order equal scores by `recsys.data.hashing.tie_order`; in full ranks,
    equal scores share their mean rank. The cost does not grow with the number of metrics: one
    top-k pass at the largest cut-off, and one rank pass if a metric of the full ranking is asked
    for.

    Args:
        scorer: the scorer.
        train: training interactions. They are excluded from the candidates, and they are the
            source of item popularity and co-occurrence.
        test: test interactions; a duplicate counts once.
        evaluation: the settings; None takes the defaults.
        also_seen: interactions that are excluded, too, unless `keep_valid` is set: the validation
            interactions when testing.
        features: item features for `diversity`. Without them, items are compared by the users they
            have in common.

    Raises:
        InputError: the numbers of users or items disagree, the test set is empty, a score is NaN,
            or a metric of another package returned something unexpected.
    """
    started, evaluation = time.perf_counter(), evaluation or Evaluation()
    _check_sizes(scorer, train, test, also_seen)
    metrics = evaluation.resolved
    seen = train.csr
    if also_seen is not None and not evaluation.keep_valid:
        seen = sp.csr_matrix(train.csr + also_seen.csr)
    held_out = HeldOut.of(test.csr, seen)
    notes = [*_notes_on_seen(held_out), *_notes_on_cold(scorer, train, held_out.users)]
    is_sampled = evaluation.candidates == "sampled"
    sampling = SampledRanking(scorer, train, seen, evaluation)
    if is_sampled and (reason := sampling.reason_against(held_out)):
        notes.append(reason)
        is_sampled = False
    if is_sampled:
        measured = sampling.measure(metrics, held_out)
    else:
        ranking = FullRanking(scorer, train, seen, evaluation, features)
        measured = ranking.measure(metrics, held_out)
    columns = measured.per_user
    order = [metric.name for metric in metrics if metric.name in columns]
    order += [name for name in columns if name not in order]
    per_user = pl.DataFrame({"user": held_out.users, **{name: columns[name] for name in order}})
    return Report(
        per_user=per_user.with_columns(pl.col(pl.Float64).fill_nan(None)),
        whole=measured.whole,
        names=tuple(metric.name for metric in metrics),
        n_users=len(held_out.users),
        protocol=evaluation.protocol(is_sampled),
        notes=(*notes, *measured.notes),
        seconds=time.perf_counter() - started,
        settings=to_dict(evaluation),
    )


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


def _notes_on_seen(held_out: HeldOut) -> Iterator[str]:
    """Yield how many test interactions occurred before and cannot be recommended."""
    n = held_out.relevant.nnz
    lost = n - held_out.reachable.nnz
    if not lost:
        return
    note = f"{lost} of {n} test pairs were already seen and cannot be hit"
    users = np.count_nonzero(np.diff(held_out.reachable.indptr) == 0)
    yield f"{note}; {users} users have no other test pair and score 0" if users else note


def _notes_on_cold(scorer: Scorer, train: Interactions, users: np.ndarray) -> Iterator[str]:
    """Yield how many test users have no training interaction, and what they are served.

    Args:
        scorer: the scorer.
        train: training interactions.
        users: rows of the test users, int [U].
    """
    cold = np.count_nonzero(np.diff(train.csr.indptr)[users] == 0)
    if not cold:
        return
    ability = "this method cannot place them, and `recommend` answers them by popularity"
    if places_of(scorer).users:
        ability = "this method can place them"
    yield (
        f"{cold} of {len(users)} test users have no training pair: {ability}; "
        "metrics of theirs alone: [cold users]"
    )
