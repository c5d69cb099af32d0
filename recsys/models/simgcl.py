"""SimGCL: LightGCN with a contrast between two views of every node that differ by noise only.

Symbols: E^(0) is learned; A = D^-1/2 [[0, R], [R^T, 0]] D^-1/2. A view is a propagation with noise
added to every layer,

    E^(l) = A E^(l-1) + eps * sign(A E^(l-1)) * n,

with n drawn from U(0, 1)^dim for each node and scaled to length 1. The vector of a node is the mean
of its layers 1..L: layer 0, which has no noise, is left out. e_u, e_i are vectors of the
propagation without noise, z' and z'' those of two noisy ones. Objective:

    mean over observed pairs (u, i) of -log sigmoid(e_u . e_i - e_u . e_j)
    + l2 / (2 B) * squared norms of E^(0) at the batch
    + contrast * (InfoNCE over the distinct users of the batch + over its distinct positives),

    InfoNCE = mean over nodes v of
        -log( exp(cos(z'_v, z''_v) / temperature)
              / sum over nodes w of exp(cos(z'_v, z''_w) / temperature) ),

where j is the sampled negative. Items are ranked by the propagation without noise.

Source: Yu, Yin, Xia, Chen, Cui, Nguyen, "Are graph augmentations necessary? Simple graph
contrastive learning for recommendation", SIGIR 2022.

How it is made cheap without changing its result: noise has no gradient, so the three propagations
are one linear map with three constants. They run together as one product of width 3 dim, their
first layer is one product, and backwards only the sum of their gradients is propagated: about 4 L
products of width dim instead of 6 L.

Differs from the authors' library (SELFRec): l2 is half a squared norm of E^(0), where the library
takes the norm, not squared, of the vectors that are ranked. The start is that of the library,
Xavier uniform for users and items separately; compared with a larger start the noise, whose length
is fixed, would be smaller.

Should reproduce (LightGCN split of Yelp2018, these settings, batch 2048, lr 1e-3): recall@20 /
ndcg@20 0.0721 / 0.0601, from the README of SELFRec, selected on test; 0.0517 / 0.0412 on
Amazon-Book is quoted from CAFU. With batches of 8192, others report 0.0613 on Yelp2018.
"""

from __future__ import annotations

from typing import Annotated

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.models._graph_contrast import GraphContrast, Rows
from recsys.nn.losses import Loss, Terms
from recsys.nn.noisy_layers import noisy_layers_rows
from recsys.sampling import Batch, Sampler

__all__ = ["SimGCL"]


@settings
class SimGCL(NeedsNegatives):
    """LightGCN with a contrast between two noisy propagations (Yu et al., SIGIR 2022)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    layers: Annotated[int, Bound(ge=1, le=10)] = 3
    """Number of propagations over the graph."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    contrast: Annotated[float, Bound(ge=0)] = 0.5
    """Weight of the contrast, lambda of the paper."""
    temperature: Annotated[float, Bound(gt=0)] = 0.2
    """Temperature of the contrast."""
    eps: Annotated[float, Bound(ge=0)] = 0.1
    """Length of the noise that is added to a node at every layer."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of layer 0 at the rows of a batch."""

    def build(self, train: Dataset) -> Network:
        return _SimGCL(self, train)


class _SimGCL(GraphContrast):
    def loss(self, batch: Batch) -> Terms:
        recipe, rows = self.recipe, Rows(batch, self.n_users, self.n_items)
        levels = (0.0, recipe.eps, recipe.eps) if recipe.contrast else (0.0,)
        layers, zeroth = noisy_layers_rows(
            self.adjacency, self.nodes.weight, rows.nodes, recipe.layers, levels
        )
        clean, *noisy = layers.mean(1)
        one, other = noisy or (clean, clean)
        pair, labels = self.pairs(batch, rows, clean)
        return Terms(
            pair,
            self.extra(batch, rows, one, other, zeroth) if recipe.contrast or recipe.l2 else None,
            labels,
        )
