"""The encoder of a query's vector from its history, for methods that encode all users in this way.

It is kept with a scorer, so that a history that comes after training is answered as if its user had
been in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.histories import Histories
from recsys.scorer.feature_encoder import Activation, Layer, activated

__all__ = ["HistoryEncoder"]


@dataclass(frozen=True, eq=False)
class HistoryEncoder:
    """A query's vector from the distinct items of its history: a sum of item rows, then layers.

        h = activation(bias + sum_i w_i t_i / (sum_i w_i)^power),       vector = layers(h)

    The order of the items and repeats have no effect, except for which items `last` keeps.

    Args:
        table: t, float32 [n_items, h].
        power: 0 for a sum, 1/2 for rows of length 1, 1 for a mean.
        weight: w, positive, float32 [n_items]; None: all ones.
        bias: float32 [h]; None: zero.
        activation: of the sum.
        layers: from h to the vector.
        last: how many interactions of a history are read, the last ones; None: all.
    """

    table: Tensor
    power: float
    weight: Tensor | None = None
    bias: Tensor | None = None
    activation: Activation = "none"
    layers: tuple[Layer, ...] = ()
    last: int | None = None

    def to(self, device: torch.device | str) -> HistoryEncoder:
        """Return the encoder with its tensors on a device."""
        weight, bias = (
            None if part is None else part.to(device) for part in (self.weight, self.bias)
        )
        return replace(
            self,
            table=self.table.to(device),
            weight=weight,
            bias=bias,
            layers=tuple(layer.to(device) for layer in self.layers),
        )

    @torch.no_grad()
    def __call__(self, histories: Histories) -> Tensor:
        """Return the vectors of n histories, float32 [n, d], on the device of the table.

        Items without a row in the table are left out.
        """
        device, n_items = self.table.device, len(self.table)
        if self.last is not None:
            histories = histories.last(self.last)
        rows = histories.packed().within(n_items).csr(n_items)
        item, indptr = (
            torch.from_numpy(part).to(device, torch.int64) for part in (rows.indices, rows.indptr)
        )
        weights = self.table.new_ones(n_items, 1) if self.weight is None else self.weight[:, None]
        total = F.embedding_bag(item, weights, indptr, mode="sum", include_last_offset=True)
        scale = torch.where(total > 0, total, 1.0) ** -self.power
        vectors = F.embedding_bag(
            item,
            self.table,
            indptr,
            mode="sum",
            per_sample_weights=weights[item, 0] * scale[:, 0].repeat_interleave(indptr.diff()),
            include_last_offset=True,
        )
        if self.bias is not None:
            vectors = vectors + self.bias
        vectors = activated(vectors, self.activation)
        for layer in self.layers:
            vectors = layer(vectors)
        return vectors

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata from which `restore` builds an equal encoder."""
        tensors = {"table": self.table}
        if self.weight is not None:
            tensors["weight"] = self.weight
        if self.bias is not None:
            tensors["bias"] = self.bias
        for index, layer in enumerate(self.layers):
            tensors |= layer.state(f"{index}.")
        return tensors, {
            "power": self.power,
            "activation": self.activation,
            "activations": [layer.activation for layer in self.layers],
            "last": self.last,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> HistoryEncoder:
        """Build the encoder that `state` described."""
        # Copies, because products round otherwise for tensors that are aligned as in a file.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        return cls(
            tensors["table"],
            meta["power"],
            tensors.get("weight"),
            tensors.get("bias"),
            meta["activation"],
            tuple(
                Layer.restore(f"{index}.", tensors, activation)
                for index, activation in enumerate(meta["activations"])
            ),
            meta["last"],
        )
