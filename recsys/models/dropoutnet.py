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

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import Network, require_negatives
from recsys.models.duif import Pool, from_pool
from recsys.models.ials import IALS
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
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors
from recsys.scorer.feature_encoder import Layer

__all__ = ["DropoutNet", "Tower", "score_errors"]


@settings
class DropoutNet:
    """Towers over the vectors of iALS and item features, the vectors left out at random, for new items (Volkovs et al., NIPS 2017)."""

    reconstructed = "all of it"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector that the towers make."""
    hidden: tuple[Annotated[int, Bound(ge=1)], ...] = (200, 100)
    """Widths of the blocks of both towers."""
    dropout: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Share of the items of a batch that enter without their vector."""
    preference: IALS = IALS(dim=64)
    """The factor model that is reproduced."""
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Whether negatives are items with a training pair alone, or all; the vector of an item without one is zeros."""
    scale: Scale = "none"
    """row: every row of a modality has length 1."""
    impute: Impute = "mean"
    """What stands where a modality is missing."""

    def __post_init__(self) -> None:
        require_negatives(self.sampler)

    def build(self, train: Dataset) -> Network:
        return _DropoutNet(self, train)


class _DropoutNet(Network):
    taught_user: Tensor
    taught_item: Tensor

    def __init__(self, recipe: DropoutNet, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        taught = recipe.preference.build(train)
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


def score_errors(
    batch: Batch, user: Tensor, made: Tensor, taught_user: Tensor, taught: Tensor
) -> Tensor:
    """Mean of (u' . v' - U . V)^2 over the positive and the negatives of each pair, [B].

    Args:
        batch: pairs with negatives.
        user, made: vectors of the users [B, d] and of the positives and then all negatives [B + N, d].
        taught_user, taught: those that are reproduced, of the same users [B, d'] and items [B + N, d'].
    """
    size = len(batch)
    error = (user * made[:size]).sum(1) - (taught_user * taught[:size]).sum(1)
    total, count = error.square(), torch.ones_like(error)
    if batch.shared:
        others = (user @ made[size:].T - taught_user @ taught[size:].T).square()
    else:
        made, taught = (part[size:].view(*batch.neg.shape, -1) for part in (made, taught))
        others = (
            torch.linalg.vecdot(made, user[:, None])
            - torch.linalg.vecdot(taught, taught_user[:, None])
        ).square()
    if batch.mask is not None:
        others, count = others * batch.mask, count + batch.mask.sum(1)
    else:
        count = count + others.shape[1]
    return (total + others.sum(1)) / count


class Tower(nn.Module):
    """Blocks of affine map, batch normalisation and tanh, and an affine map at the end.

    Args:
        width: of the input.
        hidden: of each block.
        dim: of the output.
    """

    def __init__(self, width: int, hidden: tuple[int, ...], dim: int) -> None:
        super().__init__()
        widths = (width, *hidden)
        self.maps = nn.ModuleList(nn.Linear(*both) for both in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in hidden)
        self.out = nn.Linear(widths[-1], dim)

    def forward(self, rows: Tensor) -> Tensor:
        """[R, width] -> [R, dim]."""
        for linear, norm in zip(self.maps, self.norms, strict=True):
            rows = linear(rows)
            rows = torch.tanh(
                _resting(norm, rows) if norm.training and len(rows) == 1 else norm(rows)
            )
        out: Tensor = self.out(rows)
        return out

    def layers(self, skip: int = 0) -> tuple[Layer, ...]:
        """The tower at rest as plain layers, normalisation worked into the affine maps.

        Args:
            skip: first columns of the input that are zeros and left out.
        """
        made = []
        for linear, norm in zip(self.maps, self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm1d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            plain = layer(linear, "tanh")
            scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
            offset = norm.bias.detach() - scale * norm.running_mean
            made.append(
                Layer(
                    plain.weight * scale[:, None],
                    offset if plain.bias is None else offset + scale * plain.bias,
                    "tanh",
                )
            )
        made.append(layer(self.out))
        return (
            Layer(made[0].weight[:, skip:].contiguous(), made[0].bias, made[0].activation),
            *made[1:],
        )


def _resting(norm: nn.Module, rows: Tensor) -> Tensor:
    """Batch normalisation by the running moments, which stay as they are."""
    assert isinstance(norm, nn.BatchNorm1d)
    return F.batch_norm(
        rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
    )
