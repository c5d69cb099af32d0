"""Metrics: functions of one hit matrix, of full ranks, or of the recommended lists.

    at a cut-off   (hits bool [U, k], n_relevant int [U]) -> float64 [U]
    full ranking   (rank [sum of targets], indptr [U + 1], candidates [U], n_relevant [U]) -> float64 [U]
    partial AUC    as full ranking, and how many candidates share the score of each target: `recsys.evaluation.partial_auc`
    lists          items int [U, k], -1 as padding, with what is known of the items: `recsys.evaluation.list_metrics`

NaN means "not defined for this user" and is left out of means. docs/metrics.md has the formulas and how other libraries differ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from recsys.errors import InputError, suggest
from recsys.evaluation.list_metrics import (
    coverage,
    diversity,
    gini,
    lift,
    maxdiv,
    novelty,
    popularity,
)
from recsys.evaluation.partial_auc import Region, partial_auc, region

__all__ = [
    "GROUPS",
    "KINDS",
    "VIEWS",
    "Kind",
    "Metric",
    "hit_matrix",
    "parse",
    "popularity_group",
    "recall_by_popularity",
]

Source = Literal["hits", "ranks", "lists", "catalogue"]
GROUPS = ("head", "mid", "tail")

# Which test items or test users count, and among which items they are ranked: behind a metric's name in brackets, as in `ndcg@20[new]`.
VIEWS = ("new", "new in all", "warm", "warm in all", "cold users", "warm users")


# At a cut-off. `hits[u, p]` says whether the item at position p (0-based) of u's list is one of u's test items.


def precision(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Hits / k; a list shorter than k (a small catalogue) still divides by k."""
    return _defined(hits.sum(1) / hits.shape[1], n_relevant)


