"""Questions about places on paths: each asks with what comes before, and some places answer it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.data.held_out import Unit
from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.splitting.paths import Paths, spread
from recsys.data.types import HeldOut, Interactions, Vocab

__all__ = ["Form", "Questions", "each_place", "held_out", "one_for_all"]


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions about the events of some paths.

    Args:
        owner: whose path each question is about, int64 [n].
        begin, end: the history of question i is begin[i]..end[i] - 1 of the path; int64 [n] each.
        query: the question of each answer, ascending, int64 [a].
        answer: its place, int64 [a].
    """

    owner: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    query: np.ndarray
    answer: np.ndarray

    def __len__(self) -> int:
        return len(self.owner)

    def only(self, kept: np.ndarray) -> Questions:
        """Return the questions with some of their answers; one without an answer is left out.

        Args:
            kept: which answers stay, bool [a].
        """
        if kept.all():
            return self
        left, query = np.unique(self.query[kept], return_inverse=True)
        return Questions(
            self.owner[left], self.begin[left], self.end[left], query, self.answer[kept]
        )


@dataclass(frozen=True)
class Form:
    """What is known of the questions of a rule, apart from their places.

    Args:
        words: the question.
        unit: who is resampled: the owner of the path.
        by_user: whether the user of a question is known from training.
        repeats: whether an answer may be an item of the history.
        now: the moment of every question, in the unit of the events; None: not fixed.
    """

    words: str
    unit: Unit = "user"
    by_user: bool = True
    repeats: bool = False
    now: int | None = None


def each_place(paths: Paths, first: np.ndarray, last: np.ndarray) -> Questions:
    """Return one question per place, which is its answer, with all places of its path before it.

    Args:
        paths: the paths of n owners.
        first, last: the places first[i]..last[i] - 1 of owner i are asked for, int64 [n] each.
    """
    place, owner = spread(first, np.maximum(first, last))
    return Questions(owner, paths.begin[owner], place, np.arange(len(place)), place)


def one_for_all(paths: Paths, first: np.ndarray, last: np.ndarray) -> Questions:
    """Return one question per owner, before the first place, which all the places answer.

    Owners without a place are not asked. The arguments are those of `each_place`.
    """
    asked = np.flatnonzero(last > first)
    answer, query = spread(first[asked], last[asked])
    return Questions(asked, paths.begin[asked], first[asked], query, answer)


def held_out(
    questions: Questions, paths: Paths, pairs: Interactions, form: Form, ids: Vocab | None = None
) -> HeldOut:
    """Return the questions as queries with answers.

    Args:
        questions: n questions.
        paths: the paths that they are about.
        pairs: what the part holds out; a refit adds it to train.
        form: what is known of the questions.
        ids: outside names of the owners, for the output.
    """
    events = paths.timeline.events
    n = len(questions)
    item = events.item[paths.row[questions.answer]]
    cells = (np.ones(len(item), dtype=np.float32), (questions.query, item))
    targets = sp.csr_matrix(cells, shape=(n, events.n_items))
    targets.sum_duplicates()
    targets.data[:] = 1.0
    first = np.searchsorted(questions.query, np.arange(n))
    queries = Queries(
        user=events.user[paths.row[questions.answer[first]]] if form.by_user else None,
        history=_histories(questions, paths),
        now=None if form.now is None else np.full(n, form.now),
        excludes_history=not form.repeats,
        ids=None if ids is None else ids.ids.gather(questions.owner),
    )
    return HeldOut(
        pairs, queries, questions.owner, targets, form.unit, repeats=form.repeats, rule=form.words
    )


def _histories(questions: Questions, paths: Paths) -> Histories:
    """Return the histories of questions as spans of one array, which holds nothing else.

    What comes after the last question of a path is not in the array.
    """
    size = len(paths.row) + 1
    begins = np.bincount(questions.begin, minlength=size)
    covered = np.cumsum(begins - np.bincount(questions.end, minlength=size))[:-1] > 0
    before = np.concatenate([[0], np.cumsum(covered)])
    events, rows = paths.timeline.events, paths.row[covered]
    return Histories(
        events.item[rows],
        before[questions.begin],
        before[questions.end],
        None if events.time is None else events.time[rows],
        events.time_unit,
    )
