"""DropoutNet: towers that reproduce a factor model from its vectors and from features, trained with the vectors left out at random.

Symbols: U_u and V_i are the vectors of a factor model that is trained first and then frozen, here iALS on the same training pairs; f_i are the
features of item i, all modalities one after the other. Towers F and G are two blocks of affine map, batch normalisation and tanh, and an affine
map to R^dim; u' = F(U_u), v'_i = G([V_i or 0 ; f_i]). Objective: mean over observed pairs (u, i) of the mean of

    (u' . v'_i - U_u . V_i)^2   and of the same for each sampled negative j,

V in the input of G replaced by zeros for a share `dropout` of the items of a batch, in the target never. Score: u' . v'_i, with V_i = 0 for an item
without a training pair.
Source: Volkovs, Yu, Poutanen, "DropoutNet: addressing cold start in recommender systems", NIPS 2017. RECONSTRUCTED from a description of a
re-implementation: each item is left out by a coin of its own (there half of a batch); users keep their vectors (the paper leaves out theirs, too, and
has features of users, which are not used here); raw features. In the batch normalisation of a single row, which has no variance, the running
moments stand in. Reproduces nothing published.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.als import ALS
from recsys.nn.feature_layers import (
    Impute,
    Scale,
    Table,
    chain_of_all,
    reader,
    side_by_side,
    warm_items,
)
from recsys.nn.losses import Terms
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.towers import Tower, score_errors
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["DropoutNet"]


@settings
class DropoutNet(NeedsNegatives):
    """Towers over the vectors of iALS and item features, the vectors left out at random, for new items (Volkovs et al., NIPS 2017)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector that the towers make."""
    hidden: tuple[Annotated[int, Bound(ge=1)], ...] = (200, 100)
    """Widths of the blocks of both towers."""
    dropout: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Share of the items of a batch that enter without their vector."""
    preference: ALS = ALS(dim=64)
    """The factor model that is reproduced."""
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Whether negatives are items with a training pair alone, or all; the vector of an item without one is zeros."""
    scale: Scale = "none"
    """row: every row of a modality has length 1."""
    impute: Impute = "mean"
    """What stands where a modality is missing."""

    def build(self, train: Dataset) -> Network:
        return _DropoutNet(self, train)


class _DropoutNet(Network):
    taught_user: Tensor
    taught_item: Tensor

    def __init__(self, recipe: DropoutNet, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        taught = recipe.preference.factors(train)
        self.register_buffer("taught_user", taught.user, persistent=False)
        self.register_buffer(
            "taught_item",
            taught.item * torch.from_numpy(warm_items(train))[:, None],
            persistent=False,
        )
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        self.features = Table(side_by_side(self.read(train.features)), train=False)
        width = taught.user.shape[1]
        self.user = Tower(width, recipe.hidden, recipe.dim)
        self.item = Tower(width + self.features.width, recipe.hidden, recipe.dim)

    def loss(self, batch: Batch) -> Terms:
        rows = torch.cat([batch.pos, batch.neg.reshape(-1)])
        taught = F.embedding(rows, self.taught_item)
        kept = (
            torch.rand(len(rows), 1, dtype=taught.dtype, device=taught.device)
            >= self.recipe.dropout
        )
        made, target_user = (
            self.item(torch.cat([taught * kept, self.features(rows)], dim=1)),
            F.embedding(batch.user, self.taught_user),
        )
        return Terms(score_errors(batch, self.user(target_user), made, target_user, taught))

    @torch.no_grad()
    def scorer(self) -> Factors:
        was = self.training
        self.eval()
        vectors = self.item(torch.cat([self.taught_item, self.features.values], dim=1))
        content = chain_of_all(self.read, *self.item.layers(skip=self.taught_item.shape[1]))
        made = Factors(self.user(self.taught_user), vectors, content=content)
        self.train(was)
        return made
