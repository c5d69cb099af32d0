"""Metrics: functions of one hit matrix, of full ranks, or of the recommended lists.

    at a cut-off   (hits bool [U, k], n_relevant int [U]) -> float64 [U]
    full ranking   (rank [sum of targets], indptr [U + 1], candidates [U], n_relevant [U]) -> float64 [U]
    lists          items int [U, k], -1 as padding, with what the training data says of the items

NaN means "not defined for this user" and is left out of means. docs/metrics.md has the formulas and how other libraries differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from recsys.errors import InputError, suggest

__all__ = ["GROUPS", "KINDS", "Kind", "Metric", "hit_matrix", "parse", "popularity_group", "recall_by_popularity"]

Source = Literal["hits", "ranks", "lists", "catalogue"]
GROUPS = ("head", "mid", "tail")


# At a cut-off. `hits[u, p]` says whether the item at position p (0-based) of u's list is one of u's test items.


def precision(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Hits / k; a list shorter than k (a small catalogue) still divides by k."""
    return _defined(hits.sum(1) / hits.shape[1], n_relevant)


def recall(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Hits / |test|."""
    return _defined(hits.sum(1) / np.maximum(n_relevant, 1), n_relevant)


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
    return _defined((precisions * hits).sum(1) / np.maximum(np.minimum(n_relevant, width), 1), n_relevant)


# Of full ranks: user u's reachable test items have the ascending 1-based ranks rank[indptr[u]:indptr[u + 1]] among candidates[u] items.
# n_relevant counts the unreachable ones (seen in training) too: they are missed, except by auc, which is about candidates only.


def full_auc(rank: np.ndarray, indptr: np.ndarray, candidates: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Share of (test item, other candidate) pairs in the right order: (sum(L - r + 1) - m (m + 1) / 2) / (m (L - m))."""
    m = np.diff(indptr)
    area = m * (candidates + 1) - _sums(rank, indptr) - m * (m + 1) / 2
    pairs = m * (candidates - m)
    return np.asarray(np.divide(area, pairs, out=np.full(len(m), np.nan), where=pairs > 0))


def full_map(rank: np.ndarray, indptr: np.ndarray, candidates: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Sum of q / r_q over the test items / |test|."""
    position = np.arange(1, len(rank) + 1) - np.repeat(indptr[:-1], np.diff(indptr))
    return _defined(_sums(position / rank, indptr) / np.maximum(n_relevant, 1), n_relevant)


def full_mrr(rank: np.ndarray, indptr: np.ndarray, candidates: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """1 / r_1, the rank of the best-ranked test item."""
    out = np.zeros(len(indptr) - 1)
    reached = np.diff(indptr) > 0
    out[reached] = 1 / rank[indptr[:-1][reached]]
    return _defined(out, n_relevant)


def full_ndcg(rank: np.ndarray, indptr: np.ndarray, candidates: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Sum of 1 / log2(r_q + 1) / the same for ranks 1..|test|."""
    ideal = np.concatenate([[1.0], np.cumsum(1 / np.log2(np.arange(2, n_relevant.max(initial=0) + 2)))])
    return _defined(_sums(1 / np.log2(rank + 1), indptr) / ideal[n_relevant], n_relevant)


# Of the lists. `count[i]` is the number of training users who met item i.


def novelty(items: np.ndarray, count: np.ndarray, n_users: int) -> np.ndarray:
    """Mean self-information -log2(count / n_users) in bits (Zhou et al. 2010); an item nobody met counts as met by one."""
    return _list_mean(-np.log2(np.maximum(count, 1) / max(n_users, 1)), items)


def popularity(items: np.ndarray, count: np.ndarray, n_users: int) -> np.ndarray:
    """Mean share of training users who met the recommended items (average recommendation popularity, Yin et al. 2012)."""
    return _list_mean(count / max(n_users, 1), items)


def lift(items: np.ndarray, count: np.ndarray, history: sp.csr_matrix) -> np.ndarray:
    """Mean popularity of the list over that of the user's own history, minus 1; 0 is calibrated (Abdollahpouri et al. 2019, per user).

    Args:
        history: CSR [U, n_items], the training items of the same users; NaN where a user has none.
    """
    met = np.diff(history.indptr)
    own = np.divide(history.astype(bool).astype(np.float64) @ count, met, out=np.full(len(met), np.nan), where=met > 0)
    return np.asarray(_list_mean(count.astype(np.float64), items) / own - 1)


def coverage(items: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that is in at least one list."""
    return len(np.unique(items[items >= 0])) / n_items


def gini(items: np.ndarray, n_items: int) -> float:
    """Gini index of how often each item of the catalogue is recommended: 0 all equally often, near 1 all lists the same."""
    times = np.sort(np.bincount(items[items >= 0], minlength=n_items)).astype(np.float64)
    total = times.sum()
    return float(((2 * np.arange(1, n_items + 1) - n_items - 1) * times).sum() / (n_items * total)) if total else float("nan")


def diversity(items: np.ndarray, train: sp.csr_matrix) -> np.ndarray:
    """Intra-list: 1 - mean cosine over the pairs of a list; an item's vector is its training column, so cosine is co-occurrence / sqrt(c_i c_j).

    Memory is bounded by taking lists and similarity rows in blocks. Items without training users are similar to none.
    NaN where the list has fewer than two items.

    Args:
        train: CSR [n_users, n_items], binary.
    """
    count = np.maximum(np.asarray(train.sum(0)).ravel(), 1)
    unit = (train @ sp.diags_array(1 / np.sqrt(count))).tocsc()
    out = np.full(len(items), np.nan)
    width = items.shape[1]
    first, second = np.triu_indices(width, 1)
    step = max(1, (4 << 20) // max(1, len(first)))
    for start in range(0, len(items), step):
        block = items[start : start + step]
        a, b = np.minimum(block[:, first], block[:, second]).ravel(), np.maximum(block[:, first], block[:, second]).ravel()
        owner = np.repeat(np.arange(len(block)), len(first))
        usable = a >= 0
        a, b, owner = a[usable], b[usable], owner[usable]
        similarity = _pair_cosines(unit, a, b)
        pairs = np.bincount(owner, minlength=len(block))
        total = np.bincount(owner, similarity, minlength=len(block))
        np.divide(total, pairs, out=out[start : start + step], where=pairs > 0)
    return 1 - out


def diversity_of(items: np.ndarray, vectors: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Intra-list: 1 - mean cosine of the items' feature vectors; items without features are left out, NaN below two items.

    The mean over pairs follows from the norm of the sum of unit vectors, so no pair is formed.

    Args:
        vectors: float [n_items, d].
        present: bool [n_items].
    """
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norm, out=np.zeros(vectors.shape), where=norm > 0)
    known = present & (norm[:, 0] > 0)
    unit[~known] = 0
    out = np.full(len(items), np.nan)
    step = max(1, (32 << 20) // (8 * max(1, items.shape[1] * vectors.shape[1])))
    for start in range(0, len(items), step):
        block = items[start : start + step]
        counted = (block >= 0) & known[block]
        total = (unit[block] * counted[:, :, None]).sum(1)
        n = counted.sum(1)
        np.divide((total**2).sum(1) - n, n * (n - 1), out=out[start : start + step], where=n > 1)
    return 1 - out


@dataclass(frozen=True)
class Kind:
    """What a metric is computed from, whether more is better (None: neither), and its functions with and without a cut-off."""

    source: Source
    higher: bool | None
    at: Callable[..., Any] | None = None
    full: Callable[..., Any] | None = None


KINDS: Mapping[str, Kind] = {
    "precision": Kind("hits", True, precision),
    "recall": Kind("hits", True, recall),
    "hit": Kind("hits", True, hit),
    "ndcg": Kind("hits", True, ndcg, full_ndcg),
    "mrr": Kind("hits", True, mrr, full_mrr),
    "map": Kind("hits", True, average_precision, full_map),
    "auc": Kind("ranks", True, None, full_auc),
    "coverage": Kind("catalogue", True, coverage),
    "gini": Kind("catalogue", False, gini),
    "novelty": Kind("lists", None, novelty),
    "popularity": Kind("lists", None, popularity),
    "lift": Kind("lists", None, lift),
    "diversity": Kind("lists", True, diversity),
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
}


@dataclass(frozen=True)
class Metric:
    """One metric, resolved from its name.

    Args:
        name: as the user writes it, `ndcg@20` or `auc`.
        kind: key of `KINDS`.
        k: cut-off, or None over the full ranking.
    """

    name: str
    kind: str
    k: int | None

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
        kind = KINDS[self.kind]
        function = kind.full if self.k is None else kind.at
        assert function is not None  # parse saw to it
        return function


def parse(name: str) -> Metric:
    """Resolve `ndcg@20`, `recall@50`, `auc`, `map`...

    Raises:
        InputError: an unknown name (with the one that was meant), a missing, superfluous or impossible cut-off.
    """
    matched = re.fullmatch(r"([^@]*)(?:@(.*))?", name.strip(), flags=re.DOTALL)
    word, cut = (matched.group(1), matched.group(2)) if matched else (name, None)
    kind = KINDS.get(word)
    if kind is None:
        tail = f"@{cut}" if cut and cut.isdecimal() else ""
        known = [f"{k}{tail or '@20'}" for k, v in KINDS.items() if v.at is not None]
        if not tail:
            known += [k for k, v in KINDS.items() if v.full is not None]
        aliases = {f"{k}{tail}": v if not tail and KINDS[v].full is not None else f"{v}{tail or '@20'}" for k, v in WORDS.items()}
        plain = word.strip().lower().replace("-", "_").replace(" ", "")
        raise InputError(f"unknown metric '{name}'", remedy=suggest(f"{plain}{tail}", known, aliases))
    if cut is None:
        if kind.full is None:
            raise InputError(f"metric '{name}' needs a cut-off", remedy=f"write {word}@20, for example")
        return Metric(word, word, None)
    if kind.at is None:
        raise InputError(f"metric '{name}': {word} is over the full ranking and takes no cut-off", remedy=f"write {word}")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", cut):
        raise InputError(f"metric '{name}': the cut-off '{cut}' is not a whole number from 1", remedy=f"write {word}@20, for example")
    return Metric(f"{word}@{int(cut)}", word, int(cut))


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
    items: np.ndarray, hits: np.ndarray, relevant: sp.csr_matrix, group: np.ndarray, cuts: Sequence[int]
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
            columns[f"recall@{k}[{name}]"] = np.divide(found, total, out=np.full(len(items), np.nan), where=total > 0)
    return columns


def _defined(values: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    return np.where(n_relevant > 0, values, np.nan)


def _sums(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Sum over each user's stretch; 0 where it is empty."""
    owner = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return np.bincount(owner, values, minlength=len(indptr) - 1)


def _list_mean(value: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Mean of an item property over each list; NaN for an empty list."""
    filled = items >= 0
    n = filled.sum(1)
    return np.asarray(np.divide((value[items] * filled).sum(1), n, out=np.full(len(items), np.nan), where=n > 0))


def _pair_cosines(unit: sp.csc_matrix, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products of columns a[j] and b[j] of `unit`, a block of similarity rows at a time (about 64 MiB each)."""
    out = np.empty(len(a))
    order = np.argsort(a, kind="stable")
    rows, starts = np.unique(a[order], return_index=True)
    starts = np.append(starts, len(order))
    step = max(1, (64 << 20) // (8 * unit.shape[1]))
    for lo in range(0, len(rows), step):
        span = order[starts[lo] : starts[min(lo + step, len(rows))]]
        columns, place = np.unique(b[span], return_inverse=True)
        gram = (unit[:, rows[lo : lo + step]].T @ unit[:, columns]).toarray()
        out[span] = gram[np.searchsorted(rows[lo : lo + step], a[span]), place]
    return out
