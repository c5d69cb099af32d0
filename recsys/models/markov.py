"""Markov chain: the next item follows from the last ones by counted transitions, in closed form.

Papers: first-order chain as in Rendle, Freudenthaler, Schmidt-Thieme, "Factorizing personalized
Markov chains for next-basket recommendation", WWW 2010, without factors; skip transitions are the
sequential rules of Ludewig, Jannach, "Evaluation of session-based recommendation algorithms",
UMUAI 2018.

    K_ab = sum of w(g) over the pairs a, b of a history with b g places after a, 1 <= g <= gap,
    p(b | a) = (K_ab + smoothing pi_b) / (sum_c K_ac + smoothing),
    s(i_1, i_2, ...; b) = sum over r = 1..last of decay^(r - 1) p(b | i_r),

where pi_b is the share of b among all events, i_1 the last event of the history and i_2 the one
before. A pair of equal items is a transition too. With gap 1 and last 1 this is the first-order
chain. The formulas are certain except where marked:

    [code] w is 1 / g (div), 1 (same), 1 - 0.1 g (linear), 1 / g^2 (quadratic) or
        1 / log10(g + 1.7) (log), as in the public code of session-rec. That code has no smoothing,
        takes the last item only, and does not divide rows by their sums.
    [reconstructed] the sum over several last items of rows that sum to 1; smoothing of skip
        transitions, and its default; "linear" is cut at 0, where that code becomes negative; with
        `keep`, the dropped part of a row is not given to the other items.

Reproduces: every position of the test sessions of yoochoose-100k, repeats allowed, recall@20 and
mrr@20 over targets: 0.5907, 0.3434 with the defaults, 0.6227, 0.3464 with gap 10, 0.6558, 0.3491
with gap 10, last 3, decay 0.5; without smoothing 0.5790, 0.3396 with the other defaults (`python
benchmarks/sessions.py`). No published figure is repeated.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.sparse as sp

from recsys.config import Bound, settings
from recsys.data.hashing import tie_order
from recsys.data.histories import Histories
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models._sessions import Sessions, training_histories
from recsys.scorer import Decay, StoredHistories, Transitions, by_distance

__all__ = ["Markov", "transitions"]

_LINEAR_ENDS = 10  # from this gap on, "linear" weights are 0


@settings
class Markov:
    """Markov chain of first order or with skip transitions, counted (Rendle et al., 2010)."""

    gap: Annotated[int, Bound(ge=1)] = 1
    """Largest distance of two events of a history that count as a transition; 1: neighbours."""
    weighting: Decay = "div"
    """Weight of a transition by its distance g. div: 1 / g. same: 1. linear: 1 - 0.1 g. quadratic:
    1 / g^2. log: 1 / log10(g + 1.7)."""
    last: Annotated[int, Bound(ge=1)] = 1
    """Number of last events of a history that vote for the next item."""
    decay: Annotated[float, Bound(gt=0, le=1)] = 0.5
    """How much less an event counts than the one after it; 1: all `last` events count equally."""
    smoothing: Annotated[float, Bound(ge=0)] = 0.1
    """Weight that is added to the transitions of each item, spread by popularity. It orders items
    of equal counts; with 0, an item that never followed has score 0."""
    keep: Annotated[int, Bound(ge=1)] | None = None
    """Transitions that are kept per item, those of largest weight; none: all."""
    sessions: Sessions = "auto"
    """true: a transition lies within a session. false: within all events of a user. auto: within a
    session if the log has sessions."""

    def __post_init__(self) -> None:
        if self.weighting == "linear" and self.gap > _LINEAR_ENDS:
            raise InputError(
                f'gap = {self.gap} has no effect beyond {_LINEAR_ENDS} with weighting = "linear", '
                "whose weights are then 0",
                remedy=f"use gap = {_LINEAR_ENDS}, or another weighting",
            )

    def idle(self) -> set[str]:
        """Return the settings that have no effect given the others."""
        works = {
            "weighting": self.gap > 1 or self.smoothing > 0,
            "decay": self.last > 1,
        }
        return {name for name, does in works.items() if not does}

    def build(self, train: Dataset) -> Transitions:
        log = train.log
        histories = training_histories(log, self.sessions).packed()
        counts = np.bincount(histories.item, minlength=train.n_items)
        weight = transitions(self, histories, train.n_items)
        total = np.asarray(weight.sum(axis=1)).ravel() + self.smoothing
        scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        if self.keep is not None:
            weight = _largest(weight, self.keep)
        weight.data *= np.repeat(scale, np.diff(weight.indptr))
        return Transitions(
            weight.astype(np.float32),
            (self.smoothing * scale).astype(np.float32),
            (counts / max(1, counts.sum())).astype(np.float32),
            StoredHistories.of(log, self.last),
            self.decay,
        )


def transitions(recipe: Markov, histories: Histories, n_items: int) -> sp.csr_matrix:
    """Return the weighted number of transitions from each item to each other, CSR float64.

    Args:
        recipe: the largest distance and the weights.
        histories: histories of events, one after the other in memory.
        n_items: number of items.

    Returns:
        K [n_items, n_items], column indices sorted.
    """
    owner, item = histories.owner(), histories.item
    total = sp.csr_matrix((n_items, n_items))
    weights = by_distance(recipe.weighting, np.arange(1, recipe.gap + 1))
    longest = int(histories.length.max(initial=0))
    for gap, weight in enumerate(weights[: max(0, longest - 1)].tolist(), start=1):
        within = np.flatnonzero(owner[gap:] == owner[:-gap])
        cells = (item[within], item[within + gap])
        values = np.full(len(within), weight)
        total = total + sp.csr_matrix((values, cells), shape=total.shape)
    total.sort_indices()
    return total


def _largest(weight: sp.csr_matrix, keep: int) -> sp.csr_matrix:
    """Return the `keep` largest entries of each row; equal ones in the order of `tie_order`."""
    count = np.diff(weight.indptr)
    row = np.repeat(np.arange(weight.shape[0]), count)
    order = np.lexsort((tie_order(weight.shape[1])[weight.indices], -weight.data, row))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(weight.indptr[:-1], count)
    kept = rank < keep
    indptr = np.append(0, np.cumsum(np.bincount(row[kept], minlength=len(count))))
    return sp.csr_matrix((weight.data[kept], weight.indices[kept], indptr), shape=weight.shape)
