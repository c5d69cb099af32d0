"""Session neighbours: the most similar sessions of the past vote for their items.

Papers: SKNN and VSKNN, Jannach, Ludewig, "When recurrent neural networks meet the neighborhood for
session-based recommendation", RecSys 2017, and Ludewig, Jannach, "Evaluation of session-based
recommendation algorithms", UMUAI 2018; STAN, Garg, Gupta, Malhotra, Vig, Shroff, "Sequence and time
aware neighborhood for session-based recommendations", SIGIR 2019.

A query s has l events; an item that occurs several times counts at its last place p. Candidates are
the m newest training sessions t that share an item with s; |s| and |t| are numbers of distinct
items. The k most similar ones are the neighbours N, equal similarities in favour of the newer one.

    cosine    sim(s, t) = |s and t| / sqrt(|s| |t|)
              score(i) = sum over t in N with i of sim(s, t)
    position  sim(s, t) = sum over i in s and t of w(p_i) / |s|
              score(i) = (1 + idf log(n / n_i)) sum over t in N with i of sim(s, t) f(steps)
    stan      sim(s, t) = sum over i in s and t of w_i / (|w| sqrt(|t|)) exp(-age_t / l2),
                          w_i = exp((p_i - l) / l1)
              score(i) = sum over t in N with i of sim(s, t) exp(-|p_t(i) - p_t(i*)| / l3)

w and f are the settings `weighting` and `fading` (`recsys.scorer.decay`), p / l and 1 / steps by
default; steps is l - p + 1 of the last item of s that is in t; n counts sessions, n_i those with i;
age_t is the time in days from the end of t to now; p_t(i) is the last place of i in t, and i* the
last item of t that is in s. Items of s stay candidates.

The similarities and the sums are certain. Marked:

    [code] the defaults of k, m, l1, l2 and l3, the last place of a repeated item, and the choices
        of w and f, from the public code of session-rec. That code collects candidates while a
        session is walked, newest click first; with all candidates this is the same set. Its
        cosine multiplies by sqrt(|t|) where it should divide; here it divides.
    [reconstructed] now is the moment of the query, otherwise the time of its last event; sessions
        that end later have age 0; "linear" is cut at 0; similarities are compared in the precision
        of a float32, so that sums which are equal on paper tie; sessions of equal end are ordered
        by their number, the highest first.

Reproduces: every position of the test sessions of yoochoose-100k, repeats allowed, recall@20 and
mrr@20 over targets: 0.6419, 0.3207 with "cosine"; 0.6798, 0.3605 with "position"; 0.6873, 0.3666
with "stan" (`python benchmarks/sessions.py`). No published figure is repeated.
"""

from __future__ import annotations

from typing import Annotated

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models._sessions import Sessions, training_histories
from recsys.scorer import PastSessions, SessionNeighbours, SessionSimilarity, StoredHistories

__all__ = ["SKNN"]

_DEFAULTS = {"cosine": (100, 1000), "position": (100, 1000), "stan": (500, 5000)}


@settings
class SKNN:
    """Session neighbours: SKNN, VSKNN or STAN (Ludewig and Jannach, 2018; Garg et al., 2019)."""

    similarity: SessionSimilarity = SessionSimilarity()
    k: Annotated[int, Bound(ge=1)] | None = None
    """Number of neighbours; none: 100, with "stan" 500."""
    m: Annotated[int, Bound(ge=1, le=2**20)] | None = None
    """Number of candidates, the newest sessions that share an item with the query; none: 1000, with
    "stan" 5000."""
    last: Annotated[int, Bound(ge=1)] = 100
    """Number of last events of a query that count."""
    sessions: Sessions = "auto"
    """true: neighbours are sessions. false: neighbours are users with all their events. auto:
    sessions if the log has them."""

    def build(self, train: Dataset) -> SessionNeighbours:
        log = train.log
        k, m = _DEFAULTS[self.similarity.kind]
        if self.similarity.reads_time and log.time is None:
            raise InputError(
                "l2 needs times, and these interactions have no time",
                place="[model.similarity] l2",
                remedy='name the time column, or set l2 = "none", so that age does not count',
            )
        return SessionNeighbours(
            PastSessions.of(training_histories(log, self.sessions), train.n_items),
            StoredHistories.of(log, self.last),
            self.similarity,
            self.k if self.k is not None else k,
            self.m if self.m is not None else m,
        )
