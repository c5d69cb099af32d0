"""LightGCN: matrix factorisation whose vectors are averaged over the user-item graph.

Layers: E^(0) is learned; E^(l) = A E^(l-1) with A = D^-1/2 [[0, R], [R^T, 0]] D^-1/2; the vector of a node is the mean of
E^(0..L) at it; the score is the inner product. Objective: BPR over pairs + l2 / (2 B) * squared norms of E^(0) at the batch.
Source: He, Deng, Wang, Li, Zhang, Wang, "LightGCN: simplifying and powering graph convolution network for recommendation",
SIGIR 2020.

Differs from the released code: an epoch visits every observed pair once, where the code draws users uniformly and then a
pair of theirs. `loss` and `sampler` are open as in matrix factorisation.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import Network, embedding, half_square, require_negatives
from recsys.nn.distance import near, near_pool
from recsys.nn.graph import mean_layers, mean_layers_rows, normalised_adjacency
from recsys.nn.losses import Loss, Terms, logits, pair_loss
from recsys.sample import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["LightGCN"]


@settings
class LightGCN:
    """Matrix factorisation over graph-averaged vectors (He et al., SIGIR 2020)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 3
    """Propagations over the graph; 0 is plain matrix factorisation."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of layer 0 at the rows of a batch."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values."""

    def __post_init__(self) -> None:
        require_negatives(self.sampler)

    def build(self, train: Dataset) -> Network:
        return _LightGCN(self, train)


class _LightGCN(Network):
    adjacency: torch.Tensor

    def __init__(self, recipe: LightGCN, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.n_users, self.n_items = train.n_users, train.n_items
        self.nodes = embedding(train.n_users + train.n_items, recipe.dim, recipe.init_std)
        self.register_buffer("adjacency", normalised_adjacency(train.pairs), persistent=False)

    def loss(self, batch: Batch) -> Terms:
        recipe, size = self.recipe, len(batch)
        wanted = torch.cat([batch.user, self.n_users + batch.pos, self.n_users + batch.neg.reshape(-1)])
        rows, where = torch.unique(wanted, return_inverse=True)
        mean, zeroth = mean_layers_rows(self.adjacency, self.nodes.weight, rows, recipe.layers)
        vectors = F.embedding(where, mean)
        user, item, negatives = vectors[:size], vectors[size : 2 * size], vectors[2 * size :]
        pos = near("dot", user, item)
        neg = near_pool("dot", user, negatives) if batch.shared else near("dot", user, negatives.view(*batch.neg.shape, -1))
        pair = pair_loss(recipe.loss, pos, neg, n_items=self.n_items, mask=batch.mask, log_q=batch.log_q)
        extra = recipe.l2 / size * half_square(F.embedding(where, zeroth)) if recipe.l2 else None
        return Terms(pair, extra, logits(recipe.loss, pos, neg, batch.mask))

    def scorer(self) -> Factors:
        vectors = mean_layers(self.adjacency, self.nodes.weight.detach(), self.recipe.layers)
        return Factors(vectors[: self.n_users].clone(), vectors[self.n_users :].clone())
