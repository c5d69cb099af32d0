"""A recurrent encoder of histories: gated recurrent units, and their state after the last item.

With the vector x_k of item k of a history, h_0 = 0 and element-wise products *,

    r = sigmoid(W_r x_k + b_r + U_r h_{k-1} + c_r)
    z = sigmoid(W_z x_k + b_z + U_z h_{k-1} + c_z)
    n = tanh(W_n x_k + b_n + r * (U_n h_{k-1} + c_n))
    h_k = (1 - z) * n + z * h_{k-1}

Further layers read the states of the one below. Source: Cho et al., "Learning phrase
representations using RNN encoder-decoder for statistical machine translation", EMNLP 2014, with
the reset gate behind the product, as in torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.scorer.nested_state import prefixed, under

__all__ = ["Recurrent"]


@dataclass(frozen=True, eq=False)
class Recurrent:
    """The encoder as a frozen value, for histories of one block.

    Args:
        table: vectors of the items of a history, float32 [n_items, d].
        output: vectors of the items that are scored, float32 [n_items, d + 1], whose last
            coordinate is the bias of the item; None: `table`, without bias.
        weights: of the layers: "0.weight_ih_l0" and so on, in the order r, z, n.
        layers: number of layers.
        length: number of items of a history that it reads, the last ones.
    """

    table: Tensor
    output: Tensor | None
    weights: Mapping[str, Tensor]
    layers: int
    length: int

    reads_time: ClassVar[bool] = False

    @property
    def item(self) -> Tensor:
        """Vectors of the items that are scored, float32 [n_items, d or d + 1]."""
        return self.table if self.output is None else self.output

    def to(self, device: torch.device | str) -> Recurrent:
        """Return the encoder with its tensors on a device."""
        return replace(
            self,
            table=self.table.to(device),
            output=None if self.output is None else self.output.to(device),
            weights={name: tensor.to(device) for name, tensor in self.weights.items()},
        )

    @torch.no_grad()
    def __call__(self, item: Tensor, length: Tensor, *_: Tensor) -> Tensor:
        """Return the states after the last items of histories, [n, d], or [n, d + 1] ending in 1.

        Args:
            item: item rows, int64 [n, w], oldest first; what follows the end of a history is read
                by none of its items.
            length: number of items of each history, int64 [n], from 1 to w.
        """
        x = F.embedding(item, self.table)  # an item out of bounds is an error
        for layer in range(self.layers):
            x = _states(x, under(f"{layer}.", self.weights))
        last = (length - 1)[:, None, None].expand(-1, 1, x.shape[-1])
        state = x.gather(1, last)[:, 0]
        return state if self.output is None else F.pad(state, (0, 1), value=1.0)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata from which `restore` builds an equal encoder."""
        tensors = {"table": self.table} | prefixed("layers.", self.weights)
        if self.output is not None:
            tensors["output"] = self.output
        return tensors, {"kind": "recurrent", "layers": self.layers, "length": self.length}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Recurrent:
        """Build the encoder that `state` described."""
        weights = under("layers.", tensors)
        layers = int(meta["layers"])
        for layer in range(layers):
            for name in _NAMES:
                weights[f"{layer}.{name}"]  # a missing one is an error now, not at a query
        return cls(tensors["table"], tensors.get("output"), weights, layers, int(meta["length"]))


_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def _states(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Return the states of one layer, [n, w, d], of inputs [n, w, d]."""
    read, write, bias, inner_bias = (weights[name] for name in _NAMES)
    dim = write.shape[1]
    inputs = F.linear(x, read, bias)
    state = x.new_zeros(len(x), dim)
    states = []
    for place in range(x.shape[1]):
        gates, new = torch.split(inputs[:, place], [2 * dim, dim], dim=1)
        own_gates, own_new = torch.split(F.linear(state, write, inner_bias), [2 * dim, dim], dim=1)
        reset, keep = torch.sigmoid(gates + own_gates).chunk(2, dim=1)
        new = torch.tanh(new + reset * own_new)
        state = new + keep * (state - new)
        states.append(state)
    return torch.stack(states, dim=1)
