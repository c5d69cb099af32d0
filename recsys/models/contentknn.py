"""Content neighbours: an item is scored by how much it resembles what the user has met, by its features alone; nothing is learned.

Symbols: x_i^m are the features of item i in modality m, less their mean over the training items (`centre`), M_i the modalities that item i has,
w_m their `shares`. Score:

    s(u, j) = sum over i met by u and among the k most similar to j of S_ij,
    S_ij = sum_{m in both} w_m cos(x_i^m, x_j^m) / sum_{m in both} w_m,        m in both M_i and M_j; 0 if there is none, and where it is not above 0.

A modality that either of the two lacks says nothing: nothing is filled in. The k most similar are sought among the items that have a training pair,
for no other can be in a history, and never the item itself; equal similarities are taken in the order of the item rows. So a new item and an
old one are scored alike, and features of new items change no score of another item.

How it is made cheap: similarities are computed a block of items at a time, and k an item are kept; no n x n matrix is ever held.

Source: Lops, de Gemmis, Semeraro, "Content-based recommender systems: state of the art and trends", Recommender Systems Handbook, 2011, in the form
of the item neighbours of Sarwar, Karypis, Konstan, Riedl, WWW 2001, with features in place of users. Centring, missing modalities and shares are
ours: non-negative features, as of images, all have cosines near 1, and only what is left of them after their mean tells items apart.
Reproduces nothing published.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models.freedom import shares_of
from recsys.nn.content import feature_values, warm_items
from recsys.nn.item_graph import best_columns
from recsys.scorer import Product

__all__ = ["ContentKNN", "similar_items"]

_BLOCK_NUMBERS = 1 << 23  # similarities that are held at a time


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
        values = feature_values(train, impute="zero")
        shares = torch.tensor(shares_of(self.shares, list(values)))
        present = torch.from_numpy(np.stack([train.features[name].present for name in values], axis=1))
        warm = torch.from_numpy(warm_items(train))
        parts = []
        for own, table, share in zip(present.T, values.values(), shares, strict=True):
            known = own & warm
            mean = table[known].double().mean(0).float() if self.centre and bool(known.any()) else table.new_zeros(table.shape[1])
            parts.append(F.normalize(table - mean, dim=1) * own[:, None] * share.sqrt())
        similar = similar_items(torch.cat(parts, dim=1), present * shares.sqrt(), warm.nonzero().view(-1), self.k)
        return Product((train.pairs.csr, similar.T.tocsr()), "history")


def similar_items(vectors: Tensor, present: Tensor, among: Tensor, k: int, *, block: int | None = None) -> sp.csr_matrix:
    """The k items most similar to each item: x_i . x_j / (p_i . p_j), 0 where the divisor is.

    Args:
        vectors: x, float32 [n, d], the modalities of an item one after the other, each of length sqrt(its share), or zeros where it is missing.
        present: p, float32 [n, M], sqrt(share) of the modalities that an item has, zeros for the others.
        among: ascending item rows that may be neighbours, int64 [W].
        k: how many at most; what is not above zero is no neighbour.
        block: items at a time; None: as many as keep the working memory near 32 MB a matrix.

    Returns:
        CSR float32 [n, n], row j holds the neighbours of item j.
    """
    n, size = len(vectors), block or max(1, _BLOCK_NUMBERS // max(1, len(among)))
    theirs, have = vectors[among], present[among]
    place = torch.full((n,), -1, dtype=torch.int64)
    place[among] = torch.arange(len(among))
    found: list[tuple[np.ndarray, ...]] = []
    for start in range(0, n, size):
        rows = slice(start, start + size)
        both = present[rows] @ have.T
        likeness = (vectors[rows] @ theirs.T).div_(torch.where(both > 0, both, torch.inf))
        own = place[rows]
        at = (own >= 0).nonzero().view(-1)
        likeness[at, own[at]] = -torch.inf
        columns = best_columns(likeness, min(k, len(among)))
        weight = likeness.gather(1, columns)
        row, kept = (weight > 0).nonzero(as_tuple=True)
        found.append(tuple(part.numpy() for part in (row + start, among[columns[row, kept]], weight[row, kept])))
    rows_of, columns_of, values = (np.concatenate(part) for part in zip(*found, strict=True))
    matrix = sp.csr_matrix((values, (rows_of, columns_of)), shape=(n, n), dtype=np.float32)
    matrix.sort_indices()
    return matrix
