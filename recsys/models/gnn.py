"""GNN: any convolution of torch-geometric as the encoder of a recommender.

Symbols: G is the bipartite graph of training interactions, E^(0) the learned table of all users and
items, E^(l) = conv_l(E^(l-1), G), followed by an activation except after the last layer. The vector
of a node is the last layer, the mean, or the concatenation of E^(0..L); the score is the inner
product of user and item. Objective: a pairwise loss + l2 / (2 B) * squared norms of E^(0) at the
batch.

Convolutions, all from torch-geometric but the last:

    gcn    E' = D^-1/2 A D^-1/2 E W          Kipf, Welling, ICLR 2017 (without self loops)
    sage   E' = E W_1 + mean_neighbours(E) W_2  Hamilton, Ying, Leskovec, NeurIPS 2017
    gat    attention over neighbours         Velickovic et al., ICLR 2018
    lg     E' = D^-1/2 A D^-1/2 E            He et al. (LightGCN), SIGIR 2020; no parameters
    ngcf   E' = (P E + E) W_1 + (P E * E) W_2, P = D^-1/2 A D^-1/2
                                             Wang et al. (NGCF), SIGIR 2019, equation 7

With "lg", combine = "mean" and no activation this is the LightGCN of `lightgcn`, which computes it
several times as fast because it propagates with one sparse product and reads only the rows of a
batch. This method is the place to try an encoder, not the fastest way to train one.

Source: Fey, Lenssen, "Fast graph representation learning with PyTorch Geometric", ICLR 2019
workshop. Differs from the papers of the convolutions: they classify nodes; the use as an encoder of
interactions is that of LightGCN. NGCF's message dropout is `dropout`; its node dropout is absent.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError
from recsys.models import NeedsNegatives, Network
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["GNN"]

Convolution: TypeAlias = Literal["gcn", "sage", "gat", "lg", "ngcf"]


@settings
class GNN(NeedsNegatives):
    """Graph convolutions of torch-geometric over the interaction graph (Fey, Lenssen, 2019)."""

    convolution: Convolution = "sage"
    """gcn, sage, gat, lg (LightGCN) or ngcf."""
    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension of a layer."""
    layers: Annotated[int, Bound(ge=1, le=10)] = 2
    """Number of convolutions."""
    heads: Annotated[int, Bound(ge=1)] = 1
    """gat: attention heads, which share the dimension."""
    activation: Literal["none", "relu", "leaky-relu", "elu"] = "none"
    """Between layers."""
    combine: Literal["last", "mean", "concat"] = "mean"
    """The vector of a node: last layer, mean over all layers, or all layers concatenated."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.0
    """Dropout on the input of each convolution during training."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of layer 0 at the rows of a batch."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the initial table."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.convolution == "gat" and self.dim % self.heads:
            raise InputError(
                f"dim = {self.dim} is not a multiple of heads = {self.heads}",
                remedy="choose heads that divide dim",
            )

    def idle(self) -> set[str]:
        """Return the settings that have no effect given the others."""
        idle = {"heads"} if self.convolution != "gat" else set()
        return idle | ({"activation"} if self.layers == 1 else set())

    def build(self, train: Dataset) -> Network:
        return _GNN(self, train)


class _GNN(Network):
    edges: Tensor

    def __init__(self, recipe: GNN, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.n_users, self.n_items = train.n_users, train.n_items
        self.nodes = embedding(train.n_users + train.n_items, recipe.dim, recipe.init_std)
        self.convolutions = nn.ModuleList(_convolution(recipe) for _ in range(recipe.layers))
        self.register_buffer("edges", _edges(train.pairs), persistent=False)

    def loss(self, batch: Batch) -> Terms:
        recipe, size = self.recipe, len(batch)
        users, items = torch.split(self._encode(), [self.n_users, self.n_items])
        user, negatives = F.embedding(batch.user, users), F.embedding(batch.neg, items)
        pos, neg = pair_scores(batch, user, F.embedding(batch.pos, items), negatives)
        extra = None
        if recipe.l2:
            rows = [batch.user, self.n_users + batch.pos, self.n_users + batch.neg.reshape(-1)]
            extra = recipe.l2 / size * half_square(self.nodes(torch.cat(rows)))
        return pair_terms(
            recipe.loss,
            pos,
            neg,
            n_items=self.n_items,
            mask=batch.mask,
            log_q=batch.log_q,
            extra=extra,
        )

    def _encode(self) -> Tensor:
        """Return the vectors of all nodes, users first, [n_users + n_items, d]."""
        recipe = self.recipe
        layers = [self.nodes.weight]
        for number, convolution in enumerate(self.convolutions, 1):
            inputs = F.dropout(layers[-1], recipe.dropout, training=self.training)
            outputs = convolution(inputs, self.edges)
            last = number == len(self.convolutions)
            layers.append(outputs if last else _ACTIVATIONS[recipe.activation](outputs))
        if recipe.combine == "last":
            return layers[-1]
        if recipe.combine == "mean":
            return torch.stack(layers).mean(0)
        return torch.cat(layers, dim=1)

    def scorer(self) -> Factors:
        training = self.training
        self.eval()
        with torch.no_grad():
            users, items = torch.split(self._encode(), [self.n_users, self.n_items])
        self.train(training)
        return Factors(users.clone(), items.clone())


class _NGCF(nn.Module):
    """The convolution of NGCF: (P E + E) W_1 + (P E * E) W_2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.spread = _geometric().LGConv()
        self.linear = nn.Linear(dim, dim)
        self.product = nn.Linear(dim, dim)

    def forward(self, vectors: Tensor, edges: Tensor) -> Tensor:
        neighbours = self.spread(vectors, edges)
        total: Tensor = self.linear(neighbours + vectors) + self.product(neighbours * vectors)
        return total


_ACTIVATIONS: dict[str, Any] = {
    "none": lambda vectors: vectors,
    "relu": F.relu,
    "leaky-relu": F.leaky_relu,
    "elu": F.elu,
}


def _convolution(recipe: GNN) -> nn.Module:
    """Return one layer of the encoder, from `dim` to `dim`."""
    dim = recipe.dim
    layer: nn.Module
    if recipe.convolution == "ngcf":
        layer = _NGCF(dim)
    elif recipe.convolution == "gcn":
        layer = _geometric().GCNConv(dim, dim, add_self_loops=False)
    elif recipe.convolution == "sage":
        layer = _geometric().SAGEConv(dim, dim)
    elif recipe.convolution == "gat":
        layer = _geometric().GATConv(dim, dim // recipe.heads, heads=recipe.heads)
    else:
        layer = _geometric().LGConv()
    return layer


def _edges(pairs: Interactions) -> Tensor:
    """Return the edges of the bipartite graph in both directions, int64 [2, 2 n].

    Repeated interactions are one edge. Edges are sorted by target, so that sums over neighbours
    have a fixed order.
    """
    matrix = pairs.csr
    user = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    item = matrix.indices + matrix.shape[0]
    edges = np.stack([np.append(user, item), np.append(item, user)]).astype(np.int64)
    return torch.from_numpy(edges[:, np.lexsort((edges[0], edges[1]))])


def _geometric() -> Any:
    """Return `torch_geometric.nn`; its import warns of deprecations in other packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_geometric.nn
    return torch_geometric.nn
