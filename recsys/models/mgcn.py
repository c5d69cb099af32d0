"""MGCN: features gated by behaviour, spread over graphs of similar items, and fused by attention.

Symbols: E_u and E_i are learned; b is the mean of layers 0..L of LightGCN on them. In each modality
m

    q_i = E_i * sigmoid(V_m (W_m x_i + c_m) + d_m)    gated by the content
    z_i = (S^m q)_i                                   S^m: the k nearest by cosine of raw features,
                                                      including itself, w_ij / sqrt(d_i d_j)
    z_u = sum over items i of u of z_i / sqrt(d_u d_i).

For the modalities of a node, w = softmax over m of a . tanh(Q z^m + r), c = sum_m w_m z^m is their
common part, s^m = (z^m - c) * sigmoid(G_m b + g_m) is their specific part, and side = (c + sum_m
s^m) / (|M| + 1); e = b + side. Objective: mean over observed pairs (u, i) of

    -log sigmoid(e_u . e_i - e_u . e_j)
    + l2 / (2 B) * squared norms of e_u, e_i, e_j over the batch
    + contrast * [ InfoNCE(side_i, b_i) + InfoNCE(side_u, b_u) ],

InfoNCE by cosine over the users and over the positives of the batch. Score: e_u . e_i.

Source: Yu, Tan, Lu, Bao, "Multi-view graph convolutional network for multimedia recommendation", MM
2023.

How a step is made cheap without changing its result: vectors of users and fused vectors are
computed at the rows of the batch only; the item graph has k numbers per item. The contrast takes a
node that occurs several times in a batch once, with its count, and a block of nodes at a time.

Differs from the released code: similarities below zero count as zero. Its decay of the step size,
0.96^(epoch / 50), is left to the training settings. The regularisation is divided by the batch;
there, by 2048 also for a smaller one. `distinct_nodes` takes a user or item that occurs twice in a
batch once in the contrast, where the released code has it as a negative of itself. Whether the
feature tables are trained is RECONSTRUCTED.

Others report on MMRec's split of Amazon Baby: recall@10 / 20 0.0620 / 0.0964, ndcg@10 / 20 0.0339 /
0.0427. Not run here.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distinct import counted, distinct, once
from recsys.nn.feature_layers import FeatureProjection, Impute, Scale, affine, values_and_known
from recsys.nn.graph import (
    mean_layers,
    mean_layers_rows,
    normalised_adjacency,
    normalised_pairs,
)
from recsys.nn.infonce import contrast
from recsys.nn.item_graph import as_matrix, nearest_items, normalised, similarities
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.scores import pair_scores
from recsys.nn.sparse_product import SparseProduct
from recsys.nn.tables import half_square, node_table
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["MGCN"]

_BLOCK = 8192  # users whose histories are gathered at a time


@settings
class MGCN(NeedsNegatives):
    """Gated features on item graphs, fused, with a contrast to behaviour (Yu et al., MM 2023)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 2
    """Number of propagations over the user-item graph."""
    k: Annotated[int, Bound(ge=1)] = 10
    """Neighbours of an item in each modality, including itself. An item that lacks the modality has
    only itself, unless `impute` gives it the vector of another item."""
    contrast: Annotated[float, Bound(ge=0)] = 0.01
    """Weight of the contrast; the paper tunes 0.001, 0.01 and 0.1."""
    temperature: Annotated[float, Bound(gt=0)] = 0.2
    """Temperature of the contrast."""
    distinct_nodes: bool = False
    """Take each user and item of a batch once in the contrast; false in the released code."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm), as in the released code, or
    from all items."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of the vectors of a batch."""
    train_features: bool = True
    """Train the feature tables (RECONSTRUCTED). The item graphs are those of the raw features."""
    scale: Scale = "none"
    """row: scale every row of features to length 1 at the start."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

    def build(self, train: Dataset) -> Network:
        return _MGCN(self, train)


class _MGCN(Network):
    adjacency: Tensor

    def __init__(self, recipe: MGCN, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.n_users, self.n_items = train.n_users, train.n_items
        self.nodes = node_table(train.n_users, train.n_items, recipe.dim)
        values, known = values_and_known(train, impute=recipe.impute, scale=recipe.scale)
        dim = recipe.dim
        self.told = FeatureProjection(values, dim, train=recipe.train_features)
        self.gates = nn.ModuleList(affine(dim, dim) for _ in values)
        self.ask, self.answer = affine(dim, dim), affine(dim, 1, bias=False)
        self.own_gates = nn.ModuleList(affine(dim, dim) for _ in values)
        self.graphs = nn.ModuleList()
        for name, value in values.items():
            nearest = nearest_items(value, recipe.k, known=known[name])
            weight = normalised(nearest, similarities(value, nearest))
            self.graphs.append(SparseProduct(as_matrix(nearest, weight)))
        self.register_buffer("adjacency", normalised_adjacency(train.pairs), persistent=False)
        self.of_users = SparseProduct(normalised_pairs(train.pairs))

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        users, (user_at,) = distinct(batch.user, n=self.n_users)
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=self.n_items)
        behaviour, _ = mean_layers_rows(
            self.adjacency,
            self.nodes.weight,
            torch.cat([users, self.n_users + items]),
            recipe.layers,
        )
        spread = self._spread()
        content = torch.cat([self.of_users(spread, users), spread.index_select(0, items)])
        side = self._fused(content, behaviour)
        both = behaviour + side
        pos_at, neg_at = pos_at + len(users), neg_at + len(users)
        user, item, negatives = (F.embedding(at, both) for at in (user_at, pos_at, neg_at))
        pos, neg = pair_scores(batch, user, item, negatives)
        pair = pair_loss(
            recipe.loss, pos, neg, n_items=self.n_items, mask=batch.mask, log_q=batch.log_q
        )
        extra = (
            recipe.l2 / len(batch) * half_square(user, item, negatives)
            if recipe.l2
            else user.new_zeros(())
        )
        if recipe.contrast:
            for at in (user_at, pos_at):
                nodes, count = counted(at, len(both))
                views = side.index_select(0, nodes), behaviour.index_select(0, nodes)
                extra = extra + recipe.contrast * contrast(
                    *views, recipe.temperature, once(count) if recipe.distinct_nodes else count
                )
        return Terms(pair, extra)

    def _spread(self) -> Tensor:
        """Return the z of all items in all modalities, [n_items, M, d]."""
        item = self.nodes.weight[self.n_users :]
        parts = zip(self.told(), self.gates, self.graphs, strict=True)
        return torch.stack(
            [graph(item * torch.sigmoid(gate(projected))) for projected, gate, graph in parts],
            dim=1,
        )

    def _fused(self, content: Tensor, behaviour: Tensor) -> Tensor:
        """Return the fusion [R, d] of the modalities [R, M, d] of nodes with behaviour [R, d]."""
        share = self.answer(torch.tanh(self.ask(content))).softmax(1)
        common = (share * content).sum(1)
        gate = torch.stack([torch.sigmoid(own(behaviour)) for own in self.own_gates], dim=1)
        own = (content - common[:, None]) * gate
        return (common + own.sum(1)) / (content.shape[1] + 1)

    @torch.no_grad()
    def scorer(self) -> Factors:
        user, item = torch.split(
            mean_layers(self.adjacency, self.nodes.weight, self.recipe.layers),
            [self.n_users, self.n_items],
        )
        spread = self._spread()
        rows = torch.arange(self.n_users, device=user.device)
        sides = [
            self._fused(self.of_users(spread, block), user[block])
            for block in torch.split(rows, _BLOCK)
        ]
        return Factors(user + torch.cat(sides), item + self._fused(spread, item), by_features=True)
