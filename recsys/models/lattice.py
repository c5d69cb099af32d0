"""LATTICE: items averaged over a graph of similar items, part of which is learned.

Symbols: E_u and E_i are learned. In each modality m, two graphs join every item with its k nearest
by cosine, including itself: one of the raw features x^m, which is fixed, and one of W_m x^m + b_m,
which is learned. Their weights are the cosines, normalised to w_ij / sqrt(d_i d_j). With a =
softmax of one learned number per modality,

    S = sum_m a_m (keep S_raw^m + (1 - keep) S_learned^m),    h = S E_i,    e_i = g_i + h_i / |h_i|,

where e_u and g_i are the mean of layers 0..L of (D + I)^-1 (A + I), A the user-item graph.
Objective: mean over observed pairs (u, i) of -log sigmoid(e_u . e_i - e_u . e_j) + l2 / (2 B) *
squared norms of e_u, e_i, e_j over the batch, where j are the sampled negatives.

The learned graph is computed at the first step of an epoch, which is the only one with a gradient
through it. It is fixed for the rest of the epoch and used for ranking.

Source: Zhang, Zhu, Liu, Wu, Wang, Wang, "Mining latent structures for multimedia recommendation",
MM 2021.

How a step is made cheap without changing its result: similarities are compared a block of rows at a
time and k per item are kept, where the released code holds n x n matrices. While the graphs are
fixed, h is one sparse product. With N = (D + I)^-1/2 (A + I) (D + I)^-1/2 the layers are (D +
I)^-1/2 N^l (D + I)^1/2 E, symmetric except for two scales, so that the backward pass needs no other
matrix.

Differs from the released code: similarities below zero count as zero, so that no degree is
negative. `normalise` selects whether graphs are normalised before or after they are mixed over the
modalities (RECONSTRUCTED). Its decay of the step size, 0.96^(epoch / 50), is left to the training
settings. The regularisation is divided by the batch; there, by 2048 also for a smaller one.

Others report on MMRec's split of Amazon Baby: recall@10 / 20 0.0547 / 0.0850, ndcg@10 / 20 0.0292 /
0.0370. Not run here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset, Interactions
from recsys.models import NeedsNegatives, Network
from recsys.nn.distinct import distinct
from recsys.nn.feature_layers import FeatureProjection, Impute, Scale, values_and_known
from recsys.nn.graph import mean_layers, mean_layers_rows, symmetric
from recsys.nn.item_graph import nearest_items, normalised, similarities, spread
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.scores import pair_scores
from recsys.nn.sparse_product import SparseProduct
from recsys.nn.tables import half_square, node_table
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["LATTICE", "looped"]


@settings
class LATTICE(NeedsNegatives):
    """LightGCN plus a partly learned graph of similar items (Zhang et al., MM 2021)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 2
    """Number of propagations over the user-item graph."""
    k: Annotated[int, Bound(ge=1)] = 10
    """Neighbours of an item in each graph, including itself. An item that lacks a modality has only
    itself, unless `impute` gives it the vector of another item."""
    keep: Annotated[float, Bound(ge=0, le=1)] = 0.9
    """Share of the graphs of raw features; the learned graphs have the rest."""
    normalise: Literal["each", "mixed"] = "each"
    """each: normalise the graph of every modality separately. mixed: normalise their sum
    (RECONSTRUCTED)."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm), as in the released code, or
    from all items."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of the vectors of a batch (RECONSTRUCTED: its value)."""
    train_features: bool = True
    """Train the feature tables, at the first step of an epoch (RECONSTRUCTED)."""
    scale: Scale = "none"
    """row: scale every row of features to length 1 at the start."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

    def build(self, train: Dataset) -> Network:
        return _LATTICE(self, train)


class _LATTICE(Network):
    adjacency: Tensor
    root: Tensor
    raw_neighbours: Tensor
    raw_weight: Tensor
    learned_neighbours: Tensor
    weight: Tensor

    def __init__(self, recipe: LATTICE, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.n_users, self.n_items = train.n_users, train.n_items
        self.nodes = node_table(train.n_users, train.n_items, recipe.dim)
        values, known = values_and_known(train, impute=recipe.impute, scale=recipe.scale)
        self.known = tuple(known[name] for name in values)
        self.told = FeatureProjection(
            values, recipe.dim, train=recipe.train_features, start="xavier"
        )
        self.mix = nn.Parameter(torch.zeros(len(values)))
        adjacency, root = looped(train.pairs)
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.register_buffer("root", root, persistent=False)
        neighbours = [
            nearest_items(value, recipe.k, known=known)
            for value, known in zip(values.values(), self.known, strict=True)
        ]
        weight = [
            similarities(value, nearest)
            for value, nearest in zip(values.values(), neighbours, strict=True)
        ]
        self.register_buffer("raw_neighbours", torch.stack(neighbours), persistent=False)
        self.register_buffer("raw_weight", torch.stack(weight), persistent=False)
        # Read by the scorer and by all steps but the first of an epoch; part of a checkpoint.
        self.register_buffer("learned_neighbours", torch.zeros_like(self.raw_neighbours))
        modalities, _, k = self.raw_neighbours.shape
        self.register_buffer("weight", torch.zeros(train.n_items, 2 * modalities * k))
        self.still: tuple[int, SparseProduct] | None = None
        with torch.no_grad():
            self._learn()

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        weight = self._learn() if batch.step == 0 else self.weight
        users, (user_at,) = distinct(batch.user, n=self.n_users)
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=self.n_items)
        nodes = torch.cat([users, self.n_users + items])
        mean, _ = mean_layers_rows(
            self.adjacency, self.nodes.weight * self.root, nodes, recipe.layers
        )
        mean = mean / self.root[nodes]
        if batch.step == 0:  # the only step with a gradient for the weights
            alike = spread(
                self._neighbours(items), weight[items], self.nodes.weight[self.n_users :]
            )
        else:
            alike = self._alike()(self.nodes.weight[self.n_users :], items)
        vectors = mean[len(users) :] + F.normalize(alike, dim=1)
        user = F.embedding(user_at, mean[: len(users)])
        item, negatives = F.embedding(pos_at, vectors), F.embedding(neg_at, vectors)
        pos, neg = pair_scores(batch, user, item, negatives)
        pair = pair_loss(
            recipe.loss, pos, neg, n_items=self.n_items, mask=batch.mask, log_q=batch.log_q
        )
        return Terms(
            pair, recipe.l2 / len(batch) * half_square(user, item, negatives) if recipe.l2 else None
        )

    def _learn(self) -> Tensor:
        """Recompute and store the learned graph.

        Returns:
            The weights of all graphs [n_items, K], with a gradient.
        """
        projected = self.told()
        with torch.no_grad():
            nearest = (
                nearest_items(vectors, self.recipe.k, known=known)
                for vectors, known in zip(projected, self.known, strict=True)
            )
            self.learned_neighbours.copy_(torch.stack(list(nearest)))
        learned = torch.stack(
            [
                similarities(vectors, nearest)
                for vectors, nearest in zip(projected, self.learned_neighbours, strict=True)
            ]
        )
        raw, neighbours = self.raw_weight, self.learned_neighbours
        share = self.mix.softmax(0)
        if self.recipe.normalise == "each":
            raw, learned = (
                torch.stack([normalised(n, w) for n, w in zip(*both, strict=True)])
                for both in ((self.raw_neighbours, raw), (neighbours, learned))
            )
        raw, learned = (_flat(share[:, None, None] * part) for part in (raw, learned))
        if self.recipe.normalise == "mixed":
            raw, learned = (
                normalised(_flat(self.raw_neighbours), raw),
                normalised(_flat(neighbours), learned),
            )
        weight = torch.cat([self.recipe.keep * raw, (1 - self.recipe.keep) * learned], dim=1)
        self.weight.copy_(weight.detach())
        return weight

    def _neighbours(self, items: Tensor) -> Tensor:
        """Return the neighbours of some items in all graphs, [R, K]."""
        return torch.cat(
            [
                _flat(part.index_select(1, items))
                for part in (self.raw_neighbours, self.learned_neighbours)
            ],
            dim=1,
        )

    def _alike(self) -> SparseProduct:
        """Return the sum of the stored graphs, which is cached until they change."""
        version = self.weight._version
        if self.still is None or self.still[0] != version:
            every = torch.arange(self.n_items, device=self.weight.device)
            graph = SparseProduct.of_neighbours(self._neighbours(every), self.weight)
            self.still = version, graph
        return self.still[1]

    @torch.no_grad()
    def scorer(self) -> Factors:
        start = self.nodes.weight
        mean = mean_layers(self.adjacency, start * self.root, self.recipe.layers) / self.root
        user, item = torch.split(mean, [self.n_users, self.n_items])
        similar = F.normalize(self._alike()(start[self.n_users :]), dim=1)
        return Factors(user.clone(), item + similar, by_features=True)


def _flat(tables: Tensor) -> Tensor:
    """Concatenate tables [M, R, k] to [R, M k]."""
    return tables.transpose(0, 1).flatten(1)


def looped(pairs: Interactions) -> tuple[Tensor, Tensor]:
    """Return (D + I)^-1/2 (A + I) (D + I)^-1/2 of the user-item graph A, and the root of D + I.

    Returns:
        Sparse CSR float32 [N, N] with int32 indices, symmetric, and [N, 1].
    """
    observed = pairs.csr.astype(np.float64)
    bipartite = sp.bmat([[None, observed], [observed.T, None]], format="csr")
    whole = bipartite + sp.identity(pairs.n_users + pairs.n_items, format="csr")
    root = np.sqrt(np.asarray(whole.sum(1)).ravel())
    graph = symmetric((sp.diags(1 / root) @ whole @ sp.diags(1 / root)).tocsr())
    return graph, torch.from_numpy(root.astype(np.float32))[:, None]
