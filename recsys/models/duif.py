"""DUIF: score a user's vector against a linear map of an item's features; items have no vectors.

Symbols: f_i are the features of item i, all modalities concatenated; p_u and W are learned. Score:
s(u, i) = p_u . W f_i, for items with and without training interactions alike. Objective: mean over
observed pairs (u, i) of

    -log sigmoid(s(u, i) - s(u, j)) + l2 * (|p_u|^2 + |W f_i|^2 + |W f_j|^2),

where j are the sampled negatives.

Source: Geng, Zhang, Bian, Chua, "Learning image and user features for recommendation in social
networks", ICCV 2015.

RECONSTRUCTED from descriptions and from its place in later work: the loss, the regularisation, and
the features scaled to length 1 by row. It is MILK with one map of all modalities instead of one for
each, and without alignment and environments. Reproduces nothing published.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distinct import distinct
from recsys.nn.feature_layers import (
    Impute,
    Scale,
    Table,
    affine,
    chain_of_all,
    layer,
    reader,
    side_by_side,
)
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["DUIF"]


@settings
class DUIF(NeedsNegatives):
    """Users against a linear map of item features, for new items too (Geng et al., ICCV 2015)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm) or from all items. With all, the
    features of new items learn to push users away."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of the vectors of a pair."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values of the users."""
    scale: Scale = "row"
    """row: scale every row of a modality to length 1 (RECONSTRUCTED)."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

    def build(self, train: Dataset) -> Network:
        return _DUIF(self, train)


class _DUIF(Network):
    def __init__(self, recipe: DUIF, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.user = embedding(train.n_users, recipe.dim, recipe.init_std)
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        self.features = Table(side_by_side(self.read(train.features)), train=False)
        self.map = affine(self.features.width, recipe.dim, bias=False)
        self.rows = (self.user,)

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=len(self.features.values))
        vectors = self.map(self.features(items))
        user = self.user(batch.user)
        item, negatives = F.embedding(pos_at, vectors), F.embedding(neg_at, vectors)
        pos, neg = pair_scores(batch, user, item, negatives)
        pair = pair_loss(
            recipe.loss,
            pos,
            neg,
            n_items=len(self.features.values),
            mask=batch.mask,
            log_q=batch.log_q,
        )
        return Terms(
            pair,
            recipe.l2 * 2 / len(batch) * half_square(user, item, negatives) if recipe.l2 else None,
        )

    @torch.no_grad()
    def scorer(self) -> Factors:
        return Factors(
            self.user.weight.clone(),
            self.map(self.features.values),
            content=chain_of_all(self.read, layer(self.map)),
        )
