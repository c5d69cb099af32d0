"""FREEDOM: LightGCN on a pruned user-item graph, plus a frozen graph of similar items.

Symbols: E_u and E_i are learned. The item graph S joins every item with its k nearest by the cosine
of raw features in each modality, including itself, each with weight 1 / k; the graphs of the
modalities are summed with weights `shares`. h = S E_i. The user-item graph of an epoch keeps a
share 1 - prune of the observed pairs, drawn without replacement with weights 1 / sqrt(d_u d_i), and
is normalised again. e_u and g_i are the mean of layers 0..L of LightGCN on it, e_i = g_i + h_i.
Objective: mean over observed pairs (u, i) of

    -log sigmoid(e_u . e_i - e_u . e_j)
        +  content * sum_m -log sigmoid(e_u . z_i^m - e_u . z_j^m),     z_i^m = W_m x_i^m + b_m,

where j are the sampled negatives. Items are ranked by e_u . e_i on the whole graph.

Source: Zhou, Shen, "A tale of two graphs: freezing and denoising graph structures for multimodal
recommendation", MM 2023.

How a step is made cheap without changing its result: h and z are computed at the items of the batch
only; the item graph has K numbers per item.

Differs from the released code: shares are given in the order of the features of the data (there:
0.1 for images, 0.9 for text), equal by default. W_m starts at Xavier's normal distribution
(RECONSTRUCTED).

Others report on MMRec's split of Amazon Baby: recall@10 / 20 0.0627 / 0.0992, ndcg@10 / 20 0.0330 /
0.0424. Not run here.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset, Interactions
from recsys.models import NeedsNegatives, Network
from recsys.nn.distinct import distinct
from recsys.nn.feature_layers import FeatureProjection, Impute, Scale, values_and_known
from recsys.nn.graph import mean_layers, mean_layers_rows, normalised_adjacency
from recsys.nn.item_graph import as_matrix, nearest_items
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.modality_shares import shares_of
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.scores import pair_scores
from recsys.nn.sparse_product import SparseProduct
from recsys.nn.tables import node_table
from recsys.sampling import Batch, Sampler, stream_seed
from recsys.scorer import Factors

__all__ = ["FREEDOM", "thinned"]


@settings
class FREEDOM(NeedsNegatives):
    """LightGCN on a pruned graph, and a frozen graph of similar items (Zhou, Shen, MM 2023)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 2
    """Number of propagations over the user-item graph."""
    k: Annotated[int, Bound(ge=1)] = 10
    """Neighbours of an item in each modality, including itself. An item that lacks the modality has
    only itself, unless `impute` gives it the vector of another item."""
    shares: tuple[Annotated[float, Bound(ge=0)], ...] = ()
    """Share of each modality in the item graph, in the order of the features of the data; empty:
    equal shares."""
    prune: Annotated[float, Bound(ge=0, lt=1)] = 0.8
    """Share of the pairs that the graph of an epoch leaves out; the paper tunes 0.8 and 0.9."""
    content: Annotated[float, Bound(ge=0)] = 1e-3
    """Weight of the losses of the modalities; the paper tunes 0, 1e-5, 1e-4 and 1e-3."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm), as in the released code, or
    from all items."""
    train_features: bool = True
    """Train the feature tables in the losses of the modalities; true in the released code. The item
    graph is that of the raw features."""
    scale: Scale = "none"
    """row: scale every row of features to length 1 at the start."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

    def build(self, train: Dataset) -> Network:
        return _FREEDOM(self, train)


class _FREEDOM(Network):
    adjacency: Tensor

    def __init__(self, recipe: FREEDOM, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.n_users, self.n_items = train.n_users, train.n_items
        self.pairs = train.pairs
        self.nodes = node_table(train.n_users, train.n_items, recipe.dim)
        values, known = values_and_known(train, impute=recipe.impute, scale=recipe.scale)
        shares = shares_of(recipe.shares, list(values))
        self.told = FeatureProjection(
            values if recipe.content else {},
            recipe.dim,
            train=recipe.train_features,
            start="xavier",
        )
        neighbours = [
            nearest_items(value, recipe.k, known=known[name]) for name, value in values.items()
        ]
        weight = [
            torch.full(nearest.shape, share / nearest.shape[1])
            for nearest, share in zip(neighbours, shares, strict=True)
        ]
        self.alike = SparseProduct(
            as_matrix(torch.cat(neighbours, dim=1), torch.cat(weight, dim=1))
        )
        self.register_buffer("adjacency", normalised_adjacency(train.pairs), persistent=False)
        # The graph of an epoch is a function of this seed and the epoch, so a resumed run draws the
        # same graph.
        self.seed = int(torch.randint(1 << 62, (), device="cpu"))
        self.thin: tuple[int, Tensor] | None = None

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        users, (user_at,) = distinct(batch.user, n=self.n_users)
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=self.n_items)
        nodes = torch.cat([users, self.n_users + items])
        mean, _ = mean_layers_rows(
            self._graph(batch.epoch), self.nodes.weight, nodes, recipe.layers
        )
        item = mean[len(users) :] + self.alike(self.nodes.weight[self.n_users :], items)
        user = F.embedding(user_at, mean[: len(users)])

        def pairs(vectors: Tensor) -> Tensor:
            negatives = F.embedding(neg_at, vectors)
            pos, neg = pair_scores(batch, user, F.embedding(pos_at, vectors), negatives)
            return pair_loss(
                recipe.loss, pos, neg, n_items=self.n_items, mask=batch.mask, log_q=batch.log_q
            )

        pair = pairs(item)
        for projected in self.told(items):
            pair = pair + recipe.content * pairs(projected)
        return Terms(pair)

    def _graph(self, epoch: int) -> Tensor:
        """Return the user-item graph of an epoch."""
        if not self.recipe.prune:
            return self.adjacency
        if self.thin is None or self.thin[0] != epoch:
            generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch))
            kept = normalised_adjacency(thinned(self.pairs, self.recipe.prune, generator))
            kept = kept.to(self.adjacency.device, self.adjacency.dtype, non_blocking=True)
            self.thin = epoch, kept
        return self.thin[1]

    @torch.no_grad()
    def scorer(self) -> Factors:
        start = self.nodes.weight
        user, item = torch.split(
            mean_layers(self.adjacency, start, self.recipe.layers), [self.n_users, self.n_items]
        )
        return Factors(user.clone(), item + self.alike(start[self.n_users :]), by_features=True)


def thinned(pairs: Interactions, prune: float, generator: torch.Generator) -> Interactions:
    """Return a random share 1 - prune of the distinct pairs, at least one.

    Pairs are drawn without replacement with weights 1 / sqrt(d_u d_i). Drawing one after the other,
    each in proportion to its weight among the remaining ones, is the same as taking the largest of
    log weight + Gumbel noise.
    """
    observed = pairs.csr.tocoo()
    user = torch.from_numpy(observed.row.astype("int64"))
    item = torch.from_numpy(observed.col.astype("int64"))
    user_degree, item_degree = torch.bincount(user).double(), torch.bincount(item).double()
    log_weight = -(user_degree.log()[user] + item_degree.log()[item]) / 2
    uniform = torch.rand(len(user), generator=generator, dtype=torch.float64).clamp_min(1e-300)
    keys = log_weight - (-uniform.log()).log()
    kept = keys.topk(max(1, int((1 - prune) * len(user)))).indices.sort().values
    return Interactions(user[kept].numpy(), item[kept].numpy(), pairs.n_users, pairs.n_items)
