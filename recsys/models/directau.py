"""DirectAU: alignment of users with items and uniformity on the sphere, without negatives.

Symbols: u~ and i~ are the vectors of user u and item i scaled to length 1. The vectors are rows of
a table, or, with `layers` above 0, means over the propagated layers of LightGCN. Objective over the
B observed pairs (u, i) of a batch:

    mean of |u~ - i~|^2  +  gamma / 2 * ( U(users of the pairs) + U(items of the pairs) )
        +  l2 / 2 * squared norms of all start vectors,
    U = log( mean over pairs v < w of the batch of exp(-2 |v~ - w~|^2) )

The first part, alignment, is the loss of each pair; the second, uniformity, belongs to none. A user
or item that occurs twice in a batch counts twice. Items are ranked by the inner product of the
unscaled vectors.

Source: Wang, Yu, Ma, Zhang, Chen, Liu, Ma, "Towards representation alignment and uniformity in
collaborative filtering", KDD 2022, after Wang and Isola, ICML 2020, for the two parts.

How it is made cheap: |v~ - w~|^2 = 2 - 2 v~ . w~, so U is one matrix product and a log-sum-exp of
it.

Differs: an item that is twice in a batch counts in U as in the authors' code. A batch of one pair
has no U, where theirs is NaN. `l2` decays every row at every step, as the weight decay of their
optimiser does; with l2 = 0 and layers = 0 only the rows of a batch have a gradient. The start
values are theirs, N(0, 2 / (n + dim)) for a table of n rows.

gamma is 0.5 on Beauty, 5 on Gowalla and 1 on Yelp, each in the authors' own split (README of their
code: weight decay 1e-6, batch 256 to 1024).

Should reproduce (LightGCN split of Yelp2018, layers 3, gamma 2): recall@20 / ndcg@20 0.0695 /
0.0583 from the README of SELFRec, selected on test; CAFU quotes 0.0709 / 0.0586.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import Network
from recsys.nn.distance import similarity
from recsys.nn.distinct import distinct
from recsys.nn.graph import mean_layers, mean_layers_rows, normalised_adjacency
from recsys.nn.losses import Terms
from recsys.nn.tables import embedding, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["DirectAU", "uniformity"]


@settings
class DirectAU:
    """Alignment of users with items, and uniformity, without negatives (Wang et al., KDD 2022)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    gamma: Annotated[float, Bound(ge=0)] = 1.0
    """Weight of uniformity."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 0
    """Number of propagations over the graph, as in LightGCN; 0: use the learned vectors."""
    l2: Annotated[float, Bound(ge=0)] = 1e-6
    """Weight of half the squared norms of all vectors, in the batch or not."""

    def build(self, train: Dataset) -> Network:
        return _DirectAU(self, train)


class _DirectAU(Network):
    adjacency: Tensor

    def __init__(self, recipe: DirectAU, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, Sampler(negatives=0)
        self.user, self.item = (
            embedding(n, recipe.dim, (2 / (n + recipe.dim)) ** 0.5)
            for n in (train.n_users, train.n_items)
        )
        if recipe.layers:
            self.register_buffer("adjacency", normalised_adjacency(train.pairs), persistent=False)
        elif not recipe.l2:
            self.rows = (self.user, self.item)

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        user, item = (F.normalize(vectors, dim=-1) for vectors in self._vectors(batch))
        extra = recipe.gamma / 2 * (uniformity(user) + uniformity(item))
        if recipe.l2:
            extra = extra + recipe.l2 * half_square(self.user.weight, self.item.weight)
        return Terms(-similarity("euclidean", user, item), extra)

    def _vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the vectors of the users and of the items of the pairs, each [B, d]."""
        if not self.recipe.layers:
            return self.user(batch.user), self.item(batch.pos)
        start = torch.cat([self.user.weight, self.item.weight])
        nodes = torch.cat([batch.user, len(self.user.weight) + batch.pos])
        rows, (where,) = distinct(nodes, n=len(start))
        vectors = F.embedding(
            where, mean_layers_rows(self.adjacency, start, rows, self.recipe.layers)[0]
        )
        return vectors[: len(batch)], vectors[len(batch) :]

    def scorer(self) -> Factors:
        user, item = self.user.weight.detach(), self.item.weight.detach()
        if self.recipe.layers:
            vectors = mean_layers(self.adjacency, torch.cat([user, item]), self.recipe.layers)
            user, item = vectors[: len(user)], vectors[len(user) :]
        return Factors(user.clone(), item.clone())


def uniformity(vectors: Tensor) -> Tensor:
    """Return log(mean over pairs of rows of exp(-2 * squared distance)), a scalar.

    It is 0 for a single row, which has no pair.

    Args:
        vectors: rows of length 1, [n, d].
    """
    n = len(vectors)
    if n < 2:
        return vectors.sum() * 0
    # Distances of close vectors are differences of close numbers: no half precision.
    with torch.autocast(vectors.device.type, enabled=False):
        vectors = vectors.float() if vectors.dtype == torch.bfloat16 else vectors
        exponent = (4 * (vectors @ vectors.T) - 4).fill_diagonal_(-torch.inf)
        return exponent.flatten().logsumexp(0) - torch.log(vectors.new_full((), float(n * (n - 1))))
