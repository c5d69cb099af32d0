"""BM3: self-supervised learning between users, items and modalities, without negative samples.

Symbols: E^(0) is learned; A = D^-1/2 [[0, R], [R^T, 0]] D^-1/2; H is the mean of the layers 0..L of
A^l E^(0); h_u = H_u and h_i = H_i + E^(0)_i, where the second summand is for items only. x_i^m are
the features of item i in modality m, z_i^m = W_m x_i^m + b_m. One affine map f is shared by users,
items and modalities. The target of a vector is the vector itself with some coordinates dropped, as
a constant: t(h) = constant(dropout(h)), drawn once a step for every row. Objective:

    mean over observed pairs (u, i) of  C(f(h_u), t(h_i)) + C(f(h_i), t(h_u))
        + content * sum_m [ C(f(z_i^m), t(h_i)) + C(f(z_i^m), t(z_i^m)) ]
    + l2 * (|H_u|_F + |H_i|_F) / n_items,                  C(a, b) = 1 - cos(a, b).

The norms are those of the whole matrices of all h_u and all h_i, not squared, divided by the number
of items. This is the form of the released code, for which its weights (0.1, 0.01) were tuned.
Score: f(h_u) . f(h_i), without dropout and without features.

Source: Zhou, Zhou, Liu, Zeng, Miao, Wang, You, Jiang, "Bootstrap latent representations for
multi-modal recommendation", WWW 2023.

The feature tables are trained, as in the released code. `train_features = false` freezes them,
which is a small fraction of the work and makes the trained part about 17 times smaller at the size
of Amazon Baby. Items without a training interaction keep their start vector unless `new_items` says
otherwise.

How a step is made cheap without changing its result: only the rows of the batch are projected and
predicted, each once regardless of how often it occurs. Terms of a modality belong to an item and
are computed once per item. The gradient of the norms is written by hand, so that forward and
backward each need L sparse products and no layer is kept. The gradient of a table is written a
block of rows at a time into memory that is reused. The released code projects and predicts all
rows. Dropout is drawn for the rows of the batch only.

Differs from the released code: its 1e-7 on every degree is left out (isolated nodes are never
divided by zero here). The paper prints squared norms and has no weight on the terms of the
modalities; `norms = "squared"` is that form, RECONSTRUCTED from memory of the paper. `new_items =
"content"` is an addition of this project.

Should reproduce (MMRec's split of Amazon Baby, layers 1, dropout 0.5, l2 0.1, batch 2048, lr 1e-3):
recall@10 / 20 0.0564 / 0.0883, ndcg@10 / 20 0.0301 / 0.0383, with settings chosen on test; others
report 0.0547 / 0.0847 with batches of 256. Not run here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import Network
from recsys.nn.distinct import distinct
from recsys.nn.feature_layers import (
    FeatureProjection,
    Impute,
    Scale,
    affine,
    each_its_own,
    layer,
    reader,
    warm_items,
)
from recsys.nn.graph import mean_layers, normalised_adjacency
from recsys.nn.losses import Terms
from recsys.nn.sparse_product import product
from recsys.nn.tables import node_table
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["BM3", "readout_rows"]


@settings
class BM3:
    """Users, items and modalities predict each other, without negatives (Zhou et al., WWW 2023)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 1
    """Number of propagations over the graph; the paper tunes 1 and 2."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.5
    """Share of the coordinates of a target that are dropped; the paper tunes 0.3 and 0.5."""
    content: Annotated[float, Bound(ge=0)] = 2.0
    """Weight of the two terms of every modality (w_cl in the released code; the paper has none)."""
    l2: Annotated[float, Bound(ge=0)] = 0.1
    """Weight of the norms; the paper tunes 0.1 and 0.01, and 0 was best in several public runs."""
    norms: Literal["released", "squared"] = "released"
    """released: norms of both whole matrices, not squared, divided by the number of items. squared:
    |h_u|^2 + |h_i|^2, mean over the pairs of the batch (RECONSTRUCTED)."""
    train_features: bool = True
    """Train the feature tables; true in the released code."""
    scale: Scale = "none"
    """row: scale every row of features to length 1 at the start. Rows of very different length
    train badly; the released code does not scale."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""
    new_items: Literal["id", "content"] = "id"
    """Vector of an item without a training interaction: id for its start vector, as in the released
    code; content for the mean over the modalities of f(z_i^m) (RECONSTRUCTED)."""

    def build(self, train: Dataset) -> Network:
        return _BM3(self, train)


