"""CPE: collaborative preference embedding; a positive is to be nearer than a negative by a fixed amount, neither less nor more.

Symbols: user u and item i have vectors p_u, q_i of norm at most `radius`; D(u, i) = |p_u - q_i|^2, score -D; k is a sampled negative.
Objective over observed pairs (u, i):

    mean over pairs of  sum or mean over k of |D(u, k) - D(u, i) - margin|  +  covariance (tr C - log det(C + eps I))

The first part is [t - margin]+ + [margin - t]+ of the difference t: a hinge on either side. C [d, d] is the covariance of the vectors
of users and items; tr C - log det C is what is variable in the divergence of a Gaussian with that covariance from the standard one,
and least for C = I: it keeps coordinates uncorrelated and none of them unused.
Source: Bao, Xu, Ma, Yang, Cao, Huang, "Collaborative preference embedding against sparse labels", ACM MM 2019.

`reduce` says what is done with the negatives: "sum" is the authors' first code (30 of them), "each" the mean the paper writes, and
"hardest" the library they released later (the nearest of 10; without the covariance).

Differs: mean over the batch, where the code takes a sum, so under "sum" `covariance` is theirs divided by the pairs of a batch (16); vectors
start from N(0, 1/d) and are put into the ball, where theirs start from U(-1, 1), which puts all of them on its surface; the covariance
looks at the users and positives of the batch (`over = "all"` restores the whole tables, at the price of a pass over them per step), by
log-determinant, where the later library takes complex eigenvalues of the scatter matrix and drops what is imaginary. With fewer
vectors in a batch than coordinates, C has no full rank, and eps alone keeps the determinant above 0. The value of eps is not known.
Settings of the paper for ML-100k: dim 300, margin 1.2, covariance 5e-3 (theirs), 30 negatives, adagrad, lr 0.05, 16 pairs a step;
P@30 / MAP 0.3633 / 0.2938 are published for a random split of 4:1 of ratings >= 4, which is not available.
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
    """Collaborative preference embedding: a margin kept from both sides, coordinates kept uncorrelated (Bao et al., MM 2019)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector."""
    margin: float = 1.2
    """By how much a negative should be further away than the positive, in squared distance."""
    reduce: Reduce = "each"
    """Over the K negatives: mean of each, their sum, or only the nearest."""
    sampler: Sampler = Sampler(negatives=30)
    covariance: Annotated[float, Bound(ge=0)] = 0.0
    """Weight of the covariance term."""
    over: Literal["batch", "all"] = "batch"
    """Whose covariance: of the users and positives of the batch, or of both tables."""
    eps: Annotated[float, Bound(gt=0)] = 1e-4
    """Added to the diagonal of the covariance within the determinant."""
    radius: Annotated[float, Bound(gt=0)] = 1.0
    """Of the ball every vector is kept in."""

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
    """|pos - neg - margin| of each pair with its negatives, [B]; 0 for a pair without any.

    Args:
        pos, neg: minus the squared distances of the positives [B] and of the negatives [B, K].
        margin: what the difference should be.
        reduce: over the negatives, as in the recipe.
        mask: bool [B, K], False where a candidate is no negative, or None.
    """
    if reduce == "hardest":
        usable = neg if mask is None else neg.masked_fill(~mask, -torch.inf)
        place = usable.detach().argmax(1, keepdim=True)
        neg, mask = neg.gather(1, place), None if mask is None else mask.gather(1, place)
    each = (pos[:, None] - neg - margin).abs()
    if mask is None:
        return each.mean(1) if reduce == "each" else each.sum(1)
    total = (each * mask).sum(1)
    return total / mask.sum(1).clamp_min(1) if reduce == "each" else total


def log_det_divergence(vectors: Tensor, eps: float) -> Tensor:
    """The covariance term: tr C - log det(C + eps I) of the covariance C [d, d] of vectors [n, d], a scalar.

    It is least where every coordinate has variance 1 - eps and none goes with another.
    """
    # A determinant of a rounded covariance may be negative.
    with torch.autocast(vectors.device.type, enabled=False):
        centred = vectors - vectors.mean(0)
        matrix = centred.T @ centred / len(vectors)
        trace = matrix.diagonal().sum()
        return (
            trace
            - torch.linalg.slogdet(
                matrix + eps * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
            )[1]
        )
