"""Checks of answers: known from the log, or masked because the history holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from recsys.data.audit.overlap import WITH_HISTORY, percent
from recsys.data.audit.time_order import SMALL
from recsys.data.finding import Finding
from recsys.data.held_out import HeldOut
from recsys.data.interactions import contains
from recsys.data.types import Interactions, Split

__all__ = ["NamedQuestions", "in_the_log", "masked_answers"]

NamedQuestions: TypeAlias = Sequence[tuple[str, HeldOut]]  # name and queries of each held-out part

_CELLS = 10_000_000  # items of histories that are looked at together


def in_the_log(split: Split, asked: NamedQuestions) -> Finding:
    """Look for events of held-out pairs in the log of train, or in what the refit adds for test.

    Where questions bring a history, an answer may repeat it, so that the log may hold its pair.

    Args:
        split: its train part has a log.
        asked: the held-out parts.
    """
    check = "answers in the log"
    by_user = [(name, part.pairs) for name, part in asked if part.by_user]
    if not by_user:
        return Finding(check, "ok", 0, WITH_HISTORY)
    listing = []
    count = 0
    for name, pairs in by_user:
        known = len(_events_of(split.train.log, pairs))
        if name == "test" and split.valid_log is not None:
            known += len(_events_of(split.valid_log, pairs))
        count += known
        if known:
            listing.append(f"{known:,} events of {name} pairs")
    if not count:
        return Finding(check, "ok", 0, "the log has no event of a held-out pair")
    return Finding(
        check,
        "error",
        count,
        f"{' and '.join(listing)} are in the log of train: a method of events knows the answer",
        "leave all events of held-out pairs out of the log",
    )


def masked_answers(asked: NamedQuestions) -> Finding:
    """Look for answers that are left out of the lists because the history of their query has them.

    Args:
        asked: the held-out parts. One question per user is checked as "overlap".
    """
    check = "masked answers"
    with_history = [(name, part) for name, part in asked if not part.by_user]
    if not with_history:
        return Finding(check, "ok", 0, "not checked: the questions bring no history")
    listing = []
    count = 0
    largest = 0.0  # share of the answers of a part
    for name, part in with_history:
        masked, total = _n_masked(part), int(part.answers.nnz)
        count += masked
        largest = max(largest, masked / max(1, total))
        if masked:
            share = percent(masked, total)
            listing.append(f"{masked:,} of {total:,} {name} answers ({share})")
    if not count:
        return Finding(check, "ok", 0, "no answer is left out of the lists")
    message = (
        f"{' and '.join(listing)} are left out of the lists, because the history has them: "
        "no method can find them"
    )
    if largest < SMALL:
        return Finding(check, "ok", count, message)
    return Finding(
        check,
        "error" if largest == 1.0 else "warning",
        count,
        message,
        "let answers repeat the history, or say that they are counted as misses",
    )


def _events_of(log: Interactions, pairs: Interactions) -> np.ndarray:
    """Return the rows of the events of some pairs."""
    return np.flatnonzero(contains(np.sort(pairs.key), log.key))


def _n_masked(part: HeldOut) -> int:
    """Return the number of answers that a query leaves out."""
    n_items = part.pairs.n_items
    count = 0
    for rows in _blocks(part):
        answers = part.answers[rows]
        cell = np.repeat(np.arange(answers.shape[0]), np.diff(answers.indptr))
        query, item = part.queries.take(rows).excluded()
        excluded = np.unique(query.astype(np.int64) * n_items + item)
        count += int(contains(excluded, cell.astype(np.int64) * n_items + answers.indices).sum())
    return count


def _blocks(part: HeldOut) -> Iterator[slice]:
    """Yield blocks of queries whose histories have a bounded number of items together."""
    n = len(part.queries)
    history = part.queries.history
    size = np.zeros(n, dtype=np.int64) if history is None else history.length
    block = np.cumsum(size) // _CELLS
    edges = np.flatnonzero(np.diff(block)) + 1
    for start, end in zip([0, *edges.tolist()], [*edges.tolist(), n], strict=True):
        yield slice(start, end)
