"""Dual embeddings: what is bought together with an item, by two vectors of each item.

Symbols: every item has a vector v (IN: the item that is asked about) and a vector v' (OUT: an item
that goes with it). Training pairs (t, c) are the ordered pairs of different items of a basket, with
the number of baskets c_tc that hold both. The objective is skip-gram with negative sampling,

    sum over pairs of w_tc ( -log sigma(v_t . v'_c) - sum_k log sigma(-v_t . v'_nk) ),

with K negatives from P(i) ~ n_i^exponent. The list of p is ordered by the cosine of v_p and v'_q
(IN-OUT). IN-IN and OUT-OUT rank similar items, which are substitutes rather than complements.

Source: a paper of Overstock, "Dual embeddings for complementary products" (arXiv 2211.14982, 2022).
Certain (read in the paper): the order of the filters (largest users and baskets, count, PMI,
taxonomy), loss and ranking, the synthetic pairs and their counts, that an unknown item borrows the
list of its most similar trained item.

    Differs: w_tc is the count times the probability sqrt(t / f) with which word2vec keeps each of
    the two items, divided by the mean; the paper draws. The negatives of a pair are K times the
    mean over a pool that the batch shares, which has the same expectation. Valid is a set of
    baskets, as the test is, where the paper holds out a tenth of the pairs and removes them from
    train. The similarity is the cosine of a feature table, where the paper trains vectors on
    clicks.
    RECONSTRUCTED: counts of synthetic pairs (`recsys.nn.item_pairs`); a query of several items
    takes the mean of their vectors; items of one row of the table `taxonomy` are one category.

Reproduces nothing published: the data of the paper are private or large. docs/tables has a table on
public baskets.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset, FeatureTable
from recsys.errors import InputError, suggest
from recsys.models import Network
from recsys.models._sessions import Sessions, training_histories
from recsys.nn.item_pairs import (
    PairCounts,
    baskets_of,
    pair_counts,
    synthetic,
    with_least,
    without_same,
)
from recsys.nn.losses import Terms
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding
from recsys.sampling import Batch
from recsys.sampling.item_pair_stream import ItemPairs
from recsys.scorer.item_vectors import AskedItems
from recsys.scorer.row_neighbours import nearest
from recsys.scorer.stored_histories import StoredHistories

__all__ = ["Dual"]

Side = Literal["in-out", "in-in", "out-out", "out-in"]


@settings
class Dual:
    """IN and OUT vectors of items, from baskets: what goes with an item (Overstock, 2022)."""

    reconstructed = "synthetic pairs"

    dim: Annotated[int, Bound(ge=1)] = 50
    """Dimension of each of the two vectors."""
    rank: Side = "in-out"
    """The table of the item that is asked about, and the table of the items in its list."""
    negatives: Annotated[int, Bound(ge=1)] = 20
    """Number of negatives K of a pair: the weight of the negatives against the pair."""
    pool: Annotated[int, Bound(ge=1)] = 256
    """Number of negatives that are drawn for a batch; each pair takes K times their mean."""
    exponent: Annotated[float, Bound(ge=-1, le=1)] = 0.0
    """Negatives are drawn in proportion to (number of baskets)^exponent; below 0: rare ones."""
    subsample: Annotated[float, Bound(gt=0, le=1)] = 1e-3
    """Threshold t of frequent items: an item of frequency f counts sqrt(t / f) times, at most once;
    1: all count fully."""
    least: Annotated[int, Bound(ge=1)] = 3
    """Smallest number of baskets that hold both items of a pair."""
    min_pmi: float | None = 0.0
    """Smallest pointwise mutual information of a pair; none: any."""
    largest: Annotated[float, Bound(gt=0, le=1)] = 0.999
    """Quantile of the distinct items of baskets, and of users; larger ones are left out. 1: none
    are."""
    taxonomy: str | None = None
    """Feature table of categories: items with equal rows are one category, and pairs of one
    category are left out. None: no taxonomy."""
    category_pmi: float | None = None
    """Smallest pointwise mutual information of two categories; needs `taxonomy`. None: any."""
    augment: Literal["none", "train", "ask", "both"] = "none"
    """Use a similarity of items. train: train on synthetic pairs, too. ask: an item without a pair
    borrows the list of the most similar item. both: do both."""
    similarity: str | None = None
    """Feature table whose cosine says which items are similar; needed by `augment`."""
    theta: Annotated[float, Bound(ge=0, le=1)] = 0.8
    """Smallest similarity of two items that replace each other."""
    neighbours: Annotated[int, Bound(ge=1)] = 3
    """Items that replace an item in synthetic pairs, at most."""
    gamma: Annotated[float, Bound(gt=0, le=1)] = 0.5
    """Factor of the counts of synthetic pairs."""
    last: Annotated[int, Bound(ge=1)] = 50
    """Number of last items of a history that a query reads."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values, times sqrt(dim)."""
    sessions: Sessions = "auto"
    """true: a basket is a session. false: all events of a user. auto: a session if the log has
    sessions."""

    def __post_init__(self) -> None:
        if self.category_pmi is not None and self.taxonomy is None:
            raise InputError(
                "category_pmi has no effect without taxonomy",
                remedy="name a feature table of categories, or leave category_pmi out",
            )
        if (self.augment == "none") != (self.similarity is None):
            given = f"augment = '{self.augment}', similarity = {self.similarity!r}"
            raise InputError(
                f"augment and similarity need each other, got {given}",
                remedy='give both, as in augment = "both" and similarity = "text"',
            )

    def idle(self) -> set[str]:
        """Return the settings that have no effect given the others."""
        works = {
            "theta": self.augment != "none",
            "neighbours": self.augment in ("train", "both"),
            "gamma": self.augment in ("train", "both"),
        }
        return {name for name, does in works.items() if not does}

    def build(self, train: Dataset) -> Network:
        return _Dual(self, train)


