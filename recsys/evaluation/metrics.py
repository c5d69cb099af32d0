"""Metrics by name: the table of metrics, and the names of users resolved to metrics.

A metric is a function of one context. To add one, write the function and add a row to `AT_CUTOFF`
or `FULL_RANKING`. Metrics of other packages are found by `recsys.plugins`: the name of an entry
point in the group `recsys.metrics` is the name of the metric, its value a `ListMetric` or a
`RankMetric`. A built-in metric takes precedence over one of the same name in another package.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import scipy.sparse as sp

from recsys import plugins
from recsys.errors import InputError, suggest
from recsys.evaluation import item_terms as terms
from recsys.evaluation import list_metrics as lists
from recsys.evaluation import ranking_metrics as ranking
from recsys.evaluation.contexts import DrawContext, ListContext, RankContext
from recsys.evaluation.item_terms import PerItem
from recsys.evaluation.partial_auc import End, Region, example, partial_auc, region
from recsys.evaluation.slices import EVERYTHING, GROUPS, SLICES, Slice

__all__ = [
    "AT_CUTOFF",
    "FULL_RANKING",
    "GROUPS",
    "ListMetric",
    "Metric",
    "MetricKind",
    "RankMetric",
    "hit_matrix",
    "parse",
]

EXTENSIONS = "metrics"  # group of `recsys.plugins`


@dataclass(frozen=True, kw_only=True)
class MetricKind:
    """A kind of metric, such as ndcg: what `ListMetric` and `RankMetric` have in common.

    Args:
        higher: whether a higher value is better; None where neither is better. Such a metric
            cannot be monitored.
        per_item: the metric as a sum over test items, for estimates from sampled candidates.
        from_draw: the estimate from sampled candidates, where it is not such a sum. With neither,
            the metric is refused with `candidates = "sampled"`.
    """

    higher: bool | None = True
    per_item: PerItem | None = None
    from_draw: Callable[[DrawContext], np.ndarray] | None = None


@dataclass(frozen=True)
class ListMetric(MetricKind):
    """A metric of the recommendation lists. It needs a cut-off, as in `ndcg@20`.

    Args:
        compute: from the lists cut off at k to one value per user, float64 [U], NaN where the
            metric is not defined for a user; with `about = "catalogue"`, to one number.
        about: "test items" compares the lists with the test items; "lists" gives a value per user
            that does not depend on the test items; "catalogue" gives one number for all lists.
        needs_item_vectors: whether it is computed from the item embeddings of the scorer. It is
            then not defined for a scorer without them, and the report says so.
    """

    compute: Callable[[ListContext], np.ndarray | float]
    about: Literal["test items", "lists", "catalogue"] = "test items"
    needs_item_vectors: bool = False


@dataclass(frozen=True)
class RankMetric(MetricKind):
    """A metric of the full ranking. It takes no cut-off, as in `auc`.

    Args:
        compute: from the ranks of the test items to one value per user, float64 [U], NaN where
            the metric is not defined for a user.
    """

    compute: Callable[[RankContext], np.ndarray]


AT_CUTOFF: Mapping[str, ListMetric] = {
    "precision": ListMetric(ranking.precision, per_item=terms.PRECISION),
    "recall": ListMetric(ranking.recall, per_item=terms.RECALL),
    "f1": ListMetric(ranking.f1, per_item=terms.F1),
    "hit": ListMetric(ranking.hit, per_item=terms.HIT),
    "ndcg": ListMetric(ranking.ndcg, per_item=terms.NDCG),
    "mrr": ListMetric(ranking.mrr, per_item=terms.MRR),
    "map": ListMetric(ranking.average_precision, per_item=terms.MAP),
    "coverage": ListMetric(lists.coverage, "catalogue"),
    "gini": ListMetric(lists.gini, "catalogue", higher=False),
    "novelty": ListMetric(lists.novelty, "lists", higher=None),
    "popularity": ListMetric(lists.popularity, "lists", higher=None),
    "lift": ListMetric(lists.lift, "lists", higher=None),
    "diversity": ListMetric(lists.diversity, "lists"),
    "maxdiv": ListMetric(lists.maxdiv, "lists", needs_item_vectors=True, higher=None),
}

FULL_RANKING: Mapping[str, RankMetric] = {
    "auc": RankMetric(ranking.full_auc, from_draw=ranking.auc_of_draw),
    "map": RankMetric(ranking.full_map, per_item=terms.MAP),
    "mrr": RankMetric(ranking.full_mrr, per_item=terms.MRR),
    "ndcg": RankMetric(ranking.full_ndcg, per_item=terms.NDCG),
}

# Metrics of the full ranking with fractions after the @, as in `opauc@5%`.
PARTIAL: Mapping[str, End] = {"opauc": "opauc", "tpauc": "tpauc", "llpauc": "llpauc"}

# Names that other libraries use.
ALIASES: Mapping[str, str] = {
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
        name: the whole name in its plainest form, such as `ndcg@20[new]`.
        word: the name without cut-off and slice, such as `ndcg`.
        k: the cut-off; None for a metric of the full ranking.
        kind: how it is computed.
        slice: the slice of the test set.
        kept: of a partial AUC, the fractions of test items and of other candidates that are kept.
    """

    name: str
    word: str
    k: int | None
    kind: ListMetric | RankMetric = field(compare=False)
    slice: Slice = EVERYTHING
    kept: Region | None = None

    @property
    def higher(self) -> bool | None:
        """Whether a higher value is better; None where neither is better."""
        return self.kind.higher

    @property
    def about(self) -> Literal["test items", "lists", "catalogue"]:
        """What the value depends on, see `ListMetric`."""
        return self.kind.about if isinstance(self.kind, ListMetric) else "test items"

    @property
    def whole(self) -> bool:
        """Whether it is one number for all users, without values per user."""
        return self.about == "catalogue"

    @property
    def can_be_sampled(self) -> bool:
        """Whether it can be estimated from sampled candidates."""
        return self.kind.per_item is not None or self.kind.from_draw is not None

    def on(self, part: Slice) -> Metric:
        """Return the same metric on a slice of the test set."""
        return replace(self, name=f"{self.name}[{part.name}]", slice=part)


