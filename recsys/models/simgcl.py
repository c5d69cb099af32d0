"""SimGCL: LightGCN, and two views of every node that differ by noise alone are to be nearer to each other than to those of other nodes.

Symbols: E^(0) is learned; A = D^-1/2 [[0, R], [R^T, 0]] D^-1/2. A view is a propagation with noise added to every layer,

    E^(l) = A E^(l-1) + eps * sign(A E^(l-1)) * n,   n drawn from U(0, 1)^dim for each node and scaled to length 1,

and the vector of a node is the mean of its layers 1..L: layer 0, which no noise touches, is left out. e_u, e_i are vectors of the
propagation without noise, z' and z'' those of two noisy ones. Objective:

    mean over observed pairs (u, i) of -log sigmoid(e_u . e_i - e_u . e_j)  +  l2 / (2 B) * squared norms of E^(0) at the batch
    + contrast * (InfoNCE over the distinct users of the batch + InfoNCE over its distinct positives),
    InfoNCE = mean over nodes v of -log( exp(cos(z'_v, z''_v) / temperature) / sum over nodes w of exp(cos(z'_v, z''_w) / temperature) )

j the sampled negative. Items are ranked by the propagation without noise.
Source: Yu, Yin, Xia, Chen, Cui, Nguyen, "Are graph augmentations necessary? Simple graph contrastive learning for recommendation", SIGIR 2022.

How it is made cheap, without changing its result: noise has no gradient, so the three propagations are one linear map with three
constants. They run side by side as one product of width 3 dim, the first layer of all of them is one product, and backwards only
the sum of their gradients is propagated: about 4 L products of width dim instead of 6 L.

Differs from the authors' library (SELFRec): l2 is half a squared norm of E^(0), where the library takes the norm, not squared, of the
vectors that are ranked. The start is that of the library, uniform after Xavier for users and items apart; beside a larger one the noise,
whose length is fixed, would be smaller.
Should reproduce (LightGCN split of Yelp2018, these settings, batch 2048, lr 1e-3): recall@20 / ndcg@20 0.0721 / 0.0601, from the README of
SELFRec, selected on test; 0.0517 / 0.0412 on Amazon-Book is quoted from CAFU. With batches of 8192 users report 0.0613 on Yelp2018.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import Network, half_square, require_negatives
from recsys.nn.distance import near, similarity_pool
from recsys.nn.graph import mean_layers, normalised_adjacency
from recsys.nn.infonce import contrast
from recsys.nn.losses import Logits, Loss, Terms, pair_terms
from recsys.nn.sparse_product import product
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["GraphContrast", "Rows", "SimGCL", "noisy_layers_rows"]


@settings
class SimGCL:
    """LightGCN with a contrast between two propagations that differ by noise (Yu et al., SIGIR 2022)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector."""
    layers: Annotated[int, Bound(ge=1, le=10)] = 3
    """Propagations over the graph."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    contrast: Annotated[float, Bound(ge=0)] = 0.5
    """Weight of the contrast, lambda of the paper."""
    temperature: Annotated[float, Bound(gt=0)] = 0.2
    """Of the contrast."""
    eps: Annotated[float, Bound(ge=0)] = 0.1
    """Length of the noise that is added to a node at every layer."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of layer 0 at the rows of a batch."""

    def __post_init__(self) -> None:
        require_negatives(self.sampler, self.loss)

    def build(self, train: Dataset) -> Network:
        return _SimGCL(self, train)


class Rows:
    """The distinct nodes of a batch, and where each of its users, positives and negatives is among them.

    Args:
        batch: pairs with negatives.
        n_users: nodes before the first item.

    Attributes:
        nodes: int64 [R], distinct users in ascending order, then distinct items.
        user, pos, neg: places in `nodes`, shaped as in the batch.
        users, positives: places of the distinct users and of the distinct positives: what is contrasted.
    """

    def __init__(self, batch: Batch, n_users: int) -> None:
        users, self.user = torch.unique(batch.user, return_inverse=True)
        items, at = torch.unique(torch.cat([batch.pos, batch.neg.reshape(-1)]), return_inverse=True)
        at = at + len(users)
        self.nodes = torch.cat([users, n_users + items])
        self.pos, self.neg = at[: len(batch)], at[len(batch) :].view(batch.neg.shape)
        self.users, self.positives = (
            torch.arange(len(users), device=users.device),
            torch.unique(self.pos),
        )