class _BM3(Network):
    adjacency: Tensor
    new: Tensor

    def __init__(self, recipe: BM3, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, Sampler(negatives=0)
        self.n_users, self.n_items = train.n_users, train.n_items
        self.nodes = node_table(train.n_users, train.n_items, recipe.dim)
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        values = self.read(train.features)
        self.told = FeatureProjection(
            values, recipe.dim, train=recipe.train_features, start="xavier"
        )
        self.predict = affine(recipe.dim, recipe.dim, "xavier")
        self.rows = self.told.learned
        self.register_buffer("adjacency", normalised_adjacency(train.pairs), persistent=False)
        self.register_buffer(
            "new", torch.from_numpy(~warm_items(train)).nonzero().view(-1), persistent=False
        )

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        users, (user_at,) = distinct(batch.user, n=self.n_users)
        items, (item_at,) = distinct(batch.pos, n=self.n_items)
        vectors, norms = readout_rows(
            self.adjacency, self.nodes.weight, users, items, self.n_users, recipe.layers
        )
        user, item = torch.split(vectors, [len(users), len(items)])
        user_prediction, item_prediction = self._prediction(user), self._prediction(item)
        user_target, item_target = self._target(user), self._target(item)
        pair = 2 - torch.linalg.vecdot(
            F.embedding(user_at, user_prediction), F.embedding(item_at, item_target)
        )
        pair = pair - torch.linalg.vecdot(
            F.embedding(item_at, item_prediction), F.embedding(user_at, user_target)
        )
        if recipe.content:
            pair = pair + recipe.content * self._content(items, item_target).index_select(
                0, item_at
            )
        if not recipe.l2:
            return Terms(pair)
        if recipe.norms == "released":
            return Terms(pair, recipe.l2 / self.n_items * norms.sum())
        squares = (
            F.embedding(user_at, user).square().sum() + F.embedding(item_at, item).square().sum()
        )
        return Terms(pair, recipe.l2 / len(batch) * squares)

    def _content(self, items: Tensor, item_target: Tensor) -> Tensor:
        """Return the sum of both terms of all modalities for the distinct items, [R]."""
        total = item_target.new_zeros(len(items))
        for projected in self.told(items):
            target = item_target + self._target(projected)
            total = total + 2 - torch.linalg.vecdot(self._prediction(projected), target)
        return total

    def _prediction(self, vectors: Tensor) -> Tensor:
        """Predict from vectors [R, dim] by the shared map; rows of length 1."""
        return F.normalize(self.predict(vectors), dim=-1)

    def _target(self, vectors: Tensor) -> Tensor:
        """Return the constant targets of vectors, rows of length 1, [R, dim].

        A row whose coordinates were all dropped is zeros, and its cosine is then 0.
        """
        vectors = vectors.detach()
        # Uniform numbers are three times as fast as torch's dropout; a cosine ignores its scaling.
        if self.recipe.dropout:
            vectors = vectors * (torch.rand_like(vectors) >= self.recipe.dropout)
        return F.normalize(vectors, dim=-1)

    @torch.no_grad()
    def scorer(self) -> Factors:
        start = self.nodes.weight
        user, item = torch.split(
            mean_layers(self.adjacency, start, self.recipe.layers), [self.n_users, self.n_items]
        )
        user, item = self.predict(user), self.predict(item + start[self.n_users :])
        if self.recipe.new_items == "content" and len(self.new):
            predictions = [self.predict(projected) for projected in self.told(self.new)]
            item[self.new] = torch.stack(predictions).mean(0)
        if self.recipe.new_items == "id":
            return Factors(user, item)
        layers = ((layer(linear), layer(self.predict)) for linear in self.told.maps)
        return Factors(user, item, content=each_its_own(self.read, *layers))


def readout_rows(
    adjacency: Tensor, start: Tensor, users: Tensor, items: Tensor, n_users: int, layers: int
) -> tuple[Tensor, Tensor]:
    """Return h_u and h_i at some rows, and two norms, with a gradient for `start`.

    Args:
        adjacency: symmetric sparse CSR [N, N].
        start: layer 0, [N, d], users first.
        users, items: distinct user rows and distinct item rows, int64 [R] and [S].
        n_users: number of nodes before the first item.
        layers: L.

    Returns:
        Vectors [R + S, d], users first, and the norms [2] of the matrices of all h_u and all h_i.
    """
    nodes = torch.cat([users, n_users + items])
    both: tuple[Tensor, Tensor] = _ReadoutRows.apply(  # type: ignore[no-untyped-call]
        adjacency, start, nodes, n_users, layers
    )
    return both


class _ReadoutRows(torch.autograd.Function):
    """Linear in `start`; the gradient of a norm |H|_F is H / |H|_F.

    It is added to the gradient of the rows before both go back through the layers.
    """

    @staticmethod
    def forward(
        ctx: Any, adjacency: Tensor, start: Tensor, nodes: Tensor, n_users: int, layers: int
    ) -> tuple[Tensor, Tensor]:
        # torch has no sparse product in bfloat16.
        with torch.autocast(start.device.type, enabled=False):
            whole = mean_layers(adjacency, start, layers)
        whole[n_users:] += start[n_users:]
        norms = torch.stack([whole[:n_users].norm(), whole[n_users:].norm()])
        ctx.save_for_backward(whole, nodes, norms)
        ctx.adjacency = adjacency
        ctx.n_users, ctx.layers = n_users, layers
        return whole.index_select(0, nodes), norms

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None, None]:
        whole, nodes, norms = ctx.saved_tensors
        # G / (L + 1), where G is the gradient of all h.
        by_norm = grads[1] / norms.clamp_min(1e-12) / (ctx.layers + 1)
        share = torch.empty_like(whole)
        torch.mul(whole[: ctx.n_users], by_norm[0], out=share[: ctx.n_users])
        torch.mul(whole[ctx.n_users :], by_norm[1], out=share[ctx.n_users :])
        share.index_add_(0, nodes, grads[0], alpha=1 / (ctx.layers + 1))
        total = share if ctx.layers else share.clone()
        with torch.autocast(whole.device.type, enabled=False):
            for _ in range(ctx.layers):
                total = product(ctx.adjacency, total).add_(share)
        total[ctx.n_users :].add_(share[ctx.n_users :], alpha=ctx.layers + 1)
        return None, total, None, None, None
