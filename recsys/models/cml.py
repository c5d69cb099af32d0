"""CML: collaborative metric learning, users and items as points of one space.

Distance D(u, i) = |p_u - q_i|^2, score -D. Objective: mean over observed pairs of
w_ui * [margin + D(u, i) - min_k D(u, k)]+ over sampled negatives k, every vector kept in the unit ball; w_ui = ln(rank + 1)
with the rank of i estimated from the share of negatives within the margin (WARP), or 1 without it; plus `covariance` times
(|C|_F^2 - |diag C|^2) / d, C the covariance of the coordinates over the vectors of the batch.
Source: Hsieh, Yang, Cui, Lin, Belongie, Estrin, "Collaborative metric learning", WWW 2017.

Differs from the paper: mean over the batch instead of the sum (with Adam or Adagrad the same but for the weight of the
covariance); the covariance term squares the first norm, which the printed formula evidently means; only the rows that moved
are put back into the ball, as no other can have left it. The feature term of the paper is not here.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import Network, embedding, require_negatives
from recsys.nn.distance import clip_to_ball, near, near_pool
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.sample import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["CML"]


@settings
class CML:
    """Collaborative metric learning: nearness in one space, with or without WARP weights (Hsieh et al., WWW 2017)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector."""
    loss: Loss = Loss(kind="hinge", reduce="warp", margin=1.0)
    """reduce = "warp" is the paper's; "hardest" drops the weights; "each" counts every negative."""
    sampler: Sampler = Sampler(negatives=10)
    covariance: Annotated[float, Bound(ge=0)] = 0.0
    """Weight of the covariance regulariser (the paper tunes it around 10, for a sum over the batch)."""
    radius: Annotated[float, Bound(gt=0)] = 1.0
    """Of the ball every vector is kept in."""

    def __post_init__(self) -> None:
        require_negatives(self.sampler)

    def build(self, train: Dataset) -> Network:
        return _CML(self, train)


class _CML(Network):
    def __init__(self, recipe: CML, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.user = embedding(train.n_users, recipe.dim, recipe.dim**-0.5)
        self.item = embedding(train.n_items, recipe.dim, recipe.dim**-0.5)
        self.rows = (self.user, self.item)
        with torch.no_grad():
            for table in self.rows:
                clip_to_ball(table.weight, recipe.radius)

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        user = self.user(batch.user)
        items = self.item(torch.cat([batch.pos, batch.neg.reshape(-1)]))
        item, negatives = items[: len(batch)], items[len(batch) :]
        pos = near("euclidean", user, item)
        neg = near_pool("euclidean", user, negatives) if batch.shared else near("euclidean", user, negatives.view(*batch.neg.shape, -1))
        pair = pair_loss(recipe.loss, pos, neg, n_items=self.item.num_embeddings, mask=batch.mask, log_q=batch.log_q)
        return Terms(pair, recipe.covariance * covariance(torch.cat([user, item])) if recipe.covariance else None)

    @torch.no_grad()
    def constrain(self, batch: Batch) -> None:
        for table, touched in ((self.user, batch.user), (self.item, torch.cat([batch.pos, batch.neg.reshape(-1)]))):
            if table.sparse:
                rows = torch.unique(touched)
                table.weight.index_copy_(0, rows, clip_to_ball(table.weight.index_select(0, rows), self.recipe.radius))
            else:
                clip_to_ball(table.weight, self.recipe.radius)

    def scorer(self) -> Factors:
        return Factors(self.user.weight.detach().clone(), self.item.weight.detach().clone(), "euclidean")


def covariance(vectors: Tensor) -> Tensor:
    """(|C|_F^2 - |diag C|^2) / d of the covariance C [d, d] of vectors [n, d]: 0 where the coordinates are uncorrelated."""
    centred = vectors - vectors.mean(0)
    matrix = centred.T @ centred / len(vectors)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / vectors.shape[1]