def parse(name: str) -> Metric:
    """Resolve the name of a metric, such as `ndcg@20`, `auc`, `opauc@5%` or `ndcg@20[new]`.

    Raises:
        InputError: an unknown name (with the nearest known one), a missing, superfluous or invalid
            cut-off or fraction, an unknown slice, or a slice that cannot change the metric.
    """
    base, bracket, rest = name.strip().partition("[")
    if not bracket:
        return _without_slice(name, base)
    part = SLICES.get(rest[:-1]) if rest.endswith("]") and rest != "]" else None
    if part is None:
        known = [f"{base}[{each}]" for each in SLICES if each]
        raise InputError(
            f"metric '{name}': unknown slice '[{rest}'", remedy=suggest(name.strip(), known)
        )
    metric = _without_slice(base, base)
    if metric.about != "test items" and not part.has_own_lists:
        others = f", or {metric.name}[{part.items}] for other lists" if part.by_novelty else ""
        raise InputError(
            f"metric '{name}': {metric.word} depends on whole lists, and [{part.name}] only "
            "selects test items",
            remedy=f"write {metric.name}{others}",
        )
    return metric.on(part)


def _without_slice(name: str, text: str) -> Metric:
    """Resolve a name without brackets; `name` is the text for errors."""
    word, at, cut = text.strip().partition("@")
    if word in PARTIAL:
        return _partial(name, word, cut if at else None)
    full = FULL_RANKING.get(word)
    at_cutoff = AT_CUTOFF.get(word)
    if full is None and at_cutoff is None:
        kind = _elsewhere(word)
        if kind is None:
            raise _unknown(name, word, cut)
        if isinstance(kind, ListMetric):
            at_cutoff = kind
        else:
            full = kind
    if not at:
        if full is None:
            raise InputError(
                f"metric '{name}' needs a cut-off", remedy=f"write {word}@20, for example"
            )
        return Metric(word, word, None, full)
    if at_cutoff is None:
        partial = ", or opauc@5% against the best-ranked 5% of the other candidates"
        raise InputError(
            f"metric '{name}': {word} is over the full ranking and takes no cut-off",
            remedy=f"write {word}{partial if '%' in cut else ''}",
        )
    if not re.fullmatch(r"[1-9][0-9]{0,8}", cut):
        raise InputError(
            f"metric '{name}': the cut-off must be an integer from 1, got '{cut}'",
            remedy=f"write {word}@20, for example",
        )
    return Metric(f"{word}@{int(cut)}", word, int(cut), at_cutoff)


