"""Content neighbours: score items by feature similarity to the user's history; nothing is learned.

Symbols: x_i^m are the features of item i in modality m, minus their mean over the training items
(`centre`); M_i are the modalities that item i has; w_m are their `shares`. Score:

    s(u, j) = sum over items i of u's history among the k most similar to j of S_ij,
    S_ij = sum_{m in both} w_m cos(x_i^m, x_j^m) / sum_{m in both} w_m,

where m runs over the modalities in both M_i and M_j. S_ij is 0 without such a modality, and
where the value is not above 0.

A modality that either item lacks does not count: nothing is imputed. The k most similar items are
searched among the items with a training interaction, as no other item can be in a history, and
never include the item itself. Equal similarities are ordered by item row. So new and known items
are scored alike, and features of new items change no score of another item.

How it is made cheap: similarities are computed a block of items at a time and k per item are kept;
an n x n matrix is never held. The vectors of the items with a training interaction are stored with
the neighbours, 4 bytes a number. An item that is added after training finds its neighbours among
them (`recsys.scorer.feature_neighbours`) and is scored as if it had been in the table without an
interaction.

Source: Lops, de Gemmis, Semeraro, "Content-based recommender systems: state of the art and trends",
Recommender Systems Handbook, 2011, in the form of the item neighbours of Sarwar, Karypis, Konstan,
Riedl, WWW 2001, with features in place of users. Centring, missing modalities and shares are
additions of this project: non-negative features, as of images, all have cosines near 1, and only
the remainder after subtracting their mean distinguishes items.

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
    """Cosine of item features to the user's history, new items included (Lops et al., 2011)."""

    k: Annotated[int, Bound(ge=1)] = 50
    """Neighbours per item, among those with a training interaction; a k of their number or more
    keeps all."""
    shares: tuple[Annotated[float, Bound(ge=0)], ...] = ()
    """Share of each modality in a similarity, in the order of the features of the data; empty:
    equal shares."""
    centre: bool = True
    """Subtract the mean over the training items first."""

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
