"""Heater: towers that reproduce a factor model, fed with its item vectors or, by a coin, with what experts make of the item's features.

Symbols: U_u and V_i are the vectors of a factor model that is trained first and then frozen, here iALS on the same training pairs; f_i are the
features of item i, all modalities one after the other. A mixture of experts makes of them a vector of the length of V_i,

    g(f) = sum_e tanh(a_e . f + b_e) tanh(W_e f + c_e),

and the item enters its tower as x_i = g(f_i) with probability `mixed`, else as V_i; without a training pair always as g(f_i). Towers F and G are
those of DropoutNet; u' = F(U_u), v'_i = G(x_i). Objective: mean over observed pairs (u, i) of the mean over i and the sampled negatives j of
(u' . v'_i - U_u . V_i)^2, and

    + likeness * mean over the distinct items of the batch that have a training pair of |g(f_i) - V_i|^2.

Score: u' . v'_i with x_i = V_i, for an item without a training pair g(f_i).
Source: Zhu, Sefati, Saadatpanah, Caverlee, "Recommendation for new users and new items via randomized training and mixture-of-experts
transformation", SIGIR 2020. RECONSTRUCTED from a description of a re-implementation: experts and gates of one affine map each; the gates are tanh as
told, `gate` has the usual softmax; a coin for each item of a batch, however often it occurs in it; the last term over distinct items. Users keep
their vectors: the paper has features of users, too, which are not used here. Reproduces nothing published.
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
from recsys.nn.feature_layers import (
    Impute,
    Scale,
    Table,
    chain_of_all,
    distinct,
    layer,
    reader,
    side_by_side,
    warm_items,
)
from recsys.nn.losses import Terms
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.towers import Tower, score_errors
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors
from recsys.scorer import feature_encoder as kept
from recsys.scorer.feature_encoder import Gate

__all__ = ["Experts", "Heater"]


@settings
class Heater(NeedsNegatives):
    """Towers over the vectors of iALS or, by a coin, over what experts make of item features, for new items (Zhu et al., SIGIR 2020)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector that the towers make."""
    hidden: tuple[Annotated[int, Bound(ge=1)], ...] = (200, 100)
    """Widths of the blocks of both towers (RECONSTRUCTED: those of DropoutNet)."""
    experts: Annotated[int, Bound(ge=1)] = 5
    """Experts whose answers are mixed (RECONSTRUCTED)."""
    gate: Gate = "tanh"
    """What makes an expert's weight of its gate: tanh, from -1 to 1 for each, or softmax, which adds up to 1."""
    mixed: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """How likely an item enters by its features, p of the paper (its value is RECONSTRUCTED)."""
    likeness: Annotated[float, Bound(ge=0)] = 1.0
    """Weight of the squared distance between what the experts make and the item's vector, alpha of the paper (its value is RECONSTRUCTED)."""
    preference: ALS = ALS(dim=64)
    """The factor model that is reproduced."""
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Whether negatives are items with a training pair alone, or all; the scores of an item without one are zero in what is reproduced."""
    scale: Scale = "none"
    """row: every row of a modality has length 1."""
    impute: Impute = "mean"
    """What stands where a modality is missing."""

    def build(self, train: Dataset) -> Network:
        return _Heater(self, train)


class _Heater(Network):
    taught_user: Tensor
    taught_item: Tensor
    warm: Tensor

    def __init__(self, recipe: Heater, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        taught = recipe.preference.factors(train)
        warm = torch.from_numpy(warm_items(train))
        self.register_buffer("warm", warm, persistent=False)
        self.register_buffer("taught_user", taught.user, persistent=False)
        self.register_buffer("taught_item", taught.item * warm[:, None], persistent=False)
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        self.features = Table(side_by_side(self.read(train.features)), train=False)
        width = taught.user.shape[1]
        self.experts = Experts(self.features.width, width, recipe.experts, recipe.gate)
        self.user, self.item = (Tower(width, recipe.hidden, recipe.dim) for _ in range(2))

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg)
        told, own = self.experts(self.features(items)), self.taught_item.index_select(0, items)
        known = self.warm[items]
        by_features = (
            torch.rand(len(items), dtype=own.dtype, device=own.device) < recipe.mixed
        ) | ~known
        # A tower normalises over its rows, so an item counts there as often as it occurs in the batch.
        at = torch.cat([pos_at, neg_at.reshape(-1)])
        made = self.item(F.embedding(at, torch.where(by_features[:, None], told, own)))
        taught_user = F.embedding(batch.user, self.taught_user)
        pair = score_errors(batch, self.user(taught_user), made, taught_user, F.embedding(at, own))
        if not recipe.likeness:
            return Terms(pair)
        apart = (told - own).square().sum(1) * known
        return Terms(pair, recipe.likeness * apart.sum() / known.sum().clamp_min(1))

    @torch.no_grad()
    def scorer(self) -> Factors:
        was = self.training
        self.eval()
        rows = torch.where(self.warm[:, None], self.taught_item, self.experts(self.features.values))
        content = chain_of_all(self.read, self.experts.layer(), *self.item.layers())
        made = Factors(self.user(self.taught_user), self.item(rows), content=content)
        self.train(was)
        return made


class Experts(nn.Module):
    """Affine maps with tanh, added up with weights that are made of the same input.

    Args:
        width: of the input.
        dim: of the output.
        experts: how many.
        gate: what makes the weights of the numbers of the gate.
    """

    def __init__(self, width: int, dim: int, experts: int, gate: Gate) -> None:
        super().__init__()
        self.maps, self.gate, self.by = (
            nn.Linear(width, experts * dim),
            nn.Linear(width, experts),
            gate,
        )

    def forward(self, rows: Tensor) -> Tensor:
        """[R, width] -> [R, dim]."""
        weight = self.gate(rows)
        weight = torch.tanh(weight) if self.by == "tanh" else weight.softmax(1)
        return torch.einsum(
            "re,red->rd", weight, torch.tanh(self.maps(rows)).view(len(rows), weight.shape[1], -1)
        )

    def layer(self) -> kept.Experts:
        """The same as a value."""
        return kept.Experts(layer(self.maps), layer(self.gate), self.by)
