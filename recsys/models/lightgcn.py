"""LightGCN: matrix factorisation with vectors averaged over the user-item graph.

Layers: E^(0) is learned; E^(l) = A E^(l-1) with A = D^-1/2 [[0, R], [R^T, 0]] D^-1/2; the vector of
a node is the mean of E^(0..L) at it; the score is the inner product. Objective: BPR over pairs + l2
/ (2 B) * squared norms of E^(0) at the batch.

Source: He, Deng, Wang, Li, Zhang, Wang, "LightGCN: simplifying and powering graph convolution
network for recommendation", SIGIR 2020.

`mix` is MixGCF: the negative of a pair is not one of its K candidates, but is synthesised from them
layer by layer,

    e'^(l) = a_l e_i^(l) + (1 - a_l) e_j^(l),

with a_l from U(0, 1) for each pair and layer, and j the candidate of largest e_u . e_j^(l), where
e_u is the vector of the user, the mean over layers. The mean of e'^(0..L) is the negative. Huang et
al., "MixGCF: an improved training method for graph neural network-based recommender systems", KDD
2021: 16 to 64 candidates, l2 1e-4. RECONSTRUCTED: in l2, e'^(0) replaces the negative. Should
reproduce (LightGCN split of Yelp2018, 64 candidates, lr 1e-3, batch 2048): recall@20 0.0713 with
and 0.0628 without, selected on test.

Differs from the released code: an epoch visits every observed pair once, where the code draws users
uniformly and then one of their pairs. `loss` and `sampler` are free as in matrix factorisation.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import similarity
from recsys.nn.distinct import distinct
from recsys.nn.graph import mean_layers, mean_layers_rows, normalised_adjacency
from recsys.nn.hardness import hardest_layers, mixed
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.noisy_layers import noisy_layers_rows
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["LightGCN"]


@settings
class LightGCN(NeedsNegatives):
    """Matrix factorisation over graph-averaged vectors (He et al., SIGIR 2020)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 3
    """Number of propagations over the graph; 0 is plain matrix factorisation."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    mix: bool = False
    """Mix the negative from the positive and the hardest candidate of each layer (MixGCF); needs
    several candidates, 16 to 64."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of layer 0 at the rows of a batch."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mix and (self.sampler.pool != "own" or self.sampler.negatives < 2):
            raise InputError(
                "mix = true takes the hardest of several candidates per pair, "
                f"got {_candidates(self.sampler)}",
                remedy='use sampler.pool = "own" and sampler.negatives = 16, or more',
            )
        if self.mix and self.loss.reduce != "each":
            raise InputError(
                f"mix = true gives one negative per pair, and loss.reduce = '{self.loss.reduce}' "
                "needs several",
                remedy='use loss.reduce = "each"',
            )

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
        if self.recipe.mix:
            return self._mixed(batch)
        recipe, size = self.recipe, len(batch)
        rows, (where,) = self._rows(batch)
        mean, zeroth = mean_layers_rows(self.adjacency, self.nodes.weight, rows, recipe.layers)
        vectors = F.embedding(where, mean)
        user, item = vectors[:size], vectors[size : 2 * size]
        pos, neg = pair_scores(batch, user, item, vectors[2 * size :])
        extra = recipe.l2 / size * half_square(F.embedding(where, zeroth)) if recipe.l2 else None
        return pair_terms(
            recipe.loss,
            pos,
            neg,
            n_items=self.n_items,
            mask=batch.mask,
            log_q=batch.log_q,
            extra=extra,
        )

    def _rows(self, batch: Batch) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return the distinct nodes of a batch, and the index among them of its nodes.

        They are users, positives and negatives, in this order, [2 B + B K or K].
        """
        nodes = torch.cat(
            [batch.user, self.n_users + batch.pos, self.n_users + batch.neg.reshape(-1)]
        )
        return distinct(nodes, n=self.n_users + self.n_items)

    def _mixed(self, batch: Batch) -> Terms:
        """Return the loss with one synthetic negative per pair."""
        recipe, size = self.recipe, len(batch)
        rows, (where,) = self._rows(batch)
        layers = self._layers(rows)
        # All layers in one table: layer l of row r is its row l * R + r.
        table = layers.flatten(0, 1)
        each = torch.arange(len(layers), device=rows.device) * len(rows)
        user, item = (
            F.embedding(at[:, None] + each, table) for at in torch.split(where[: 2 * size], size)
        )
        mean, candidates = user.mean(1), where[2 * size :].view(batch.neg.shape)
        index = hardest_layers(
            mean[:, None], F.embedding(candidates[:, :, None] + each, table.detach()), batch.mask
        )
        # Only the chosen candidates are read again with a gradient.
        hardest = F.embedding(candidates.gather(1, index) + each, table)
        synthetic = mixed(user, item, hardest[:, None])
        pos, neg = (
            similarity("dot", mean, item.mean(1)),
            similarity("dot", mean, synthetic.mean(1))[:, None],
        )
        mask = None if batch.mask is None else batch.mask.any(1, keepdim=True)
        extra = (
            recipe.l2 / size * half_square(user[:, 0], item[:, 0], synthetic[:, 0])
            if recipe.l2
            else None
        )
        # A synthetic negative was not drawn: so no proposal needs a correction.
        return pair_terms(recipe.loss, pos, neg, n_items=self.n_items, mask=mask, extra=extra)

    def _layers(self, rows: torch.Tensor) -> torch.Tensor:
        """Return layers 0..L at distinct nodes, [L + 1, R, d]."""
        if not self.recipe.layers:
            return self.nodes.weight.index_select(0, rows)[None]
        above, zeroth = noisy_layers_rows(
            self.adjacency, self.nodes.weight, rows, self.recipe.layers, (0.0,)
        )
        return torch.cat([zeroth[None], above[0]])

    def scorer(self) -> Factors:
        vectors = mean_layers(self.adjacency, self.nodes.weight.detach(), self.recipe.layers)
        return Factors(vectors[: self.n_users].clone(), vectors[self.n_users :].clone())


def _candidates(sampler: Sampler) -> str:
    """Return the setting that leaves a pair without several candidates of its own."""
    if sampler.pool != "own":
        return f"sampler.pool = '{sampler.pool}'"
    return f"sampler.negatives = {sampler.negatives}"
