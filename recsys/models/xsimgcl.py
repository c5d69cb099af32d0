"""XSimGCL: SimGCL with a contrast between two layers of one noisy propagation, which also ranks.

Symbols and noise are those of SimGCL: E^(l) = A E^(l-1) + eps * sign(A E^(l-1)) * n. A single such
propagation gives the vectors e that are ranked, the mean of layers 1..L, and the other side of the
contrast, z = E^(l*) at the layer l* = `contrast_layer`. Objective:

    mean over observed pairs (u, i) of -log sigmoid(e_u . e_i - e_u . e_j)
    + l2 / (2 B) * squared norms of E^(0) at the batch
    + contrast * (InfoNCE over the distinct users of the batch + over its distinct positives),
      between e and z by cosine.

One propagation a step instead of three. Items are ranked by the propagation without noise.

Source: Yu, Xia, Chen, Cui, Hung, Yin, "XSimGCL: towards extremely simple graph contrastive learning
for recommendation", TKDE 2023.

Differs from the authors' library (SELFRec) as SimGCL does: l2 is half a squared norm of E^(0).

Should reproduce (LightGCN split of Yelp2018, these settings, batch 2048, lr 1e-3): recall@20 /
ndcg@20 0.0723 / 0.0604, from the README of SELFRec, selected on test.
"""

from __future__ import annotations

from typing import Annotated

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import NeedsNegatives, Network
from recsys.models._graph_contrast import GraphContrast, Rows
from recsys.nn.losses import Loss, Terms
from recsys.nn.noisy_layers import noisy_layers_rows
from recsys.sampling import Batch, Sampler

__all__ = ["XSimGCL"]


@settings
class XSimGCL(NeedsNegatives):
    """LightGCN with noise and a contrast of one layer with the mean (Yu et al., TKDE 2023)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    layers: Annotated[int, Bound(ge=1, le=10)] = 3
    """Number of propagations over the graph."""
    contrast_layer: Annotated[int, Bound(ge=1, le=10)] = 1
    """Layer that the mean of all layers is contrasted with, l* of the paper; at most `layers`."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    contrast: Annotated[float, Bound(ge=0)] = 0.2
    """Weight of the contrast, lambda of the paper."""
    temperature: Annotated[float, Bound(gt=0)] = 0.15
    """Temperature of the contrast."""
    eps: Annotated[float, Bound(ge=0)] = 0.2
    """Length of the noise that is added to a node at every layer."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of layer 0 at the rows of a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contrast_layer > self.layers:
            raise InputError(
                f"contrast_layer must be at most layers = {self.layers}, got {self.contrast_layer}",
                remedy="use one of the layers",
            )

    def build(self, train: Dataset) -> Network:
        return _XSimGCL(self, train)


class _XSimGCL(GraphContrast):
    def loss(self, batch: Batch) -> Terms:
        recipe, rows = self.recipe, Rows(batch, self.n_users, self.n_items)
        layers, zeroth = noisy_layers_rows(
            self.adjacency, self.nodes.weight, rows.nodes, recipe.layers, (recipe.eps,)
        )
        mean = layers[0].mean(0)
        pair, labels = self.pairs(batch, rows, mean)
        extra = (
            self.extra(batch, rows, mean, layers[0, recipe.contrast_layer - 1], zeroth)
            if recipe.contrast or recipe.l2
            else None
        )
        return Terms(pair, extra, labels)
