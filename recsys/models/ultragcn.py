"""UltraGCN: the limit of infinitely many propagations as weights of a plain loss; no graph is propagated.

Symbols: s(u, i) = p_u . q_i, d_u and d_i numbers of training pairs of user u and item i, sigma the logistic function,

    beta_ui = sqrt((d_u + 1) / (d_i + 1)) / d_u

the weights of what no longer changes when it is propagated, p_u = sum over items i of u of beta_ui q_i. G = X^T X counts the users that two
items share, g its row sums, omega_ik = G_ik / g_i * sqrt((g_i + 1) / (g_k + 1)), N(i) the `neighbours` items k of greatest omega_ik. Objective: the
mean over observed pairs (u, i) of

      - (w1 + w2 beta_ui) log sigma(s(u, i))
      - negative_weight * mean over sampled negatives j of (w3 + w4 beta_uj) log sigma(-s(u, j))
      - item_weight * sum over k in N(i) of omega_ik log sigma(s(u, k))

plus l2 / (2 B) * squared norms of all vectors, B the pairs of the batch, (w1, w2, w3, w4) = `weights`.
Source: Mao, Zhu, Xiao, Lu, Wang, He, "UltraGCN: ultra simplification of graph convolutional networks for recommendation", CIKM 2021.

An item is among its own neighbours (`itself`), as in the released code; with itself = false G has no diagonal, which the code offers, too. The paper
has, as far as could be found out, g_i - G_ii below the fraction. w2 = 0 or w4 = 0 leaves beta out.

Differs: the mean over the batch, where the code takes the sum, so l2 is divided by B, which for Adam is the same; the negatives are one pool that
the batch shares, where the code draws for each pair its own (`sampler.pool = "own"`), both without looking at what the user has met.
The defaults are the setting of Yelp2018 (lr 1e-3, batch 1024). Should reproduce (LightGCN splits, selected on test, from the BARS leaderboard):
recall@20 / ndcg@20 on Yelp2018 0.0683 / 0.0561 (a maintainer's new run: 0.0673 / 0.0554); on Gowalla 0.1862 / 0.1580 with weights 1e-6, 1, 1e-6, 1,
1500 negatives of weight 300, lr 1e-4, batch 512; on Amazon-Book 0.0681 / 0.0556 with weights 1e-8, 1, 1, 1e-8, 500 negatives of weight 500,
item_weight 2.75.
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
from recsys.nn.losses import Terms
from recsys.nn.neighbours import nearest
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["UltraGCN", "item_graph"]


@settings
class UltraGCN(NeedsNegatives):
    """Infinitely many propagations as weights of a plain loss, and item neighbours (Mao et al., CIKM 2021)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector."""
    weights: tuple[float, float, float, float] = (1e-8, 1.0, 1e-8, 1.0)
    """w1, w2 of a positive, w3, w4 of a negative: a constant, and a factor of beta."""
    negative_weight: Annotated[float, Bound(ge=0)] = 300.0
    """Weight of the mean over the negatives."""
    item_weight: Annotated[float, Bound(ge=0)] = 5e-4
    """Weight of the neighbours of the positive, lambda of the paper."""
    neighbours: Annotated[int, Bound(ge=1)] = 10
    """Neighbours of an item."""
    itself: bool = True
    """Whether an item may be among its own neighbours."""
    sampler: Sampler = Sampler(negatives=800, pool="shared", reject=False)
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of half the squared norms of all vectors, whether a batch holds them or not."""
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
        met = train.pairs.csr
        of_user, of_item = (np.asarray(met.sum(axis), dtype=np.float64).ravel() for axis in (1, 0))
        # beta of a user and an item is the product of a number of each; users without a pair are in no batch.
        self.register_buffer(
            "by_user",
            torch.from_numpy(np.sqrt(of_user + 1) / np.maximum(of_user, 1)).float(),
            persistent=False,
        )
        self.register_buffer(
            "by_item", torch.from_numpy(1 / np.sqrt(of_item + 1)).float(), persistent=False
        )
        if recipe.item_weight:
            neighbour, omega = item_graph(met, recipe.neighbours, itself=recipe.itself)
            self.register_buffer("neighbour", torch.from_numpy(neighbour), persistent=False)
            self.register_buffer("omega", torch.from_numpy(omega), persistent=False)
        if not recipe.l2:
            self.rows = (self.user, self.item)

    def loss(self, batch: Batch) -> Terms:
        recipe, size = self.recipe, len(batch)
        w1, w2, w3, w4 = recipe.weights
        user = self.user(batch.user)
        near_items = self.neighbour[batch.pos].view(-1) if recipe.item_weight else batch.pos[:0]
        items = self.item(torch.cat([batch.pos, batch.neg.reshape(-1), near_items]))
        item, negatives, alike = items.split([size, batch.neg.numel(), len(near_items)])

        by_user = self.by_user[batch.user]
        pos, neg = pair_scores(batch, user, item, negatives)
        pair = (w1 + w2 * by_user * self.by_item[batch.pos]) * F.softplus(-pos)
        each = (w3 + w4 * by_user[:, None] * self.by_item[batch.neg]) * F.softplus(neg)
        pair = pair + recipe.negative_weight * _mean(each, batch.mask)
        if recipe.item_weight:
            omega = self.omega[batch.pos]
            pair = pair + recipe.item_weight * (
                omega * F.softplus(-similarity("dot", user, alike.view(*omega.shape, -1)))
            ).sum(1)
        return Terms(
            pair,
            recipe.l2 / size * half_square(self.user.weight, self.item.weight)
            if recipe.l2
            else None,
        )

    def scorer(self) -> Factors:
        return Factors(frozen(self.user), frozen(self.item))


def item_graph(met: sp.csr_matrix, k: int, *, itself: bool) -> tuple[np.ndarray, np.ndarray]:
    """The k neighbours of every item and their weights omega.

    The product G of all items is never held: its row sums follow from the numbers of pairs, its rows are worked on a span at a time.

    Args:
        met: users x items, CSR of ones, column indices sorted.
        k: neighbours; items with fewer have others of weight 0 in their place.
        itself: whether G keeps its diagonal, and an item may be its own neighbour.

    Returns:
        Item rows int64 [n_items, k] and weights float32 [n_items, k], the greatest first; among equals the lower row number first.
    """
    users_of = met.T.tocsr().astype(np.float32)
    users_of.sort_indices()
    count = np.diff(users_of.indptr).astype(np.float64)
    sums = users_of.astype(np.float64) @ np.asarray(met.sum(1), dtype=np.float64).ravel() - (
        0 if itself else count
    )
    safe = np.maximum(sums, 1)
    found = nearest(users_of, k, left=safe / np.sqrt(sums + 1), right=np.sqrt(sums + 1))
    if itself:
        found = (found + sp.diags((count / safe).astype(np.float32))).tocsr()
        found.eliminate_zeros()
        found.sort_indices()
    n = met.shape[1]
    row, held = np.repeat(np.arange(n), np.diff(found.indptr)), np.diff(found.indptr)
    order = np.lexsort((found.indices, -found.data, row))
    place = np.arange(len(order)) - np.repeat(np.cumsum(held) - held, held)
    kept = order[place < k]
    neighbour, omega = np.zeros((n, k), dtype=np.int64), np.zeros((n, k), dtype=np.float32)
    at = row[kept], place[place < k]
    neighbour[at], omega[at] = found.indices[kept], found.data[kept]
    return neighbour, omega


def _mean(each: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the negatives that are some, 0 where none is; [B]."""
    return each.mean(1) if mask is None else (each * mask).sum(1) / mask.sum(1).clamp_min(1)
