"""SIGER: item graphs of features and co-occurrence, with contrasts to behaviour.

The abstract and notes on some equations were available, the paper and its code were not. STATED is:
collaborative signals from the interactions, kept as the top k of every item and normalised, are
mixed into the item graph of each modality. Noise whose strength depends on the length of the vector
that it is added to makes the views of a contrast. Contrasts by InfoNCE align each modality with
behaviour as the anchor, and behaviour with the fused modalities. All formulas below are
RECONSTRUCTED, and so are the defaults.

Symbols: E_u and E_i are learned; b is the mean of layers 0..L of LightGCN on them. For items i, j,

    C_ij    common users of both, the co_k largest of a row kept (`together`)
    S^m_ij  cosine of the features of modality m, the k largest of a row kept (`alike`)
    G^m = share * D^-1/2 C D^-1/2 + (1 - share) * D^-1/2 S^m D^-1/2,      D the row sums of each,
    q^m_i = E_i * sigmoid(V_m (W_m x^m_i + c_m) + d_m)   or  W_m x^m_i + c_m       (`semantics`)
    z^m_i = ((G^m)^item_layers q^m)_i,      z^m_u = sum over items i of u of z^m_i / sqrt(d_u d_i),
    z = sum_m w_m z^m,  w = softmax over m of a . tanh(Q z^m + r),      e = b + z.

Let NCE(a, c) be the mean over nodes v of

    -log( exp(cos(a_v, c_v) / t) / sum over nodes w of exp(cos(a_v, c_w) / t) ),

once over the distinct users and once over the distinct positives of the batch. Objective: mean over
observed pairs (u, i) of

    -log sigmoid(e_u . e_i - e_u . e_j)
    + l2 / (2 B) * squared norms of E_u, E_i, E_j over the batch
    + perturb * NCE(z', z'')  +  align * ( sum_m NCE(b, z^m) + NCE(b, z) ),

where j are the sampled negatives. z' and z'' are two views of z, each z + noise * |z| * n with a
direction n drawn in the orthant of z, so that noise is as strong for a short vector as for a long
one. Noise has no gradient. Score: e_u . e_i, without noise.

Source: Zhang, Zhou, Zeng, Niyato, Shen, "Semantic item graph enhancement for multimodal
recommendation", arXiv:2508.06154, 2025.

A new item has no co-occurrence, so its graph is that of its features. With `semantics =
"projected"` all of z comes from features; with "gated" its own E_i is its start value. `new_items`
decides whether b, which is only that start value, is left out for it (an addition of this project).

How a step is made cheap: graphs are computed a block of items at a time, with at most k + co_k
numbers per item and modality, and are fixed. Users are gathered and nodes fused at the rows of the
batch only. Contrasts are computed a block of nodes at a time.

Earlier versions had settings for other readings of the abstract: uniform weights of the features'
neighbours, Ochiai or Jaccard co-occurrence, a symmetric C, fusion by the mean, Gaussian noise,
noise of constant or relative strength, noise on b or e, a joint contrast of all modalities, an
anchor without gradient, and contrasts with repeated nodes. No published result used them.

Reproduces nothing published: the tables of results were not available.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError
from recsys.models import NeedsNegatives, Network
from recsys.nn.distinct import counted, distinct, once
from recsys.nn.feature_layers import (
    FeatureProjection,
    Impute,
    Scale,
    affine,
    values_and_known,
    warm_items,
)
from recsys.nn.graph import (
    mean_layers,
    mean_layers_rows,
    normalised_adjacency,
    normalised_pairs,
)
from recsys.nn.infonce import contrast
from recsys.nn.item_graph import as_matrix, nearest_items, similarities
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.scores import pair_scores
from recsys.nn.sparse_product import SparseProduct
from recsys.nn.tables import half_square, node_table
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors
from recsys.scorer.row_neighbours import nearest

__all__ = ["SIGER", "alike", "balanced", "perturbed", "together"]

_BLOCK = 8192  # users whose histories are gathered at a time

# Settings of earlier versions, and the only value that is still supported. Saved runs contain them.
_RETIRED: dict[str, str | bool] = {
    "weights": "similarity",
    "together": "count",
    "symmetric": "none",
    "fusion": "attention",
    "direction": "orthant",
    "strength": "modulus",
    "view": "fused",
    "anchor": "each",
    "anchor_constant": False,
    "distinct_nodes": True,
}


@settings
class SIGER(NeedsNegatives):
    """Item graphs of features and co-occurrence, contrasts to behaviour (Zhang et al., 2025)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 2
    """Number of propagations over the user-item graph (RECONSTRUCTED)."""
    item_layers: Annotated[int, Bound(ge=0, le=10)] = 1
    """Number of propagations over the graphs of items (RECONSTRUCTED)."""
    k: Annotated[int, Bound(ge=1)] = 10
    """Neighbours of an item in each modality, including itself. An item that lacks the modality has
    only itself, unless `impute` gives it the vector of another item (RECONSTRUCTED)."""
    co_k: Annotated[int, Bound(ge=1)] = 10
    """Neighbours of an item by co-occurrence, without itself (RECONSTRUCTED)."""
    share: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Share of co-occurrence in the graph of a modality, alpha; tune 0.1 to 0.9 (the mix is stated,
    its default RECONSTRUCTED)."""
    semantics: Literal["gated", "projected"] = "gated"
    """Input of the item graphs: item vectors gated by features, or projected features
    (RECONSTRUCTED)."""
    perturb: Annotated[float, Bound(ge=0)] = 0.01
    """Weight of the contrast between noisy views; tune 1e-4 to 0.1 (RECONSTRUCTED)."""
    noise: Annotated[float, Bound(ge=0)] = 0.1
    """Length of the noise, as a multiple of the length of the vector, eps; tune 0.05 to 0.5
    (RECONSTRUCTED)."""
    noise_temperature: Annotated[float, Bound(gt=0)] = 0.2
    """Temperature of the contrast between noisy views (RECONSTRUCTED)."""
    align: Annotated[float, Bound(ge=0)] = 0.01
    """Weight of both alignments; tune 1e-4 to 0.1 (RECONSTRUCTED)."""
    temperature: Annotated[float, Bound(gt=0)] = 0.2
    """Temperature of the alignments (RECONSTRUCTED)."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm) or from all items
    (RECONSTRUCTED)."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of layer 0 at the rows of a batch (RECONSTRUCTED)."""
    train_features: bool = False
    """Train the feature tables (RECONSTRUCTED). The item graphs are those of the raw features."""
    scale: Scale = "none"
    """row: scale every row of features to length 1 at the start."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""
    new_items: Literal["id", "content"] = "content"
    """Vector of an item without a training interaction: b + z as for all others (id), or z alone
    (content) (RECONSTRUCTED)."""

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, values: Any) -> Any:
        """Drop the settings of earlier versions, so that saved runs still open."""
        given = dict(values.kwargs or {})
        for key, only in _RETIRED.items():
            if given.pop(key, only) != only:
                raise InputError(
                    f"{key} was removed from siger, which works as with {key} = {only!r}",
                    remedy=f"leave {key} out",
                )
        return type(values)(values.args, given)

    def build(self, train: Dataset) -> Network:
        return _SIGER(self, train)


class _SIGER(Network):
    adjacency: Tensor
    new: Tensor

    def __init__(self, recipe: SIGER, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.n_users, self.n_items = train.n_users, train.n_items
        dim = recipe.dim
        self.nodes = node_table(train.n_users, train.n_items, dim)
        values, known = values_and_known(train, impute=recipe.impute, scale=recipe.scale)
        self.told = FeatureProjection(values, dim, train=recipe.train_features)
        self.gates = nn.ModuleList(affine(dim, dim) for _ in values if recipe.semantics == "gated")
        self.attention = nn.Sequential(affine(dim, dim), nn.Tanh(), affine(dim, 1, bias=False))
        common = balanced(together(train.pairs, recipe.co_k)) * recipe.share
        graphs = (
            common + balanced(alike(value, recipe.k, known[name])) * (1 - recipe.share)
            for name, value in values.items()
        )
        self.graphs = nn.ModuleList(SparseProduct(graph.tocsr()) for graph in graphs)
        self.register_buffer("adjacency", normalised_adjacency(train.pairs), persistent=False)
        self.register_buffer(
            "new", torch.from_numpy(~warm_items(train)).nonzero().view(-1), persistent=False
        )
        self.of_users = SparseProduct(normalised_pairs(train.pairs))

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        users, (user_at,) = distinct(batch.user, n=self.n_users)
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=self.n_items)
        nodes = torch.cat([users, self.n_users + items])
        behaviour, zeroth = mean_layers_rows(
            self.adjacency, self.nodes.weight, nodes, recipe.layers
        )
        spread = self._spread()
        content = torch.cat([self.of_users(spread, users), spread.index_select(0, items)])
        fused = self._fused(content)
        both = behaviour + fused
        pos_at, neg_at = pos_at + len(users), neg_at + len(users)
        user, item, negatives = (F.embedding(at, both) for at in (user_at, pos_at, neg_at))
        pos, neg = pair_scores(batch, user, item, negatives)
        pair = pair_loss(
            recipe.loss, pos, neg, n_items=self.n_items, mask=batch.mask, log_q=batch.log_q
        )
        extra = pair.new_zeros(())
        if recipe.l2:
            extra = extra + recipe.l2 / len(batch) * half_square(
                *(F.embedding(at, zeroth) for at in (user_at, pos_at, neg_at))
            )
        for at in (user_at, pos_at):
            index, count = counted(at, len(both))
            for term in self._contrasts(index, once(count), behaviour, content, fused):
                extra = extra + term
        return Terms(pair, extra)

    def _contrasts(
        self,
        at: Tensor,
        weight: Tensor | None,
        behaviour: Tensor,
        content: Tensor,
        fused: Tensor,
    ) -> Iterator[Tensor]:
        """Yield the weighted contrasts of some of the R nodes of a batch, scalars.

        Args:
            at: distinct indices of the nodes, int64 [n].
            weight: of these nodes, [n]; None: 1 each.
            behaviour, content, fused: b [R, d], the z^m [R, M, d] and z [R, d] of the nodes.
        """
        recipe = self.recipe
        if recipe.perturb:
            rows = F.embedding(at, fused)
            one, other = (perturbed(rows, recipe.noise) for _ in range(2))
            yield recipe.perturb * contrast(one, other, recipe.noise_temperature, weight)
        if recipe.align:
            anchor, modal, whole = (
                part.index_select(0, at) for part in (behaviour, content, fused)
            )
            each = [
                contrast(anchor, modal[:, m], recipe.temperature, weight)
                for m in range(modal.shape[1])
            ]
            each.append(contrast(anchor, whole, recipe.temperature, weight))
            yield recipe.align * torch.stack(each).sum()

    def _spread(self) -> Tensor:
        """Return the z^m of all items in all modalities, [n_items, M, d]."""
        item, spread = self.nodes.weight[self.n_users :], []
        for m, (projected, graph) in enumerate(zip(self.told(), self.graphs, strict=True)):
            gated = self.recipe.semantics == "gated"
            vectors = item * torch.sigmoid(self.gates[m](projected)) if gated else projected
            for _ in range(self.recipe.item_layers):
                vectors = graph(vectors)
            spread.append(vectors)
        return torch.stack(spread, dim=1)

    def _fused(self, content: Tensor) -> Tensor:
        """Return the z [R, d] of nodes from their z^m [R, M, d]."""
        fused: Tensor = (self.attention(content).softmax(1) * content).sum(1)
        return fused

    @torch.no_grad()
    def scorer(self) -> Factors:
        user, item = torch.split(
            mean_layers(self.adjacency, self.nodes.weight, self.recipe.layers),
            [self.n_users, self.n_items],
        )
        if self.recipe.new_items == "content":
            item = item.index_fill(0, self.new, 0.0)
        spread = self._spread()
        rows = torch.arange(self.n_users, device=user.device)
        fused = [self._fused(self.of_users(spread, block)) for block in torch.split(rows, _BLOCK)]
        return Factors(user + torch.cat(fused), item + self._fused(spread), by_features=True)


def alike(values: Tensor, k: int, known: Tensor | None = None) -> sp.csr_matrix:
    """Return S of one modality, CSR float32 [n, n], with cosines as weights.

    Args:
        values: features [n, d].
        k: neighbours of a row, including itself.
        known: which rows have the modality, bool [n], as in `nearest_items`.
    """
    index = nearest_items(values, k, known=known)
    return as_matrix(index, similarities(values, index))


def together(pairs: Interactions, k: int) -> sp.csr_matrix:
    """Return C, CSR float32 [n_items, n_items]: the number of common users of two items.

    Each row keeps the k largest; equal numbers are ordered by item row.
    """
    scale = np.ones(pairs.n_items)
    return nearest(pairs.csr.T.tocsr(), k, left=scale, right=scale)


def balanced(graph: sp.csr_matrix) -> sp.csr_matrix:
    """Return D^-1/2 G D^-1/2 with D the row sums; zeros where a sum is 0."""
    degree = np.asarray(graph.sum(1), dtype=np.float64).ravel()
    root = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    scale = sp.diags(root.astype(np.float32))
    return (scale @ graph @ scale).tocsr()


def perturbed(rows: Tensor, noise: float) -> Tensor:
    """Move vectors [n, d] by `noise` times their length in random directions of their orthants.

    The noise is a constant without gradient. Coordinates that are 0 stay 0.
    """
    with torch.no_grad():
        direction = F.normalize(torch.rand_like(rows) * rows.sign(), dim=1)
        moved = noise * rows.norm(dim=1, keepdim=True) * direction
    return rows + moved
