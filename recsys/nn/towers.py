"""Towers that reproduce the scores of a factor model, as in DropoutNet and Heater."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.nn.feature_layers import layer
from recsys.sampling import Batch
from recsys.scorer.feature_encoder import Layer

__all__ = ["Tower", "score_errors"]


def score_errors(
    batch: Batch, user: Tensor, item: Tensor, target_user: Tensor, target_item: Tensor
) -> Tensor:
    """Return the mean of (u' . v' - U . V)^2 over the positive and the negatives of a pair, [B].

    Args:
        batch: pairs with negatives.
        user, item: u' of the users [B, d]; v' of the positives and then of all negatives,
            [B + N, d].
        target_user, target_item: U and V of the factor model, of the same users [B, d'] and items
            [B + N, d'].
    """
    size = len(batch)
    error = (user * item[:size]).sum(1) - (target_user * target_item[:size]).sum(1)
    total, count = error.square(), torch.ones_like(error)
    if batch.shared:
        others = (user @ item[size:].T - target_user @ target_item[size:].T).square()
    else:
        item, target_item = (part[size:].view(*batch.neg.shape, -1) for part in (item, target_item))
        others = (
            torch.linalg.vecdot(item, user[:, None])
            - torch.linalg.vecdot(target_item, target_user[:, None])
        ).square()
    if batch.mask is not None:
        others, count = others * batch.mask, count + batch.mask.sum(1)
    else:
        count = count + others.shape[1]
    return (total + others.sum(1)) / count


class Tower(nn.Module):
    """Blocks of an affine map, batch normalisation and tanh, with an affine map at the end.

    Args:
        width: length of an input row.
        hidden: width of each block.
        dim: length of an output row.
    """

    def __init__(self, width: int, hidden: tuple[int, ...], dim: int) -> None:
        super().__init__()
        widths = (width, *hidden)
        self.maps = nn.ModuleList(nn.Linear(*both) for both in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in hidden)
        self.out = nn.Linear(widths[-1], dim)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows [R, width] to [R, dim]."""
        for linear, norm in zip(self.maps, self.norms, strict=True):
            rows = linear(rows)
            single = norm.training and len(rows) == 1
            rows = torch.tanh(_by_running_moments(norm, rows) if single else norm(rows))
        out: Tensor = self.out(rows)
        return out

    def layers(self, skip: int = 0) -> tuple[Layer, ...]:
        """Return the tower in evaluation mode as plain layers.

        The normalisation is folded into the affine maps.

        Args:
            skip: number of leading input columns that are zeros and left out.
        """
        layers = []
        for linear, norm in zip(self.maps, self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm1d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            plain = layer(linear, "tanh")
            scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
            offset = norm.bias.detach() - scale * norm.running_mean
            bias = offset if plain.bias is None else offset + scale * plain.bias
            layers.append(Layer(plain.weight * scale[:, None], bias, "tanh"))
        layers.append(layer(self.out))
        first, *rest = layers
        return Layer(first.weight[:, skip:].contiguous(), first.bias, first.activation), *rest


def _by_running_moments(norm: nn.Module, rows: Tensor) -> Tensor:
    """Normalise by the running moments, which are not updated; a single row has no variance."""
    assert isinstance(norm, nn.BatchNorm1d)
    return F.batch_norm(
        rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
    )
