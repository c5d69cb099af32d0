"""Matrix factorisation trained on pairs: BPR-MF and its relatives.

Score: s(u, i) = p_u . q_i + b_i, or the cosine of p_u and q_i. Objective: mean over observed pairs
(u, i) of

    loss(s(u, i), {s(u, j)}) + l2 / (2 B) * (|p_u|^2 + |q_i|^2 + sum_j |q_j|^2),

where j are the sampled negatives and B is the batch. With the default loss this is BPR-MF: Rendle,
Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit feedback",
UAI 2009. `loss` and `sampler` select the other members of the family: sampled softmax, cosine
contrastive (MF-CCL), WARP, binary cross-entropy.

Differs from the paper: an epoch visits each pair once and draws new negatives for it, instead of
drawing pairs with replacement. The regularisation is that of the batch's rows, divided by the
batch, as in the code of LightGCN's authors.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.kernels import PairTask, without_kernel
from recsys.models import NeedsNegatives, Network
from recsys.nn.losses import Loss, Terms, pair_terms, refuse_fitting
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors, Similarity

__all__ = ["MF"]


@settings
class MF(NeedsNegatives):
    """BPR-MF by default, or sampled softmax, cosine contrastive, WARP (Rendle et al., 2009)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    similarity: Similarity = "dot"
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of the rows of a batch."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values."""
    item_bias: bool = False
    """Add a learned number per item to its scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.similarity == "euclidean" and not self.item_bias:
            refuse_fitting(self.loss, "MF with similarity = 'euclidean'")

    def build(self, train: Dataset) -> Network:
        return _MF(self, train)


class _MF(Network):
    def __init__(self, recipe: MF, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.user = embedding(train.n_users, recipe.dim, recipe.init_std)
        self.item = embedding(train.n_items, recipe.dim, recipe.init_std)
        self.rows = (self.user, self.item)
        self.bias = torch.nn.Parameter(torch.zeros(train.n_items)) if recipe.item_bias else None

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        user = self.user(batch.user)
        # One lookup for positives and negatives: one sparse gradient to add up instead of two.
        items = self.item(torch.cat([batch.pos, batch.neg.reshape(-1)]))
        item, negatives = items[: len(batch)], items[len(batch) :]
        pos, neg = pair_scores(batch, user, item, negatives, recipe.similarity)
        if self.bias is not None:
            pos, neg = pos + self.bias[batch.pos], neg + self.bias[batch.neg]
        extra = self._l2(user, items, len(batch))
        return pair_terms(
            recipe.loss,
            pos,
            neg,
            n_items=self.item.num_embeddings,
            mask=batch.mask,
            log_q=batch.log_q,
            extra=extra,
        )

    def _l2(self, user: Tensor, items: Tensor, size: int) -> Tensor | None:
        return self.recipe.l2 / size * half_square(user, items) if self.recipe.l2 else None

    def pair_task(self) -> PairTask:
        recipe = self.recipe
        if self.bias is not None:
            raise without_kernel("item_bias = true")
        return PairTask(self.user, self.item, recipe.loss, recipe.similarity, l2=recipe.l2)

    def scorer(self) -> Factors:
        bias = None if self.bias is None else frozen(self.bias)
        return Factors(
            frozen(self.user),
            frozen(self.item),
            self.recipe.similarity,
            bias,
        )
