"""M2F: matrix factorisation with several vectors per user, and MGMF, its generalised form.

Score s(u, i) = max_c sum_d h_d p_ud^c q_id; h = 1 (M2F) or learned (MGMF, `weights = true`).
Objective: mean over observed pairs of loss(s(u, i), {s(u, j)}) + l2 / (2 B) * (squared norms of the
rows of the batch) + weight / B * mean over users of DCRS, where j are the sampled negatives and B
is the number of pairs of a step. The loss of M2F is the square, with target 1 for the pair and 0
for its negatives; that of MGMF is binary cross-entropy: loss = { kind = "bce" }.

Sources: Guo, Mitra, Karampatziakis, Hoffmann, "The stereotyping problem in collaboratively filtered
recommender systems", EAAMO 2021, for M2F; its generalised form is a baseline of Bao et al., NeurIPS
2022. RECONSTRUCTED: neither code nor settings were available.

Differs from the papers: M2F was designed for ratings; here unobserved pairs are sampled.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import similarity_multi, similarity_of_winner
from recsys.nn.diversity import Diversity, diversity
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.tables import embedding, frozen, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import MultiFactors

__all__ = ["M2F"]


@settings
class M2F(NeedsNegatives):
    """Several vectors per user, the best counts: M2F, and with weights MGMF (Guo et al., 2021)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    vectors: Annotated[int, Bound(ge=1)] = 3
    """Number of vectors per user."""
    weights: bool = False
    """Learn a weight per coordinate (MGMF)."""
    loss: Loss = Loss(kind="square")
    sampler: Sampler = Sampler(negatives=4)
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of the rows of a batch."""
    diversity: Diversity = Diversity(weight=0.0)
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values."""

    def build(self, train: Dataset) -> Network:
        return _M2F(self, train)


class _M2F(Network):
    def __init__(self, recipe: M2F, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.n_users, self.n_items = train.n_users, train.n_items
        self.user = embedding(train.n_users, recipe.vectors * recipe.dim, recipe.init_std)
        self.item = embedding(train.n_items, recipe.dim, recipe.init_std)
        self.weight = nn.Parameter(torch.ones(recipe.dim)) if recipe.weights else None
        self.rows = (self.user, self.item)

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        rows = self.user(batch.user)
        vectors = rows.view(len(batch), recipe.vectors, -1)
        users = vectors if self.weight is None else vectors * self.weight
        negatives = batch.neg.expand(len(batch), -1)
        items = self.item(torch.cat([batch.pos[:, None], negatives], dim=1))
        with torch.no_grad():
            winner = similarity_multi("dot", users.detach(), items.detach()).argmax(1)
        value = similarity_of_winner("dot", users, items, winner)
        pair = pair_loss(
            recipe.loss,
            value[:, 0],
            value[:, 1:],
            n_items=self.n_items,
            mask=batch.mask,
            log_q=batch.log_q,
        )
        return Terms(pair, self._extra(rows, vectors, items, len(batch)))

    def _extra(self, rows: Tensor, vectors: Tensor, items: Tensor, size: int) -> Tensor | None:
        recipe, extra = self.recipe, None
        if recipe.l2:
            extra = recipe.l2 / size * half_square(rows, items)
        if recipe.diversity.weight and recipe.vectors > 1:
            term = recipe.diversity.weight / size * diversity(recipe.diversity, vectors).mean()
            extra = term if extra is None else extra + term
        return extra

    def scorer(self) -> MultiFactors:
        users = frozen(self.user).view(self.n_users, self.recipe.vectors, -1)
        return MultiFactors(
            users if self.weight is None else users * self.weight.detach(),
            frozen(self.item),
            "dot",
        )
