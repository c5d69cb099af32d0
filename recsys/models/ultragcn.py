"""UltraGCN: the limit of infinitely many propagations as weights of a plain loss, without a graph.

Symbols: s(u, i) = p_u . q_i; d_u and d_i are the numbers of training interactions of user u and
item i; sigma is the logistic function;

    beta_ui = sqrt((d_u + 1) / (d_i + 1)) / d_u

are the weights of the fixed point of propagation, p_u = sum over items i of u of beta_ui q_i. G =
X^T X counts the common users of two items, g is its row sums, omega_ik = G_ik / g_i * sqrt((g_i +
1) / (g_k + 1)), N(i) are the `neighbours` items k of greatest omega_ik. Objective: the mean over
observed pairs (u, i) of

      - (w1 + w2 beta_ui) log sigma(s(u, i))
      - negative_weight * mean over sampled negatives j of (w3 + w4 beta_uj) log sigma(-s(u, j))
      - item_weight * sum over k in N(i) of omega_ik log sigma(s(u, k))

plus l2 / (2 B) * squared norms of all vectors, B the pairs of the batch, (w1, w2, w3, w4) =
`weights`.

Source: Mao, Zhu, Xiao, Lu, Wang, He, "UltraGCN: ultra simplification of graph convolutional
networks for recommendation", CIKM 2021.

An item is among its own neighbours (`itself`), as in the released code. With itself = false G has
no diagonal, which the code offers, too. The paper has, as far as is known, g_i - G_ii in the
denominator. w2 = 0 or w4 = 0 leaves beta out.

Differs: the mean over the batch, where the code takes the sum, so l2 is divided by B, which for
Adam is the same. The negatives are one pool that the batch shares, where the code draws them for
each pair (`sampler.pool = "own"`); neither excludes the user's training items.

The defaults are the setting of Yelp2018 (lr 1e-3, batch 1024). Should reproduce (LightGCN splits,
selected on test, from the BARS leaderboard): recall@20 / ndcg@20 on Yelp2018 0.0683 / 0.0561 (a
maintainer's new run: 0.0673 / 0.0554); on Gowalla 0.1862 / 0.1580 with weights 1e-6, 1, 1e-6, 1,
1500 negatives of weight 300, lr 1e-4, batch 512; on Amazon-Book 0.0681 / 0.0556 with weights 1e-8,
1, 1, 1e-8, 500 negatives of weight 500, item_weight 2.75.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import similarity
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen, half_square
from recsys.nn.terms import Terms, mean_of
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors
from recsys.scorer.row_neighbours import nearest

__all__ = ["UltraGCN", "item_graph"]


@settings
class UltraGCN(NeedsNegatives):
    """Infinite propagation as weights of a plain loss, with item neighbours (Mao et al., 2021)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    weights: tuple[float, float, float, float] = (1e-8, 1.0, 1e-8, 1.0)
    """w1, w2 of a positive, w3, w4 of a negative: a constant, and a factor of beta."""
    negative_weight: Annotated[float, Bound(ge=0)] = 300.0
    """Weight of the mean over the negatives."""
    item_weight: Annotated[float, Bound(ge=0)] = 5e-4
    """Weight of the neighbours of the positive, lambda of the paper."""
    neighbours: Annotated[int, Bound(ge=1)] = 10
    """Number of neighbours of an item."""
    itself: bool = True
    """Allow an item among its own neighbours."""
    sampler: Sampler = Sampler(negatives=800, pool="shared", reject=False)
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of half the squared norms of all vectors, in the batch or not."""
    init_std: Annotated[float, Bound(gt=0)] = 1e-4
    """Standard deviation of the start values."""

    def build(self, train: Dataset) -> Network:
        return _UltraGCN(self, train)


class _UltraGCN(Network):
    by_user: Tensor
    by_item: Tensor
    neighbour: Tensor
    omega: Tensor

    def __init__(self, recipe: UltraGCN, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.user = embedding(train.n_users, recipe.dim, recipe.init_std)
        self.item = embedding(train.n_items, recipe.dim, recipe.init_std)
        observed = train.pairs.csr
        of_user, of_item = (
            np.asarray(observed.sum(axis), dtype=np.float64).ravel() for axis in (1, 0)
        )
        # beta is the product of a number of the user and one of the item; a user without a training
        # interaction is never in a batch.
        self.register_buffer(
            "by_user",
            torch.from_numpy(np.sqrt(of_user + 1) / np.maximum(of_user, 1)).float(),
            persistent=False,
        )
        self.register_buffer(
            "by_item", torch.from_numpy(1 / np.sqrt(of_item + 1)).float(), persistent=False
        )
        if recipe.item_weight:
            neighbour, omega = item_graph(observed, recipe.neighbours, itself=recipe.itself)
            self.register_buffer("neighbour", torch.from_numpy(neighbour), persistent=False)
            self.register_buffer("omega", torch.from_numpy(omega), persistent=False)
        if not recipe.l2:
            self.rows = (self.user, self.item)

    def loss(self, batch: Batch) -> Terms:
        recipe, size = self.recipe, len(batch)
        w1, w2, w3, w4 = recipe.weights
        user = self.user(batch.user)
        neighbours = self.neighbour[batch.pos].view(-1) if recipe.item_weight else batch.pos[:0]
        items = self.item(torch.cat([batch.pos, batch.neg.reshape(-1), neighbours]))
        item, negatives, alike = items.split([size, batch.neg.numel(), len(neighbours)])

        by_user = self.by_user[batch.user]
        pos, neg = pair_scores(batch, user, item, negatives)
        pair = (w1 + w2 * by_user * self.by_item[batch.pos]) * F.softplus(-pos)
        each = (w3 + w4 * by_user[:, None] * self.by_item[batch.neg]) * F.softplus(neg)
        pair = pair + recipe.negative_weight * mean_of(each, batch.mask)
        if recipe.item_weight:
            omega = self.omega[batch.pos]
            pair = pair + recipe.item_weight * (
                omega * F.softplus(-similarity("dot", user, alike.view(*omega.shape, -1)))
            ).sum(1)
        if not recipe.l2:
            return Terms(pair)
        return Terms(pair, recipe.l2 / size * half_square(self.user.weight, self.item.weight))

    def scorer(self) -> Factors:
        return Factors(frozen(self.user), frozen(self.item))


def item_graph(observed: sp.csr_matrix, k: int, *, itself: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the k neighbours of every item and their weights omega.

    The product G of all items is never held: its row sums follow from the interaction counts, and
    its rows are computed block by block.

    Args:
        observed: users x items, CSR of ones, column indices sorted.
        k: neighbours per item; items with fewer are filled up with others of weight 0.
        itself: whether G keeps its diagonal, and an item may be its own neighbour.

    Returns:
        Item rows int64 [n_items, k] and weights float32 [n_items, k], the greatest first; equal
        weights are ordered by row number.
    """
    users_of = observed.T.tocsr().astype(np.float32)
    users_of.sort_indices()
    count = np.diff(users_of.indptr).astype(np.float64)
    sums = users_of.astype(np.float64) @ np.asarray(observed.sum(1), dtype=np.float64).ravel()
    sums = sums - (0 if itself else count)
    safe = np.maximum(sums, 1)
    graph = nearest(users_of, k, left=safe / np.sqrt(sums + 1), right=np.sqrt(sums + 1))
    if itself:
        graph = (graph + sp.diags((count / safe).astype(np.float32))).tocsr()
        graph.eliminate_zeros()
        graph.sort_indices()
    n, sizes = observed.shape[1], np.diff(graph.indptr)
    row = np.repeat(np.arange(n), sizes)
    order = np.lexsort((graph.indices, -graph.data, row))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = order[rank < k]
    neighbour, omega = np.zeros((n, k), dtype=np.int64), np.zeros((n, k), dtype=np.float32)
    at = row[kept], rank[rank < k]
    neighbour[at], omega[at] = graph.indices[kept], graph.data[kept]
    return neighbour, omega