class GraphContrast(Network):
    """What SimGCL and XSimGCL share: a table of nodes, the training graph, the loss of the pairs, and the scorer."""

    adjacency: Tensor

    def __init__(self, recipe: Any, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.n_users, self.n_items = train.n_users, train.n_items
        self.nodes = nn.Embedding(train.n_users + train.n_items, recipe.dim)
        with torch.no_grad():
            for part in torch.split(self.nodes.weight, [train.n_users, train.n_items]):
                nn.init.xavier_uniform_(part)
        self.register_buffer("adjacency", normalised_adjacency(train.pairs), persistent=False)

    def pairs(self, batch: Batch, rows: Rows, vectors: Tensor) -> tuple[Tensor, Logits | None]:
        """Loss of each pair [B], from the vectors [R, d] of the nodes of the batch, and the logits of a loss by labels."""
        user, item, negatives = (F.embedding(at, vectors) for at in (rows.user, rows.pos, rows.neg))
        pos = near("dot", user, item)
        neg = (
            similarity_pool("dot", user, negatives)
            if batch.shared
            else near("dot", user, negatives)
        )
        terms = pair_terms(
            self.recipe.loss, pos, neg, n_items=self.n_items, mask=batch.mask, log_q=batch.log_q
        )
        return terms.pair, terms.logits

    def extra(self, batch: Batch, rows: Rows, one: Tensor, other: Tensor, zeroth: Tensor) -> Tensor:
        """The contrast of two views [R, d] of the nodes of the batch, and the regularisation of layer 0 [R, d]; a scalar."""
        recipe = self.recipe
        total = zeroth.new_zeros(())
        if recipe.contrast:
            parts = [
                contrast(one.index_select(0, at), other.index_select(0, at), recipe.temperature)
                for at in (rows.users, rows.positives)
            ]
            total = recipe.contrast * (parts[0] + parts[1])
        if recipe.l2:
            wanted = torch.cat([rows.user, rows.pos, rows.neg.reshape(-1)])
            total = total + recipe.l2 / len(batch) * half_square(F.embedding(wanted, zeroth))
        return total

    def scorer(self) -> Factors:
        """The mean of layers 1..L without noise."""
        start = self.nodes.weight.detach()
        vectors = mean_layers(
            self.adjacency, product(self.adjacency, start), self.recipe.layers - 1
        )
        return Factors(vectors[: self.n_users].clone(), vectors[self.n_users :].clone())


class _SimGCL(GraphContrast):
    def loss(self, batch: Batch) -> Terms:
        recipe, rows = self.recipe, Rows(batch, self.n_users)
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


def noisy_layers_rows(
    adjacency: Tensor, start: Tensor, rows: Tensor, layers: int, eps: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Layers 1..L at some rows, of several propagations that differ by their noise, with a gradient for `start`.

    Noise is drawn from torch's default generator of the device.

    Args:
        adjacency: symmetric sparse CSR [N, N].
        start: layer 0, [N, d].
        rows: distinct nodes, int64 [R].
        layers: L, at least 1.
        eps: length of the noise of each of the V propagations; those without, 0, stand first.

    Returns:
        The layers at `rows` [V, L, R, d], and layer 0 at `rows` [R, d].
    """
    both: tuple[Tensor, Tensor] = _NoisyLayersRows.apply(adjacency, start, rows, layers, eps)  # type: ignore[no-untyped-call]
    return both


class _NoisyLayersRows(torch.autograd.Function):
    """Linear in `start` but for constants, so its adjoint is a Horner scheme over the gradients, added up over the propagations."""

    @staticmethod
    def forward(
        ctx: Any,
        adjacency: Tensor,
        start: Tensor,
        rows: Tensor,
        layers: int,
        eps: tuple[float, ...],
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        ctx.adjacency, ctx.layers, ctx.shape = adjacency, layers, start.shape
        views, (nodes, dim) = len(eps), start.shape
        found = start.new_empty(layers, len(rows), views, dim)
        with torch.autocast(
            start.device.type, enabled=False
        ):  # there is no sparse product in bfloat16
            current = product(adjacency, start)[:, None].repeat(
                1, views, 1
            )  # before its noise the first layer is that of all
            for layer in range(layers):
                if layer:
                    current = product(adjacency, current.view(nodes, -1)).view(nodes, views, dim)
                for view, length in enumerate(eps):
                    if length:
                        _add_noise(current[:, view], length)
                torch.index_select(current, 0, rows, out=found[layer])
        return found.permute(2, 0, 1, 3), start.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None, None]:
        (rows,) = ctx.saved_tensors
        share = grads[0].sum(0)
        total = share.new_zeros(ctx.shape)
        for layer in reversed(range(ctx.layers)):
            total = product(ctx.adjacency, total.index_add_(0, rows, share[layer]))
        return None, total.index_add_(0, rows, grads[1]), None, None, None


def _add_noise(vectors: Tensor, length: float) -> None:
    """Each row moved by `length` in a random direction of its own orthant, in place; what is 0 stays."""
    noise = torch.rand(vectors.shape, dtype=vectors.dtype, device=vectors.device)
    vectors.addcmul_(vectors.sign(), F.normalize(noise, dim=-1), value=length)