def recall(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Hits / |test|."""
    return _defined(hits.sum(1) / np.maximum(n_relevant, 1), n_relevant)


def f1(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall, which is 2 hits / (k + |test|); of each user, then averaged."""
    return _defined(2 * hits.sum(1) / (hits.shape[1] + n_relevant), n_relevant)


def hit(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """1 where the list holds at least one test item."""
    return _defined(np.asarray(hits.any(1), dtype=np.float64), n_relevant)


def ndcg(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Binary gains, discount 1 / log2(p + 1); the ideal list has min(k, |test|) hits (Jarvelin & Kekalainen 2002)."""
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.concatenate([[1.0], np.cumsum(discount)])
    return _defined(hits @ discount / ideal[np.minimum(n_relevant, hits.shape[1])], n_relevant)


def mrr(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """1 / position of the first hit, 0 without a hit."""
    return _defined(np.where(hits.any(1), 1 / (hits.argmax(1) + 1), 0.0), n_relevant)


def average_precision(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Sum of precision at each hit / min(k, |test|)."""
    width = hits.shape[1]
    precisions = np.cumsum(hits, axis=1) / np.arange(1, width + 1)
    return _defined(
        (precisions * hits).sum(1) / np.maximum(np.minimum(n_relevant, width), 1), n_relevant
    )


# Of full ranks: user u's reachable test items have the ascending 1-based ranks rank[indptr[u]:indptr[u + 1]] among candidates[u] items.
# n_relevant counts the unreachable ones (seen in training) too: they are missed, except by auc, which is about candidates only.


def full_auc(
    rank: np.ndarray, indptr: np.ndarray, candidates: np.ndarray, n_relevant: np.ndarray
) -> np.ndarray:
    """Share of (test item, other candidate) pairs in the right order: (sum(L - r + 1) - m (m + 1) / 2) / (m (L - m))."""
    m = np.diff(indptr)
    area = m * (candidates + 1) - _sums(rank, indptr) - m * (m + 1) / 2
    pairs = m * (candidates - m)
    return np.asarray(np.divide(area, pairs, out=np.full(len(m), np.nan), where=pairs > 0))


def full_map(
    rank: np.ndarray, indptr: np.ndarray, candidates: np.ndarray, n_relevant: np.ndarray
) -> np.ndarray:
    """Sum of q / r_q over the test items / |test|."""
    position = np.arange(1, len(rank) + 1) - np.repeat(indptr[:-1], np.diff(indptr))
    return _defined(_sums(position / rank, indptr) / np.maximum(n_relevant, 1), n_relevant)


def full_mrr(
    rank: np.ndarray, indptr: np.ndarray, candidates: np.ndarray, n_relevant: np.ndarray
) -> np.ndarray:
    """1 / r_1, the rank of the best-ranked test item."""
    out = np.zeros(len(indptr) - 1)
    reached = np.diff(indptr) > 0
    out[reached] = 1 / rank[indptr[:-1][reached]]
    return _defined(out, n_relevant)


def full_ndcg(
    rank: np.ndarray, indptr: np.ndarray, candidates: np.ndarray, n_relevant: np.ndarray
) -> np.ndarray:
    """Sum of 1 / log2(r_q + 1) / the same for ranks 1..|test|."""
    ideal = np.concatenate(
        [[1.0], np.cumsum(1 / np.log2(np.arange(2, n_relevant.max(initial=0) + 2)))]
    )
    return _defined(_sums(1 / np.log2(rank + 1), indptr) / ideal[n_relevant], n_relevant)


@dataclass(frozen=True)
class Kind:
    """What a metric is computed from, whether more is better (None: neither), and its functions with and without a cut-off.

    Where `partial` is set, what stands behind the @ is no cut-off but the fractions of `recsys.evaluation.partial_auc`.
    """

    source: Source
    higher: bool | None
    at: Callable[..., Any] | None = None
    full: Callable[..., Any] | None = None
    partial: Literal["opauc", "tpauc", "llpauc"] | None = None


KINDS: Mapping[str, Kind] = {
    "precision": Kind("hits", True, precision),
    "recall": Kind("hits", True, recall),
    "f1": Kind("hits", True, f1),
    "hit": Kind("hits", True, hit),
    "ndcg": Kind("hits", True, ndcg, full_ndcg),
    "mrr": Kind("hits", True, mrr, full_mrr),
    "map": Kind("hits", True, average_precision, full_map),
    "auc": Kind("ranks", True, None, full_auc),
    "opauc": Kind("ranks", True, partial="opauc"),
    "tpauc": Kind("ranks", True, partial="tpauc"),
    "llpauc": Kind("ranks", True, partial="llpauc"),
    "coverage": Kind("catalogue", True, coverage),
    "gini": Kind("catalogue", False, gini),
    "novelty": Kind("lists", None, novelty),
    "popularity": Kind("lists", None, popularity),
    "lift": Kind("lists", None, lift),
    "diversity": Kind("lists", True, diversity),
    "maxdiv": Kind("lists", None, maxdiv),
}

# Words that users of other libraries type.
WORDS: Mapping[str, str] = {
    "hitrate": "hit",
    "hit_rate": "hit",
    "hitratio": "hit",
    "hit_ratio": "hit",
    "hits": "hit",
    "hr": "hit",
    "prec": "precision",
    "p": "precision",
    "r": "recall",
    "rec": "recall",
    "n": "ndcg",
    "ap": "map",
    "rr": "mrr",
    "itemcoverage": "coverage",
    "item_coverage": "coverage",
    "giniindex": "gini",
    "gini_index": "gini",
    "averagepopularity": "popularity",
    "arp": "popularity",
    "ild": "diversity",
    "gauc": "auc",
    "roc_auc": "auc",
    "pauc": "opauc",
    "partial_auc": "opauc",
    "max_div": "maxdiv",
}


@dataclass(frozen=True)
class Metric:
    """One metric, resolved from its name.

    Args:
        name: as the user writes it, `ndcg@20`, `auc` or `opauc@5%`.
        kind: key of `KINDS`.
        k: cut-off, or None over the full ranking.
        kept: of a partial AUC, the fractions of test items and of other candidates that are kept.
        view: of `VIEWS`, or "" for all test items among all items.
    """

    name: str
    kind: str
    k: int | None
    kept: Region | None = None
    view: str = ""

    @property
    def source(self) -> Source:
        """What it is computed from: "hits", "ranks" (the full ranking), "lists", or "catalogue" (one number for the whole system)."""
        return "ranks" if self.k is None else KINDS[self.kind].source

    @property
    def whole(self) -> bool:
        """Whether it is one number for all users, without per-user values."""
        return self.source == "catalogue"

    @property
    def higher(self) -> bool | None:
        """Whether more is better; None where neither is."""
        return KINDS[self.kind].higher

    @property
    def function(self) -> Callable[..., Any]:
        """What computes it; the head of this module says from what."""
        kind = KINDS[self.kind]
        if kind.partial is not None and self.kept is not None:
            return functools.partial(partial_auc, end=kind.partial, kept=self.kept)
        function = kind.full if self.k is None else kind.at
        assert function is not None  # parse saw to it
        return function


def parse(name: str) -> Metric:
    """Resolve `ndcg@20`, `recall@50`, `auc`, `map`, `opauc@5%`, `llpauc@30%x5%`, `ndcg@20[new]`...

    Raises:
        InputError: an unknown name (with the one that was meant), a missing, superfluous or impossible cut-off or fraction, or a view in
            which the metric is no other than without it.
    """
    base, bracket, view = name.strip().partition("[")
    if bracket and view.endswith("]") and view[:-1] in VIEWS:
        bare = parse(base)
        made = replace(bare, name=f"{bare.name}[{view[:-1]}]", view=view[:-1])
        if made.source in ("lists", "catalogue") and made.view.endswith("in all"):
            cause = f"metric '{name}': {made.kind} is about whole lists, whatever the test items"
            raise InputError(
                cause,
                remedy=f"write {bare.name}, or {bare.name}[{made.view.removesuffix(' in all')}] for other lists",
            )
        return made
    matched = re.fullmatch(r"([^@]*)(?:@(.*))?", name.strip(), flags=re.DOTALL)
    word, cut = (matched.group(1), matched.group(2)) if matched else (name, None)
    kind = KINDS.get(word)
    if kind is None:
        tail = f"@{cut}" if cut and cut.isdecimal() else ""
        known = [f"{k}{tail or '@20'}" for k, v in KINDS.items() if v.at is not None]
        if not tail:
            known += [k for k, v in KINDS.items() if v.full is not None]
        known += [_example(k, "") for k, v in KINDS.items() if v.partial is not None]
        aliases = {f"{k}{tail}": _example(v, tail) for k, v in WORDS.items()}
        plain = word.strip().lower().replace("-", "_").replace(" ", "")
        raise InputError(
            f"unknown metric '{name}'", remedy=suggest(f"{plain}{tail}", known, aliases)
        )
    if kind.partial is not None:
        plainest, kept = region(name, kind.partial, cut)
        return Metric(f"{word}@{plainest}", word, None, kept)
    if cut is None:
        if kind.full is None:
            raise InputError(
                f"metric '{name}' needs a cut-off", remedy=f"write {word}@20, for example"
            )
        return Metric(word, word, None)
    if kind.at is None:
        raise InputError(
            f"metric '{name}': {word} is over the full ranking and takes no cut-off",
            remedy=f"write {word}{', or opauc@5% against the best-ranked 5% of the other candidates' * ('%' in cut)}",
        )
    if not re.fullmatch(r"[1-9][0-9]{0,8}", cut):
        raise InputError(
            f"metric '{name}': the cut-off '{cut}' is not a whole number from 1",
            remedy=f"write {word}@20, for example",
        )
    return Metric(f"{word}@{int(cut)}", word, int(cut))


def _example(word: str, tail: str) -> str:
    """The kind in a form that can be asked for, with the cut-off of `tail` where it takes one."""
    kind = KINDS[word]
    if kind.partial is not None:
        return f"{word}@5%" if kind.partial == "opauc" else f"{word}@30%x30%"
    return word if not tail and kind.full is not None else f"{word}{tail or '@20'}"


def hit_matrix(items: np.ndarray, relevant: sp.csr_matrix) -> np.ndarray:
    """Which recommended items are test items.

    Args:
        items: int [U, k], -1 as padding.
        relevant: CSR [U, n_items], the test items of the same users.

    Returns:
        bool [U, k].
    """
    n = relevant.shape[1]
    owner = np.repeat(np.arange(relevant.shape[0], dtype=np.int64), np.diff(relevant.indptr))
    known = np.sort(owner * n + relevant.indices)
    if not len(known):
        return np.zeros(items.shape, dtype=bool)
    wanted = np.arange(len(items), dtype=np.int64)[:, None] * n + items
    place = np.searchsorted(known, wanted.ravel()).reshape(items.shape)
    return np.asarray((known[np.minimum(place, len(known) - 1)] == wanted) & (items >= 0))


def popularity_group(count: np.ndarray) -> np.ndarray:
    """Head, mid and tail items, int8 [n_items], codes into `GROUPS`.

    Head are the most met items that gather the first third of the training interactions, mid the second, tail the last.

    Args:
        count: training users per item [n_items]. Equal counts are ordered by row; items nobody met are tail.
    """
    order = np.argsort(-count, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    group = np.empty(len(count), dtype=np.int8)
    group[order] = np.minimum(3 * before // max(1, count.sum()), 2)
    group[count == 0] = 2
    return group


def recall_by_popularity(
    items: np.ndarray,
    hits: np.ndarray,
    relevant: sp.csr_matrix,
    group: np.ndarray,
    cuts: Sequence[int],
) -> dict[str, np.ndarray]:
    """Recall of the test items of each group alone, as `recall@20[tail]`, float64 [U]; NaN for a user without such test items.

    The three, weighted by their numbers of test items, add up to the overall recall.
    """
    owner = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    of_item = np.where(items >= 0, group[items], -1)
    columns = {}
    for code, name in enumerate(GROUPS):
        total = np.bincount(owner[group[relevant.indices] == code], minlength=len(items))
        for k in dict.fromkeys(cuts):
            found = (hits[:, :k] & (of_item[:, :k] == code)).sum(1)
            columns[f"recall@{k}[{name}]"] = np.divide(
                found, total, out=np.full(len(items), np.nan), where=total > 0
            )
    return columns


def _defined(values: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    return np.where(n_relevant > 0, values, np.nan)


def _sums(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Sum over each user's stretch; 0 where it is empty."""
    owner = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return np.bincount(owner, values, minlength=len(indptr) - 1)
