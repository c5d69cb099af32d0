"""DropoutNet: towers that reproduce a factor model from vectors, dropped at random, and features.

Symbols: U_u and V_i are the vectors of a factor model that is trained first and then frozen, here
iALS on the same training interactions; f_i are the features of item i, all modalities concatenated.
The towers F and G are two blocks of affine map, batch normalisation and tanh, and an affine map to
R^dim; u' = F(U_u), v'_i = G([V_i or 0 ; f_i]). Objective: mean over observed pairs (u, i) of the
mean of

    (u' . v'_i - U_u . V_i)^2   and of the same for each sampled negative j.

In the input of G, V is replaced by zeros for a share `dropout` of the items of a batch; in the
target never. Score: u' . v'_i, with V_i = 0 for an item without a training interaction.

Source: Volkovs, Yu, Poutanen, "DropoutNet: addressing cold start in recommender systems", NIPS
2017. RECONSTRUCTED from a description of a re-implementation: each item is dropped with its own
random draw (there, half of a batch). Users keep their vectors; the paper drops theirs too, and has
features of users, which are not used here. Raw features are used. In the batch normalisation of a
single row, which has no variance, the running moments are used. Reproduces nothing published.
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
    """Towers over iALS vectors and item features, for new items (Volkovs et al., NIPS 2017)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of the output vectors of the towers."""
    hidden: tuple[Annotated[int, Bound(ge=1)], ...] = (200, 100)
    """Widths of the blocks of both towers."""
    dropout: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Share of the items of a batch whose vector is dropped."""
    preference: ALS = ALS(dim=64)
    """The factor model to reproduce."""
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm) or from all items; the vector of
    an item without one is zeros."""
    scale: Scale = "none"
    """row: scale every row of a modality to length 1."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

    def build(self, train: Dataset) -> Network:
        return _DropoutNet(self, train)


class _DropoutNet(Network):
    teacher_user: Tensor
    teacher_item: Tensor

    def __init__(self, recipe: DropoutNet, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        teacher = recipe.preference.factors(train)
        warm = torch.from_numpy(warm_items(train))
        self.register_buffer("teacher_user", teacher.user, persistent=False)
        self.register_buffer("teacher_item", teacher.item * warm[:, None], persistent=False)
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        self.features = Table(side_by_side(self.read(train.features)), train=False)
        width = teacher.user.shape[1]
        self.user = Tower(width, recipe.hidden, recipe.dim)
        self.item = Tower(width + self.features.width, recipe.hidden, recipe.dim)

    def loss(self, batch: Batch) -> Terms:
        rows = torch.cat([batch.pos, batch.neg.reshape(-1)])
        target = F.embedding(rows, self.teacher_item)
        draw = torch.rand(len(rows), 1, dtype=target.dtype, device=target.device)
        kept = draw >= self.recipe.dropout
        item = self.item(torch.cat([target * kept, self.features(rows)], dim=1))
        target_user = F.embedding(batch.user, self.teacher_user)
        return Terms(score_errors(batch, self.user(target_user), item, target_user, target))

    @torch.no_grad()
    def scorer(self) -> Factors:
        training = self.training
        self.eval()
        vectors = self.item(torch.cat([self.teacher_item, self.features.values], dim=1))
        content = chain_of_all(self.read, *self.item.layers(skip=self.teacher_item.shape[1]))
        scorer = Factors(self.user(self.teacher_user), vectors, content=content)
        self.train(training)
        return scorer
