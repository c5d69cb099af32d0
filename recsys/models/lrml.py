"""LRML: latent relational metric learning, with relation vectors that are read from a memory.

Symbols: user u and item i have vectors p_u, q_i of norm at most `radius`; K [d, m] are keys, M [m,
d] is the memory, both shared by all.

    a_ui = softmax((p_u * q_i) K) in R^m,  r_ui = a_ui M,  D(u, i) = |p_u + r_ui - q_i|^2,  score -D

Objective: mean over observed pairs (u, i) of [margin + D(u, i) - D(u, k)]+ over sampled negatives k
(`loss` may be another one). In training, the relation r_ui of the positive is also used in the
distances of its negatives (`share_relation`); in ranking, each item has its own.

Source: Tay, Luu, Hui, "Latent relational metric learning via memory-based attention for
collaborative ranking", WWW 2018.

Differs from the paper and its released code: squared distance, where the code has the root of it
plus 1e-3 (the same order of items); mean over the batch instead of the sum, without a limit on
single gradient entries (`train.clip` limits the norm of all); several negatives per pair, as in
later comparisons. Tables and memory start from N(0, 1/d) and keys from N(0, 1), where the code has
a uniform start of the tables and is tuned differently. share_relation = false is the variant that
the authors of HLR (RecSys 2021) found better.

The released code is an excerpt that promises no numbers. As a baseline, P@3 / MAP 14.91 / 12.24 are
published for the author split of Steam-200k (Bao et al., NeurIPS 2022) and 20.65 / 13.48 for that
of ML-100k (Bao et al., TPAMI 2023: dim 256, m 20, margin 1.5, adagrad, lr 0.01).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import keep_in, project, similarity
from recsys.nn.losses import Loss, Terms, pair_loss, refuse_fitting
from recsys.nn.scores import negative_scores
from recsys.nn.tables import embedding, frozen
from recsys.sampling import Batch, Sampler
from recsys.scorer import Relational

__all__ = ["LRML"]


@settings
class LRML(NeedsNegatives):
    """Distance from user plus relation to item, relations from a memory (Tay et al., WWW 2018)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    memories: Annotated[int, Bound(ge=1)] = 20
    """m: number of vectors of the memory."""
    loss: Loss = Loss(kind="hinge", reduce="each", margin=1.0)
    sampler: Sampler = Sampler(negatives=10)
    share_relation: bool = True
    """Compare negatives under the relation of their positive; false: each under its own."""
    clip: Literal["step", "lookup"] = "step"
    """step: put vectors into the ball after each step. lookup: whenever they are read, within the
    gradient, as in the authors' code."""
    radius: Annotated[float, Bound(gt=0)] = 1.0
    """Radius of the ball of users and items; relations have any length."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_fitting(self.loss, "LRML")

    def build(self, train: Dataset) -> Network:
        return _LRML(self, train)


class _LRML(Network):
    def __init__(self, recipe: LRML, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.user = embedding(train.n_users, recipe.dim, recipe.dim**-0.5)
        self.item = embedding(train.n_items, recipe.dim, recipe.dim**-0.5)
        self.key = torch.nn.Parameter(torch.randn(recipe.dim, recipe.memories))
        self.memory = torch.nn.Parameter(
            torch.randn(recipe.memories, recipe.dim) * recipe.dim**-0.5
        )
        self.rows = (self.user, self.item)
        if recipe.clip == "step":
            with torch.no_grad():
                for table in self.rows:
                    project(table.weight, "ball", recipe.radius)

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        user = self._within(self.user(batch.user))
        items = self._within(self.item(torch.cat([batch.pos, batch.neg.reshape(-1)])))
        item, negatives = items[: len(batch)], items[len(batch) :]
        moved = user + self._relation(user, item)
        pos = similarity("euclidean", moved, item)
        if not recipe.share_relation:
            # Every user has its own relation with each item of a shared pool, so no product of two
            # tables gives these distances.
            each = negatives if batch.shared else negatives.view(*batch.neg.shape, -1)
            each = each.expand(len(batch), -1, -1)
            own = user[:, None] + self._relation(user[:, None], each)
            neg = similarity("euclidean", own.flatten(0, 1), each.flatten(0, 1)).view(
                len(batch), -1
            )
        else:
            neg = negative_scores(batch, moved, negatives, "euclidean")
        pair = pair_loss(
            recipe.loss,
            pos,
            neg,
            n_items=self.item.num_embeddings,
            mask=batch.mask,
            log_q=batch.log_q,
        )
        return Terms(pair)

    def _relation(self, user: Tensor, item: Tensor) -> Tensor:
        """Return the relation of users and items, of their common shape [..., d]."""
        return torch.softmax((user * item) @ self.key, dim=-1) @ self.memory

    def _within(self, vectors: Tensor) -> Tensor:
        """Return the vectors, put into the ball if that is done at lookup."""
        radius = self.recipe.radius
        if self.recipe.clip == "step":
            return vectors
        return vectors * (radius / vectors.norm(dim=-1, keepdim=True).clamp_min(radius))

    def constrain(self, batch: Batch) -> None:
        if self.recipe.clip == "step":
            for table in self.rows:
                keep_in(table, "ball", self.recipe.radius)

    def scorer(self) -> Relational:
        user, item = (
            self._within(self.user.weight.detach()),
            self._within(self.item.weight.detach()),
        )
        return Relational(user.clone(), item.clone(), frozen(self.key), frozen(self.memory))
