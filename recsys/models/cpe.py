"""CPE: collaborative preference embedding, with a margin that is kept from both sides.

Symbols: user u and item i have vectors p_u, q_i of norm at most `radius`; D(u, i) = |p_u - q_i|^2,
score -D; k is a sampled negative. Objective over observed pairs (u, i):

    mean over pairs of  sum or mean over k of |D(u, k) - D(u, i) - margin|
        +  covariance (tr C - log det(C + eps I))

The first part is [t - margin]+ + [margin - t]+ of the difference t: a hinge on either side. C [d,
d] is the covariance of the vectors of users and items. tr C - log det C is the variable part of the
divergence of a Gaussian with that covariance from the standard one, and is least for C = I: it
keeps coordinates uncorrelated and all of them in use.

Source: Bao, Xu, Ma, Yang, Cao, Huang, "Collaborative preference embedding against sparse labels",
ACM MM 2019.

`reduce` combines the negatives: "sum" is the authors' first code (30 negatives), "each" is the mean
that the paper writes, and "hardest" is the library that they released later (the nearest of 10,
without the covariance).

Differs: the loss is the mean over the batch, where the code takes a sum, so under "sum"
`covariance` is theirs divided by the pairs of a batch (16). Vectors start from N(0, 1/d) and are
put into the ball, where theirs start from U(-1, 1), which puts all of them on its surface. The
covariance is that of the users and positives of the batch (`over = "all"` restores the whole
tables, at the price of a pass over them per step). It is computed by log-determinant, where the
later library takes complex eigenvalues of the scatter matrix and drops the imaginary part. With
fewer vectors in a batch than coordinates, C does not have full rank, and only eps keeps the
determinant above 0. The published value of eps is not known.

Settings of the paper for ML-100k: dim 300, margin 1.2, covariance 5e-3 (theirs), 30 negatives,
adagrad, lr 0.05, 16 pairs a step. P@30 / MAP 0.3633 / 0.2938 are published for a random split of
4:1 of ratings >= 4, which is not available.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import keep_in, project
from recsys.nn.losses import Terms
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["CPE", "log_det_divergence", "two_sided"]

Reduce = Literal["each", "sum", "hardest"]


@settings
class CPE(NeedsNegatives):
    """A margin kept from both sides, and uncorrelated coordinates (Bao et al., MM 2019)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    margin: float = 1.2
    """Target difference of the squared distances to a negative and to the positive."""
    reduce: Reduce = "each"
    """Reduction over the K negatives: their mean, their sum, or the nearest only."""
    sampler: Sampler = Sampler(negatives=30)
    covariance: Annotated[float, Bound(ge=0)] = 0.0
    """Weight of the covariance term."""
    over: Literal["batch", "all"] = "batch"
    """Compute the covariance from the users and positives of the batch, or from both tables."""
    eps: Annotated[float, Bound(gt=0)] = 1e-4
    """Added to the diagonal of the covariance within the determinant."""
    radius: Annotated[float, Bound(gt=0)] = 1.0
    """Radius of the ball of all vectors."""

    def build(self, train: Dataset) -> Network:
        return _CPE(self, train)


class _CPE(Network):
    def __init__(self, recipe: CPE, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.user = embedding(train.n_users, recipe.dim, recipe.dim**-0.5)
        self.item = embedding(train.n_items, recipe.dim, recipe.dim**-0.5)
        if not recipe.covariance or recipe.over == "batch":
            self.rows = (self.user, self.item)
        with torch.no_grad():
            for table in (self.user, self.item):
                project(table.weight, "ball", recipe.radius)

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        user = self.user(batch.user)
        items = self.item(torch.cat([batch.pos, batch.neg.reshape(-1)]))
        item, negatives = items[: len(batch)], items[len(batch) :]
        pos, neg = pair_scores(batch, user, item, negatives, "euclidean")
        pair = two_sided(pos, neg, recipe.margin, recipe.reduce, batch.mask)
        if not recipe.covariance:
            return Terms(pair)
        vectors = torch.cat(
            [user, item] if recipe.over == "batch" else [self.user.weight, self.item.weight]
        )
        return Terms(pair, recipe.covariance * log_det_divergence(vectors, recipe.eps))

    def constrain(self, batch: Batch) -> None:
        for table in (self.user, self.item):
            keep_in(table, "ball", self.recipe.radius)

    def scorer(self) -> Factors:
        return Factors(frozen(self.user), frozen(self.item), "euclidean")


def two_sided(
    pos: Tensor, neg: Tensor, margin: float, reduce: Reduce, mask: Tensor | None = None
) -> Tensor:
    """Return |pos - neg - margin| of each pair, [B], reduced over its negatives; 0 without any.

    Args:
        pos, neg: negated squared distances of the positives [B] and of the negatives [B, K].
        margin: target of the difference.
        reduce: reduction over the negatives, as in the recipe.
        mask: bool [B, K], False where a candidate is not a negative, or None.
    """
    if reduce == "hardest":
        usable = neg if mask is None else neg.masked_fill(~mask, -torch.inf)
        nearest = usable.detach().argmax(1, keepdim=True)
        neg, mask = neg.gather(1, nearest), None if mask is None else mask.gather(1, nearest)
    each = (pos[:, None] - neg - margin).abs()
    if mask is None:
        return each.mean(1) if reduce == "each" else each.sum(1)
    total = (each * mask).sum(1)
    return total / mask.sum(1).clamp_min(1) if reduce == "each" else total


def log_det_divergence(vectors: Tensor, eps: float) -> Tensor:
    """Return tr C - log det(C + eps I) of the covariance C [d, d] of vectors [n, d], a scalar.

    It is least if every coordinate has variance 1 - eps and all are uncorrelated.
    """
    # In half precision the rounded covariance may have a negative determinant.
    with torch.autocast(vectors.device.type, enabled=False):
        centred = vectors - vectors.mean(0)
        matrix = centred.T @ centred / len(vectors)
        trace = matrix.diagonal().sum()
        identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        return trace - torch.linalg.slogdet(matrix + eps * identity)[1]
