"""SIGER: graphs of similar items to which is added who met what, features spread over them, and contrasts that hold them to behaviour.

The abstract and notes on some equations were to be had, the paper and its code were not. STATED is: collaborative signals from the interactions,
kept as the top k of every item and normalised, are mixed into the item graph of each modality; a noise whose strength is steered by the length of
the vector it is added to makes the views of a contrast; contrasts by InfoNCE align each modality with behaviour as the anchor, and behaviour with
what the modalities say together. All formulas below are RECONSTRUCTED, as are the defaults, and the choices among them are settings.

Symbols: E_u and E_i are learned; b is the mean of layers 0..L of LightGCN on them. Of items i and j,

    C_ij  users that met both (`together`), the co_k largest of a row kept;     S^m_ij  cosine of the features of modality m, the k largest kept,
    G^m = share * D^-1/2 C D^-1/2 + (1 - share) * D^-1/2 S^m D^-1/2,            D the row sums of each,
    q^m_i = E_i * sigmoid(V_m (W_m x^m_i + c_m) + d_m)   or  W_m x^m_i + c_m    (`semantics`)
    z^m_i = ((G^m)^item_layers q^m)_i,          z^m_u = sum over items i of u of z^m_i / sqrt(d_u d_i),
    z = sum_m w_m z^m,  w = softmax over m of a . tanh(Q z^m + r)  or  all alike (`fusion`),          e = b + z.

Objective, with NCE(a, c) the mean over nodes v of -log( exp(cos(a_v, c_v) / t) / sum over nodes w of exp(cos(a_v, c_w) / t) ), once over the
distinct users and once over the distinct positives of the batch: mean over observed pairs (u, i) of

    -log sigmoid(e_u . e_i - e_u . e_j)  +  l2 / (2 B) * squared norms of E_u, E_i, E_j over the batch
    + perturb * NCE(z', z'')  +  align * ( sum_m NCE(b, z^m) + NCE(b, z) ),

j the sampled negatives; z' and z'' two views of z, or of what `view` says, each z + noise * g(|z|) * n with n a direction drawn in the orthant of
z and g(|z|) = |z|, so that noise is as strong beside a short vector as beside a long one. Noise has no gradient. Score: e_u . e_i, without noise.
Source: Zhang, Zhou, Zeng, Niyato, Shen, "Semantic item graph enhancement for multimodal recommendation", arXiv:2508.06154, 2025.

A new item has no co-occurrence, so its graph is that of its features; with `semantics = "projected"` all of z is made of features, with "gated" its
own E_i is what it started with. `new_items` says whether b, which is nothing but that start, is left out for it (ours).

How a step is made cheap: graphs are found a block of items at a time, at most k + co_k numbers an item and modality, and stand still; users are
gathered, and nodes fused, at the rows of the batch alone; contrasts are computed a block of nodes at a time.
Reproduces nothing published: the tables of results were not to be had.
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
from recsys.nn.feature_layers import (
    FeatureProjection,
    Impute,
    Scale,
    affine,
    counted,
    distinct,
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
from recsys.nn.item_graph import Weights, as_matrix, nearest_items, similarities
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.neighbours import nearest
from recsys.nn.scores import pair_scores
from recsys.nn.sparse_product import SparseProduct
from recsys.nn.tables import half_square, node_table
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["SIGER", "alike", "anchored", "balanced", "perturbed", "together"]

Together = Literal["count", "ochiai", "jaccard"]
Direction = Literal["orthant", "gaussian"]
Strength = Literal["modulus", "relative", "constant"]

_BLOCK = 8192  # users whose histories are gathered at a time


@settings
class SIGER(NeedsNegatives):
    """Item graphs of features and co-occurrence, with contrasts between behaviour, modalities and noisy views (Zhang et al., 2025)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 2
    """Propagations over the user-item graph (RECONSTRUCTED)."""
    item_layers: Annotated[int, Bound(ge=0, le=10)] = 1
    """Propagations over the graphs of items (RECONSTRUCTED)."""
    k: Annotated[int, Bound(ge=1)] = 10
    """Neighbours of an item in each modality, itself among them; an item that lacks it has itself alone, unless `impute` lends it a vector
    (RECONSTRUCTED)."""
    weights: Weights = "similarity"
    """Of the neighbours in a modality: their cosines, as in MGCN, or 1, as in FREEDOM (RECONSTRUCTED)."""
    co_k: Annotated[int, Bound(ge=1)] = 10
    """Neighbours of an item by co-occurrence, itself not among them (RECONSTRUCTED)."""
    together: Together = "count"
    """Of two items met by n_i and n_j users, c of them the same: c, ochiai c / sqrt(n_i n_j), or jaccard c / (n_i + n_j - c) (RECONSTRUCTED)."""
    symmetric: Literal["none", "max"] = "none"
    """Whether of C_ij and C_ji the larger stands for both, once the largest of each row are chosen (RECONSTRUCTED)."""
    share: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Of co-occurrence in the graph of a modality, alpha; tune 0.1 to 0.9 (the mix is stated, its default RECONSTRUCTED)."""
    semantics: Literal["gated", "projected"] = "gated"
    """What is spread over the graphs: vectors of items gated by features, or projected features (RECONSTRUCTED)."""
    fusion: Literal["attention", "mean"] = "attention"
    """How the modalities of a node become one (RECONSTRUCTED)."""
    perturb: Annotated[float, Bound(ge=0)] = 0.01
    """Weight of the contrast between noisy views; tune 1e-4 to 0.1 (RECONSTRUCTED)."""
    noise: Annotated[float, Bound(ge=0)] = 0.1
    """How strong noise is, eps; tune 0.05 to 0.5 (RECONSTRUCTED)."""
    direction: Direction = "orthant"
    """Of noise: uniform in the orthant of the vector, as in SimGCL, or any (RECONSTRUCTED)."""
    strength: Strength = "modulus"
    """The factor g of a vector's length: itself, itself over the mean of the nodes that are contrasted, or 1, as in SimGCL (RECONSTRUCTED)."""
    view: Literal["fused", "behaviour", "final"] = "fused"
    """What noise is added to: z, b or e (RECONSTRUCTED)."""
    noise_temperature: Annotated[float, Bound(gt=0)] = 0.2
    """Of the contrast between noisy views (RECONSTRUCTED)."""
    align: Annotated[float, Bound(ge=0)] = 0.01
    """Weight of both alignments; tune 1e-4 to 0.1 (RECONSTRUCTED)."""
    anchor: Literal["each", "joint"] = "each"
    """each: a contrast for each modality. joint: one among all nodes in all modalities, in which all of a node's own are right (RECONSTRUCTED)."""
    anchor_constant: bool = False
    """Whether the anchor of the modalities has no gradient (RECONSTRUCTED)."""
    temperature: Annotated[float, Bound(gt=0)] = 0.2
    """Of the alignments (RECONSTRUCTED)."""
    distinct_nodes: bool = True
    """Whether contrasts take each user and item of a batch once; else one that a batch has twice is a negative of itself (RECONSTRUCTED)."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Whether negatives are items with a training pair alone, or all (RECONSTRUCTED)."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of layer 0 at the rows of a batch (RECONSTRUCTED)."""
    train_features: bool = False
    """Whether the feature tables move (RECONSTRUCTED). The item graphs are of the raw ones."""
    scale: Scale = "none"
    """row: every row of features has length 1 at the start."""
    impute: Impute = "mean"
    """What stands where a modality is missing."""
    new_items: Literal["id", "content"] = "content"
    """How an item without a training pair is ranked: by b + z as all others, or by z alone (RECONSTRUCTED)."""

    def build(self, train: Dataset) -> Network:
        return _SIGER(self, train)


