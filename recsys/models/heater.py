"""Heater: towers that reproduce a factor model from its item vectors or from item features.

Symbols: U_u and V_i are the vectors of a factor model that is trained first and then frozen, here
iALS on the same training interactions; f_i are the features of item i, all modalities concatenated.
A mixture of experts maps them to a vector of the length of V_i,

    g(f) = sum_e tanh(a_e . f + b_e) tanh(W_e f + c_e),

and the item enters its tower as x_i = g(f_i) with probability `mixed`, otherwise as V_i; without a
training interaction always as g(f_i). The towers F and G are those of DropoutNet; u' = F(U_u), v'_i
= G(x_i). Objective: mean over observed pairs (u, i) of the mean over i and the sampled negatives j
of (u' . v'_i - U_u . V_i)^2, and

    + likeness * mean over the distinct items of the batch with a training interaction
                 of |g(f_i) - V_i|^2.

Score: u' . v'_i with x_i = V_i, or g(f_i) for an item without a training interaction.

Source: Zhu, Sefati, Saadatpanah, Caverlee, "Recommendation for new users and new items via
randomized training and mixture-of-experts transformation", SIGIR 2020. RECONSTRUCTED from a
description of a re-implementation: experts and gates are one affine map each. The gates are tanh as
described; `gate` also has the usual softmax. Each item of a batch has one random draw, regardless
of how often it occurs. The last term is over distinct items. Users keep their vectors: the paper
also has features of users, which are not used here. Reproduces nothing published.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.als import ALS
from recsys.nn.distinct import counted, distinct
from recsys.nn.feature_layers import (
    Impute,
    Scale,
    Table,
    chain_of_all,
    layer,
    reader,
    side_by_side,
    warm_items,
)
from recsys.nn.losses import Terms
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.towers import Tower, score_errors
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors, feature_encoder
from recsys.scorer.feature_encoder import Gate

__all__ = ["Experts", "Heater"]


@settings
class Heater(NeedsNegatives):
    """Towers over iALS vectors or features mapped by experts (Zhu et al., SIGIR 2020)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of the output vectors of the towers."""
    hidden: tuple[Annotated[int, Bound(ge=1)], ...] = (200, 100)
    """Widths of the blocks of both towers (RECONSTRUCTED: those of DropoutNet)."""
    experts: Annotated[int, Bound(ge=1)] = 5
    """Number of experts (RECONSTRUCTED)."""
    gate: Gate = "tanh"
    """Weight of an expert from its gate: tanh, from -1 to 1 for each, or softmax, which sums to
    1."""
    mixed: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Probability that an item enters by its features, p of the paper (its value is
    RECONSTRUCTED)."""
    likeness: Annotated[float, Bound(ge=0)] = 1.0
    """Weight of the squared distance between the output of the experts and the item's vector, alpha
    of the paper (its value is RECONSTRUCTED)."""
    preference: ALS = ALS(dim=64)
    """The factor model to reproduce."""
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm) or from all items; the target
    scores of an item without one are zero."""
    scale: Scale = "none"
    """row: scale every row of a modality to length 1."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

    def build(self, train: Dataset) -> Network:
        return _Heater(self, train)


class _Heater(Network):
    teacher_user: Tensor
    teacher_item: Tensor
    warm: Tensor

    def __init__(self, recipe: Heater, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        teacher = recipe.preference.factors(train)
        warm = torch.from_numpy(warm_items(train))
        self.register_buffer("warm", warm, persistent=False)
        self.register_buffer("teacher_user", teacher.user, persistent=False)
        self.register_buffer("teacher_item", teacher.item * warm[:, None], persistent=False)
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        self.features = Table(side_by_side(self.read(train.features)), train=False)
        width = teacher.user.shape[1]
        self.experts = Experts(self.features.width, width, recipe.experts, recipe.gate)
        self.user, self.item = (Tower(width, recipe.hidden, recipe.dim) for _ in range(2))

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=len(self.warm))
        mapped = self.experts(self.features(items))
        target = self.teacher_item.index_select(0, items)
        known = self.warm[items]
        draw = torch.rand(len(items), dtype=target.dtype, device=target.device)
        by_features = (draw < recipe.mixed) | ~known
        # A tower normalises over its rows: an item counts as often as it occurs in the batch.
        at = torch.cat([pos_at, neg_at.reshape(-1)])
        item = self.item(F.embedding(at, torch.where(by_features[:, None], mapped, target)))
        target_user = F.embedding(batch.user, self.teacher_user)
        pair = score_errors(
            batch, self.user(target_user), item, target_user, F.embedding(at, target)
        )
        if not recipe.likeness:
            return Terms(pair)
        known = known & (counted(at, len(items))[1] > 0)
        distance = (mapped - target).square().sum(1) * known
        return Terms(pair, recipe.likeness * distance.sum() / known.sum().clamp_min(1))

    @torch.no_grad()
    def scorer(self) -> Factors:
        training = self.training
        self.eval()
        mapped = self.experts(self.features.values)
        rows = torch.where(self.warm[:, None], self.teacher_item, mapped)
        content = chain_of_all(self.read, self.experts.layer(), *self.item.layers())
        scorer = Factors(self.user(self.teacher_user), self.item(rows), content=content)
        self.train(training)
        return scorer


class Experts(nn.Module):
    """Affine maps with tanh, summed with weights that are computed from the same input.

    Args:
        width: length of an input row.
        dim: length of an output row.
        experts: number of maps.
        gate: function from the outputs of the gate to the weights.
    """

    def __init__(self, width: int, dim: int, experts: int, gate: Gate) -> None:
        super().__init__()
        self.maps = nn.Linear(width, experts * dim)
        self.gate = nn.Linear(width, experts)
        self.by = gate

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows [R, width] to [R, dim]."""
        weight = self.gate(rows)
        weight = torch.tanh(weight) if self.by == "tanh" else weight.softmax(1)
        mapped = torch.tanh(self.maps(rows)).view(len(rows), weight.shape[1], -1)
        return torch.einsum("re,red->rd", weight, mapped)

    def layer(self) -> feature_encoder.Experts:
        """Return the maps as a value for a scorer."""
        return feature_encoder.Experts(layer(self.maps), layer(self.gate), self.by)