class _Dual(Network):
    weight: Tensor
    has_pair: Tensor
    source: Tensor

    def __init__(self, recipe: Dual, train: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        histories = training_histories(train.log, recipe.sessions)
        baskets = baskets_of(train.log, histories, train.n_items, recipe.largest)
        pairs = training_pairs(recipe, train, baskets)
        if not len(pairs):
            raise InputError(
                "no pair of items is left to learn from",
                place="[model]",
                remedy="lower least or min_pmi, or give data whose baskets hold several items",
            )
        of_item = np.asarray(baskets.sum(axis=0)).ravel()
        weight = pairs.count * _kept(of_item, recipe.subsample)[pairs.first]
        weight *= _kept(of_item, recipe.subsample)[pairs.second]
        self._pairs = ItemPairs(
            pairs.first, pairs.second, recipe.pool, _proposal(of_item, recipe.exponent)
        )
        self.stored = StoredHistories.of(train.log, recipe.last, times=False)
        start = recipe.init_std / recipe.dim**0.5
        self.first = embedding(train.n_items, recipe.dim, start)
        self.second = embedding(train.n_items, recipe.dim, start)
        self.rows = (self.first, self.second)
        self._buffer("weight", torch.from_numpy((weight / weight.mean()).astype(np.float32)))
        has_pair = np.zeros(train.n_items, dtype=bool)
        has_pair[pairs.first] = True
        self._buffer("has_pair", torch.from_numpy(has_pair))
        source = np.arange(train.n_items)
        if recipe.augment in ("ask", "both"):
            source = borrowed(_table(train, recipe.similarity), has_pair, recipe.theta)
        self._buffer("source", torch.from_numpy(source))

    def _buffer(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    @property
    def stream(self) -> ItemPairs:
        return self._pairs

    def loss(self, batch: Batch) -> Terms:
        size = len(batch)
        answers = self.second(torch.cat([batch.pos, batch.neg.reshape(-1)]))
        pos, neg = pair_scores(batch, self.first(batch.user), answers[:size], answers[size:])
        each = F.softplus(-pos) + self.recipe.negatives * F.softplus(neg).mean(1)
        return Terms(each * self.weight[batch.row], None)

    def scorer(self) -> AskedItems:
        tables = {"in": self._unit(self.first.weight), "out": self._unit(self.second.weight)}
        asked, answer = (tables[side] for side in self.recipe.rank.split("-"))
        asked = asked.index_select(0, self.source)
        return AskedItems(asked, answer, self.stored, self.recipe.augment in ("ask", "both"))

    def _unit(self, table: Tensor) -> Tensor:
        """Return vectors of length 1, and zeros for items without a pair."""
        return F.normalize(table.detach(), dim=1) * self.has_pair[:, None]


def training_pairs(recipe: Dual, train: Dataset, baskets: sp.csr_matrix) -> PairCounts:
    """Return the pairs that a recipe trains on, synthetic ones included.

    Args:
        recipe: the filters.
        train: the features.
        baskets: binary, CSR [T, n_items].
    """
    pairs = with_least(pair_counts(baskets), baskets, least=recipe.least, min_pmi=recipe.min_pmi)
    category = None
    if recipe.taxonomy is not None:
        category = categories(_table(train, recipe.taxonomy))
        pairs = without_same(pairs, category, baskets, recipe.category_pmi)
    if recipe.augment not in ("train", "both"):
        return pairs
    similar = alike(_table(train, recipe.similarity), recipe.neighbours, recipe.theta)
    added = synthetic(pairs, similar, recipe.gamma)
    if category is not None:
        added = without_same(added, category, baskets, recipe.category_pmi)
    return PairCounts(
        np.concatenate([pairs.first, added.first]),
        np.concatenate([pairs.second, added.second]),
        np.concatenate([pairs.count, added.count]),
    )


def categories(table: FeatureTable) -> np.ndarray:
    """Return the category of each item, int64 [n]: items with equal rows share one; -1 without."""
    _, category = np.unique(table.values, axis=0, return_inverse=True)
    return np.where(table.present, category.ravel(), -1)


def alike(table: FeatureTable, k: int, theta: float) -> sp.csr_matrix:
    """Return the cosine of the k most similar items of each item, CSR [n, n], at least theta."""
    unit = _directions(table)
    ones = np.ones(len(unit))
    similar = nearest(sp.csr_matrix(unit), k, left=ones, right=ones)
    similar.data[similar.data < max(theta, 1e-6)] = 0.0
    similar.data[:] = np.minimum(similar.data, 1.0)
    similar.eliminate_zeros()
    return similar


def borrowed(table: FeatureTable, has_pair: np.ndarray, theta: float) -> np.ndarray:
    """Return the item whose list each item has, int64 [n]: its own, or that of the most similar.

    Args:
        table: features of the items.
        has_pair: items with a training pair, bool [n].
        theta: smallest similarity; without one, an item keeps its own empty list.
    """
    source = np.arange(len(has_pair))
    asking = np.flatnonzero(~has_pair & table.present)
    lending = np.flatnonzero(has_pair & table.present)
    if not len(asking) or not len(lending):
        return source
    unit = _directions(table)
    likeness = unit[asking] @ unit[lending].T
    best = likeness.argmax(1)
    enough = likeness[np.arange(len(asking)), best] >= theta
    source[asking[enough]] = lending[best[enough]]
    return source


def _directions(table: FeatureTable) -> np.ndarray:
    """Return the features as rows of length 1, float32 [n, d]; zeros for an item without."""
    norm = np.linalg.norm(table.values, axis=1, keepdims=True)
    return np.where(table.present[:, None], table.values / np.maximum(norm, 1e-12), 0.0)


def _table(train: Dataset, name: str | None) -> FeatureTable:
    """Return a feature table of the items.

    Raises:
        InputError: the data have no table of this name.
    """
    if name not in train.features:
        raise InputError(
            f"the items have no feature table '{name}'",
            place="[model]",
            remedy=suggest(str(name), list(train.features)) if train.features else "give features",
        )
    return train.features[str(name)]


def _kept(of_item: np.ndarray, threshold: float) -> np.ndarray:
    """Return min(1, sqrt(t / f)) of each item, float64 [n]; f is its share of all purchases."""
    share = of_item / max(1.0, float(of_item.sum()))
    return np.minimum(1.0, np.sqrt(threshold / np.maximum(share, threshold)))


def _proposal(of_item: np.ndarray, exponent: float) -> np.ndarray:
    """Return the probability of each item as a negative, float64 [n]; 0 without a purchase."""
    weight = np.where(of_item > 0, np.maximum(of_item, 1.0).astype(np.float64) ** exponent, 0.0)
    return np.asarray(weight / weight.sum())