class _SIGER(Network):
    adjacency: Tensor
    new: Tensor

    def __init__(self, recipe: SIGER, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.n_users, self.n_items, dim = train.n_users, train.n_items, recipe.dim
        self.nodes = node_table(train.n_users, train.n_items, dim)
        values, known = values_and_known(train, impute=recipe.impute, scale=recipe.scale)
        self.told = FeatureProjection(values, dim, train=recipe.train_features)
        self.gates = nn.ModuleList(affine(dim, dim) for _ in values if recipe.semantics == "gated")
        self.attention = (
            nn.Sequential(affine(dim, dim), nn.Tanh(), affine(dim, 1, bias=False))
            if recipe.fusion == "attention"
            else None
        )
        met = (
            balanced(together(train.pairs, recipe.co_k, recipe.together, recipe.symmetric))
            * recipe.share
        )
        graphs = (
            met + balanced(alike(value, recipe.k, recipe.weights, known[name])) * (1 - recipe.share)
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
        view = {"fused": fused, "behaviour": behaviour, "final": both}[recipe.view]
        for at in (user_at, pos_at):
            seen, counts = counted(at, len(both))
            count = None if recipe.distinct_nodes else counts
            if recipe.perturb:  # noise is drawn for each occurrence
                rows = F.embedding(seen if recipe.distinct_nodes else at, view)
                one, other = (
                    perturbed(rows, recipe.noise, recipe.direction, recipe.strength)
                    for _ in range(2)
                )
                extra = extra + recipe.perturb * contrast(one, other, recipe.noise_temperature)
            if recipe.align:
                own, modal, whole = (
                    part.index_select(0, seen) for part in (behaviour, content, fused)
                )
                held = anchored(
                    own.detach() if recipe.anchor_constant else own,
                    modal,
                    recipe.temperature,
                    recipe.anchor,
                    count,
                )
                extra = extra + recipe.align * (
                    held + contrast(own, whole, recipe.temperature, count)
                )
        return Terms(pair, extra)

    def _spread(self) -> Tensor:
        """The z of all items in all modalities, [n_items, M, d]."""
        item, found = self.nodes.weight[self.n_users :], []
        for place, (told, graph) in enumerate(zip(self.told(), self.graphs, strict=True)):
            vectors = (
                item * torch.sigmoid(self.gates[place](told))
                if self.recipe.semantics == "gated"
                else told
            )
            for _ in range(self.recipe.item_layers):
                vectors = graph(vectors)
            found.append(vectors)
        return torch.stack(found, dim=1)

    def _fused(self, content: Tensor) -> Tensor:
        """What the modalities [R, M, d] of nodes say together, [R, d]."""
        return (
            content.mean(1)
            if self.attention is None
            else (self.attention(content).softmax(1) * content).sum(1)
        )

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
        fused = [self._fused(self.of_users(spread, some)) for some in torch.split(rows, _BLOCK)]
        return Factors(user + torch.cat(fused), item + self._fused(spread), by_features=True)


def alike(values: Tensor, k: int, weights: Weights, known: Tensor | None = None) -> sp.csr_matrix:
    """S of one modality: the k nearest of every row of features [n, d] by cosine, itself among them; CSR float32 [n, n]. See `nearest_items`."""
    found = nearest_items(values, k, known=known)
    weight = similarities(values, found) if weights == "similarity" else torch.ones(found.shape)
    return as_matrix(found, weight)


def together(
    pairs: Interactions, k: int, kind: Together, symmetric: Literal["none", "max"] = "none"
) -> sp.csr_matrix:
    """C: of every item the k others that most users have met with it, in the order of the item rows among equals; CSR float32 [n_items, n_items]."""
    users_of = pairs.csr.T.tocsr()
    count = np.diff(users_of.indptr).astype(np.float64)
    scale = {"count": np.ones_like(count), "ochiai": np.sqrt(count), "jaccard": count}[kind]
    found = nearest(
        users_of, k, left=scale, right=scale, over="union" if kind == "jaccard" else "product"
    )
    return found.maximum(found.T).tocsr() if symmetric == "max" else found


def balanced(graph: sp.csr_matrix) -> sp.csr_matrix:
    """D^-1/2 G D^-1/2 with D the row sums; zeros where a sum is 0."""
    degree = np.asarray(graph.sum(1), dtype=np.float64).ravel()
    scale = sp.diags(
        np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0).astype(
            np.float32
        )
    )
    return (scale @ graph @ scale).tocsr()


def perturbed(rows: Tensor, noise: float, direction: Direction, strength: Strength) -> Tensor:
    """Vectors [n, d], each moved in a random direction by `noise` times a factor of its length, as a constant; in its orthant zeros stay zeros."""
    with torch.no_grad():
        drawn = (
            torch.rand_like(rows) * rows.sign()
            if direction == "orthant"
            else torch.randn_like(rows)
        )
        length = rows.norm(dim=1, keepdim=True)
        if strength == "relative":
            length = length / length.mean().clamp_min(1e-12)
        elif strength == "constant":
            length = torch.ones_like(length)
        moved = noise * length * F.normalize(drawn, dim=1)
    return rows + moved


def anchored(
    anchor: Tensor,
    modal: Tensor,
    temperature: float,
    kind: Literal["each", "joint"],
    count: Tensor | None = None,
) -> Tensor:
    """Contrast of anchors [n, d] with the modalities of the same nodes [n, M, d], by cosine, a scalar; the kinds are those of `SIGER.anchor`.

    `count` is how often each node occurs [n], as in `recsys.nn.infonce.contrast`.
    """
    if kind == "each":
        return torch.stack(
            [contrast(anchor, modal[:, m], temperature, count) for m in range(modal.shape[1])]
        ).sum()
    logits = (
        torch.einsum("xd,ymd->xym", F.normalize(anchor, dim=-1), F.normalize(modal, dim=-1))
        / temperature
    )
    right = logits.diagonal(dim1=0, dim2=1).T.logsumexp(1)
    if count is None:
        return (logits.flatten(1).logsumexp(1) - right).mean()
    count = count.to(logits)
    return torch.linalg.vecdot(
        (logits + count.log()[:, None]).flatten(1).logsumexp(1) - right, count / count.sum()
    )
