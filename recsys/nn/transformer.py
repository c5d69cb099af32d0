"""The self-attention encoder of packed histories, for training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recsys.nn.dropout import dropout
from recsys.nn.packed import Groups, distance_to_end, packed_attention
from recsys.nn.tables import frozen
from recsys.scorer.transformer import Blocks, Transformer, run_blocks

__all__ = ["PackedTransformer"]


class PackedTransformer(nn.Module):
    """Compute the state of each position of packed histories.

    All matrices are drawn from the Xavier normal distribution; biases start from 0.

    Args:
        dim: dimension of item vectors and states.
        length: number of positions of the longest history.
        shape: the shape of the encoder.
        drop: share of elements that dropout hides, of the inputs and within the blocks.
        width: width of the inner layer of a block, as a multiple of `dim`.
        causal: a position sees no later one; False: it sees all of its history.
    """

    def __init__(
        self,
        dim: int,
        length: int,
        shape: Blocks,
        drop: float,
        width: int = 1,
        *,
        causal: bool = True,
    ) -> None:
        super().__init__()
        self.shape, self.drop = shape, drop
        self.causal = causal
        if shape.positions == "relative":
            self.position = nn.Parameter(torch.zeros(length, shape.heads))
        else:
            self.position = nn.Parameter(torch.empty(length, dim))
            nn.init.xavier_normal_(self.position)
        make = _gated_block if shape.variant == "ligr" else _block
        blocks = {str(index): make(dim, width) for index in range(shape.blocks)}
        self.blocks = nn.ModuleDict({**blocks, "norm": nn.LayerNorm(dim)})
        if shape.variant == "post-norm":
            self.blocks["head"] = _drawn(nn.Linear(dim, dim))

    def forward(self, items: Tensor, groups: Groups) -> Tensor:
        """Return the states, float [T, d].

        Args:
            items: vectors of the items, float [T, d], oldest first within a history.
            groups: the histories.
        """
        if self.shape.scaled:
            items = items * math.sqrt(items.shape[-1])
        bias = self.position if self.shape.positions == "relative" else None
        if bias is None:
            items = items + self.position[distance_to_end(groups, items.device)]
        x = self._drop(items)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            heads = self.shape.heads
            return packed_attention(query, key, value, groups, heads, bias, causal=self.causal)

        weights = dict(self.blocks.named_parameters())
        return run_blocks(x, weights, self.shape, (attend, attend), self._drop)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.drop, self.training)

    def frozen(self, item: nn.Embedding) -> Transformer:
        """Return the encoder as it is now, with the table of items."""
        return Transformer(frozen(item), frozen(self.position), self.weights(), self.shape)

    def weights(self) -> dict[str, Tensor]:
        """Return copies of the weights of the blocks, by name."""
        return {name: frozen(tensor) for name, tensor in self.blocks.named_parameters()}


def _block(dim: int, width: int) -> nn.ModuleDict:
    """Return the parameters of a block, by the names that `run_blocks` reads."""
    return _of_layers(
        {
            "read": nn.Linear(dim, 3 * dim),
            "write": nn.Linear(dim, dim),
            "inner": nn.Linear(dim, width * dim),
            "outer": nn.Linear(width * dim, dim),
        },
        {"read": 3},
    )


def _gated_block(dim: int, width: int) -> nn.ModuleDict:
    """Return the parameters of a block of variant "ligr"."""
    return _of_layers(
        {
            "read": nn.Linear(dim, 3 * dim),
            "write": nn.Linear(dim, dim),
            "inner": nn.Linear(dim, 2 * width * dim, bias=False),
            "outer": nn.Linear(width * dim, dim, bias=False),
            "gate1": nn.Linear(dim, dim),
            "gate2": nn.Linear(dim, dim),
        },
        {"read": 3, "inner": 2},
    )


def _of_layers(layers: dict[str, nn.Linear], parts: dict[str, int]) -> nn.ModuleDict:
    """Return drawn layers and two norms.

    Args:
        layers: by name.
        parts: number of matrices that the weight of a layer holds, one below the other; else 1.
    """
    dim = layers["write"].in_features
    for name, layer in layers.items():
        _drawn(layer, parts.get(name, 1))
    return nn.ModuleDict({**layers, "norm1": nn.LayerNorm(dim), "norm2": nn.LayerNorm(dim)})


def _drawn(layer: nn.Linear, parts: int = 1) -> nn.Linear:
    """Return a layer with drawn matrices, as many as `parts`, and a bias of zeros."""
    for matrix in torch.chunk(layer.weight, parts):
        nn.init.xavier_normal_(matrix)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
