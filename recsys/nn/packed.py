"""Packed histories in a network: attention within each history, and distances to its end."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from recsys.scorer.transformer import between_heads, causal_bias

__all__ = ["Groups", "distance_to_end", "packed_attention", "place_from_start"]

Groups: TypeAlias = tuple[tuple[int, int], ...]
"""Lengths, each with the number of neighbouring histories of this length (`SequenceBatch`)."""


def distance_to_end(groups: Groups, device: torch.device) -> Tensor:
    """Return of each position its distance to the last of its history, int64 [T]."""
    parts = [
        torch.arange(length - 1, -1, -1, device=device).repeat(count) for length, count in groups
    ]
    return torch.cat(parts)


def place_from_start(groups: Groups, device: torch.device) -> Tensor:
    """Return of each position its distance to the first of its history, int64 [T]."""
    parts = [torch.arange(length, device=device).repeat(count) for length, count in groups]
    return torch.cat(parts)


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: Groups,
    heads: int,
    bias: Tensor | None = None,
    *,
    causal: bool = True,
) -> Tensor:
    """Return attention within each history, float [T, d].

    One call serves all histories of one length. On a CPU that takes a third of the time of padding
    to the longest, and nothing is computed that is not used.

    Args:
        query, key, value: float [T, d].
        groups: the histories.
        heads: number of heads.
        bias: added to the attention by the distance of two items and the head, float [L, heads];
            None: zero.
        causal: a position sees no later one; False: it sees all, without a bias.
    """
    sizes = [length * count for length, count in groups]
    # `split` and not slices: the gradient of a slice is a zeroed array of the whole.
    parts = [torch.split(each, sizes) for each in (query, key, value)]
    attended = []
    for (length, _), *group in zip(groups, *parts, strict=True):
        q, k, v = (each.unflatten(0, (-1, length)) for each in group)
        mask = None if bias is None else causal_bias(bias, length)
        attended.append(between_heads(q, k, v, heads, mask, causal=causal).flatten(0, 1))
    return torch.cat(attended)
