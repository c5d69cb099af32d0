"""Content neighbours: an item is scored by how much it resembles what the user has met, by its features alone; nothing is learned.

Symbols: x_i^m are the features of item i in modality m, less their mean over the training items (`centre`), M_i the modalities that item i has,
w_m their `shares`. Score:

    s(u, j) = sum over i met by u and among the k most similar to j of S_ij,
    S_ij = sum_{m in both} w_m cos(x_i^m, x_j^m) / sum_{m in both} w_m,        m in both M_i and M_j; 0 if there is none, and where it is not above 0.

A modality that either of the two lacks says nothing: nothing is filled in. The k most similar are sought among the items that have a training pair,
for no other can be in a history, and never the item itself; equal similarities are taken in the order of the item rows. So a new item and an
old one are scored alike, and features of new items change no score of another item.

How it is made cheap: similarities are computed a block of items at a time, and k an item are kept; no n x n matrix is ever held. The vectors of the
items with a training pair are kept beside them, 4 bytes a number, so that an item that comes after training finds its neighbours among them
(`recsys.scorer.feature_neighbours`) and is scored as it would have been, had it been in the table without a pair.

Source: Lops, de Gemmis, Semeraro, "Content-based recommender systems: state of the art and trends", Recommender Systems Handbook, 2011, in the form
of the item neighbours of Sarwar, Karypis, Konstan, Riedl, WWW 2001, with features in place of users. Centring, missing modalities and shares are
ours: non-negative features, as of images, all have cosines near 1, and only what is left of them after their mean tells items apart.
Reproduces nothing published.
"""

from __future__ import annotations

from typing import Annotated

import torch

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.nn.feature_layers import feature_values, warm_items
from recsys.nn.modality_shares import shares_of
from recsys.scorer import Product
from recsys.scorer.feature_neighbours import Aspect, Resemblance

__all__ = ["ContentKNN"]


@settings
class ContentKNN:
    """Content neighbours: cosine of item features to what the user has met, new items too (Lops et al., 2011)."""

    k: Annotated[int, Bound(ge=1)] = 50
    """Neighbours of an item, among those with a training pair; as many as there are or more keeps all."""
    shares: tuple[Annotated[float, Bound(ge=0)], ...] = ()
    """Of each modality in a similarity, in the order of the features of the data; empty: all alike."""
    centre: bool = True
    """Whether the mean over the training items is taken off first."""

    def build(self, train: Dataset) -> Product:
        values, warm = feature_values(train, impute="zero"), warm_items(train)
        aspects = []
        for (name, table), share in zip(
            values.items(), shares_of(self.shares, list(values)), strict=True
        ):
            known = torch.from_numpy(train.features[name].present & warm)
            mean = (
                table[known].double().mean(0).float()
                if self.centre and bool(known.any())
                else table.new_zeros(table.shape[1])
            )
            aspects.append(Aspect(name, mean, float(share)))
        content = Resemblance.of(train.features, tuple(aspects), warm, self.k)
        similar = content.neighbours(train.features, train.n_items, own=True)
        return Product((train.pairs.csr, similar.T.tocsr()), "history", content)
