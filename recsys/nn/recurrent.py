"""The recurrent encoder of packed histories, for training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recsys.nn.dropout import dropout
from recsys.nn.packed import Groups, place_from_start
from recsys.nn.tables import frozen
from recsys.scorer.recurrent import Recurrent

__all__ = ["PackedRecurrent"]


class PackedRecurrent(nn.Module):
    """Compute the state of each position of packed histories by gated recurrent units.

    A step computes the next state of all histories that are long enough. On a CPU that takes a
    third of the time of one call for the histories of each length: there are as many steps as the
    longest history has items. Matrices are drawn from the Xavier uniform distribution, those of
    the gates one by one; biases start from 0.

    Args:
        dim: dimension of item vectors and states.
        layers: number of layers.
        drop: share of elements that dropout hides, of the inputs and of the states of each layer.
    """

    def __init__(self, dim: int, layers: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.layers = nn.ModuleList(nn.GRU(dim, dim) for _ in range(layers))
        for name, parameter in self.layers.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
                continue
            for matrix in torch.split(parameter, dim):
                nn.init.xavier_uniform_(matrix)

    def forward(self, items: Tensor, groups: Groups) -> Tensor:
        """Return the states, float [T, d].

        Args:
            items: vectors of the items, float [T, d], oldest first within a history.
            groups: the histories.
        """
        order, sizes = _by_step(groups, items.device)
        back = torch.empty_like(order)
        back.scatter_(0, order, torch.arange(len(order), device=order.device))
        x = self._drop(items).index_select(0, order)
        with torch.autocast(items.device.type, enabled=False):
            for layer in self.layers:
                x = self._drop(layer(PackedSequence(x.to(_dtype(layer)), sizes))[0].data)
        return x.index_select(0, back)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.drop, self.training)

    def frozen(self, item: nn.Embedding, output: nn.Embedding | None, length: int) -> Recurrent:
        """Return the encoder as it is now.

        Args:
            item: vectors of the items of a history.
            output: vectors of the items that are scored, with a bias; None: `item`.
            length: number of items of a history that it reads.
        """
        weights = {name: frozen(tensor) for name, tensor in self.layers.named_parameters()}
        scored = None if output is None else frozen(output)
        return Recurrent(frozen(item), scored, weights, len(self.layers), length)


def _dtype(layer: nn.Module) -> torch.dtype:
    return next(layer.parameters()).dtype


def _by_step(groups: Groups, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the order of positions by their step, and the number of histories of each step.

    Within a step the longest history comes first, as `PackedSequence` asks.

    Returns:
        Positions, int64 [T], on the device; sizes, int64 [longest], on the CPU.
    """
    step = place_from_start(groups, device)
    order = len(step) - 1 - torch.argsort(step.flip(0), stable=True)
    longest = groups[-1][0]
    sizes = [0] * longest
    for length, count in groups:
        for place in range(length):
            sizes[place] += count
    return order, torch.tensor(sizes)