def _partial(name: str, word: str, cut: str | None) -> Metric:
    """Resolve the name of a partial AUC."""
    end = PARTIAL[word]
    plain, kept = region(name, end, cut)
    compute = functools.partial(partial_auc, end=end, kept=kept)
    return Metric(f"{word}@{plain}", word, None, RankMetric(compute), kept=kept)


def _unknown(name: str, word: str, cut: str) -> InputError:
    """Return the error of an unknown metric, with the metric that may have been meant."""
    tail = f"@{cut}" if cut.isdecimal() else ""
    known = [f"{each}{tail or '@20'}" for each in AT_CUTOFF]
    if not tail:
        known += FULL_RANKING
    known += [example(end) for end in PARTIAL.values()]
    for other in plugins.names(EXTENSIONS):
        known.append(f"{other}{tail or '@20'}" if _is_list_metric(other) else other)
    aliases = {f"{alias}{tail}": _example(meant, tail) for alias, meant in ALIASES.items()}
    plain = word.strip().lower().replace("-", "_").replace(" ", "")
    return InputError(f"unknown metric '{name}'", remedy=suggest(f"{plain}{tail}", known, aliases))


def _example(word: str, tail: str) -> str:
    """Return a valid name of a built-in metric, with the cut-off `tail` where it takes one."""
    if word in PARTIAL:
        return example(PARTIAL[word])
    if word not in AT_CUTOFF or (word in FULL_RANKING and not tail):
        return word
    return f"{word}{tail or '@20'}"


def _elsewhere(word: str) -> ListMetric | RankMetric | None:
    """Return the metric of another package; None where no package has one of this name.

    Raises:
        InputError: the package cannot be imported, or the entry point is not a metric.
    """
    place = plugins.module_of(EXTENSIONS, word)
    if place is None:
        return None
    kind = plugins.load(EXTENSIONS, word)
    if not isinstance(kind, ListMetric | RankMetric):
        raise InputError(
            f"metric '{word}' of another package must be a ListMetric or a RankMetric, got "
            f"{type(kind).__name__}",
            place=place,
            remedy="correct the entry point of its package",
        )
    return kind


def _is_list_metric(word: str) -> bool:
    """Return whether a metric of another package takes a cut-off; False if it cannot be loaded."""
    try:
        return isinstance(_elsewhere(word), ListMetric)
    except InputError:
        return False


def hit_matrix(items: np.ndarray, relevant: sp.csr_matrix) -> np.ndarray:
    """Return which recommended items are test items, bool [U, k].

    Args:
        items: recommended item rows, int [U, k]; -1 as padding.
        relevant: test items of the same users, CSR [U, n_items].
    """
    n_items = relevant.shape[1]
    owner = np.repeat(np.arange(relevant.shape[0], dtype=np.int64), np.diff(relevant.indptr))
    pairs = np.sort(owner * n_items + relevant.indices)
    if not len(pairs):
        return np.zeros(items.shape, dtype=bool)
    recommended = np.arange(len(items), dtype=np.int64)[:, None] * n_items + items
    index = np.searchsorted(pairs, recommended.ravel()).reshape(items.shape)
    return np.asarray((pairs[np.minimum(index, len(pairs) - 1)] == recommended) & (items >= 0))
