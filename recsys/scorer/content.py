"""What makes an item's vector of its features, kept with a scorer, so that items can be added after training.

Every method that does so here is a few affine maps with something between them: the modalities of an item go, one by one or side by side, through
chains of layers, and the mean over the chains is the item's vector. That is all a saved run needs for an item that was not in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.types import FeatureTable

__all__ = ["Activation", "Chain", "ContentEncoder", "Layer", "Modality"]

Activation = Literal["none", "tanh", "leaky-relu"]


@dataclass(frozen=True, eq=False)
class Modality:
    """How the features of a modality are read.

    Args:
        name: as in the data.
        fill: float32 [d], what stands where an item lacks it.
        scale: "row" divides each row by its length, after gaps are filled; "none" leaves it.
    """

    name: str
    fill: Tensor
    scale: Literal["none", "row"] = "none"

    @property
    def dim(self) -> int:
        return len(self.fill)

    def read(self, table: FeatureTable) -> Tensor:
        """The numbers a network takes, float32 [n, d], on the CPU."""
        values = torch.from_numpy(np.array(table.values, dtype=np.float32))
        values[torch.from_numpy(~table.present)] = self.fill.cpu()
        return F.normalize(values, dim=1) if self.scale == "row" else values


@dataclass(frozen=True, eq=False)
class Layer:
    """An affine map, and what follows it.

    Args:
        weight: float32 [out, in].
        bias: float32 [out], or None.
        activation: "leaky-relu" has the slope 0.01.
    """

    weight: Tensor
    bias: Tensor | None = None
    activation: Activation = "none"

    def __call__(self, rows: Tensor) -> Tensor:
        """[n, in] -> [n, out], on the CPU."""
        made = F.linear(rows, self.weight.cpu(), None if self.bias is None else self.bias.cpu())
        return torch.tanh(made) if self.activation == "tanh" else F.leaky_relu(made) if self.activation == "leaky-relu" else made


@dataclass(frozen=True, eq=False)
class Chain:
    """Layers one after the other.

    Args:
        reads: places of the modalities that go in, side by side in this order.
        layers: at least one.
    """

    reads: tuple[int, ...]
    layers: tuple[Layer, ...]

    def __call__(self, read: list[Tensor]) -> Tensor:
        """The numbers of all modalities, [n, d_m] each -> [n, out]."""
        rows = torch.cat([read[place] for place in self.reads], dim=1)
        for layer in self.layers:
            rows = layer(rows)
        return rows


@dataclass(frozen=True, eq=False)
class ContentEncoder:
    """The features of an item to its vector: the mean over chains; and to its bias, where content has a part in one.

    Args:
        modalities: what is read, in the order of training.
        chains: each to [n, dim of an item's vector].
        bias: to [n, 1], or None: an item of which nothing but features is known has the bias 0.
    """

    modalities: tuple[Modality, ...]
    chains: tuple[Chain, ...]
    bias: Chain | None = None

    @torch.no_grad()
    def __call__(self, features: Mapping[str, FeatureTable]) -> tuple[Tensor, Tensor]:
        """Vectors float32 [n, dim] and biases [n] of items, on the CPU.

        Args:
            features: a table of n rows for every modality, of the width it had in training.
        """
        read = [modality.read(features[modality.name]) for modality in self.modalities]
        vectors = torch.stack([chain(read) for chain in self.chains]).mean(0)
        return vectors, vectors.new_zeros(len(vectors)) if self.bias is None else self.bias(read)[:, 0]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain metadata from which `restore` makes an equal one."""
        tensors = {f"fill.{place}": modality.fill for place, modality in enumerate(self.modalities)}
        chains = {str(place): chain for place, chain in enumerate(self.chains)} | ({} if self.bias is None else {"bias": self.bias})
        told = {}
        for name, chain in chains.items():
            for place, layer in enumerate(chain.layers):
                tensors[f"{name}.{place}.weight"] = layer.weight
                if layer.bias is not None:
                    tensors[f"{name}.{place}.bias"] = layer.bias
            told[name] = {"reads": list(chain.reads), "activations": [layer.activation for layer in chain.layers]}
        return tensors, {"modalities": [[modality.name, modality.scale] for modality in self.modalities], "chains": told}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> ContentEncoder:
        modalities = tuple(Modality(str(name), tensors[f"fill.{place}"], scale) for place, (name, scale) in enumerate(meta["modalities"]))
        chains = {}
        for name, told in meta["chains"].items():
            layers = [
                Layer(tensors[f"{name}.{place}.weight"], tensors.get(f"{name}.{place}.bias"), activation)
                for place, activation in enumerate(told["activations"])
            ]
            chains[name] = Chain(tuple(told["reads"]), tuple(layers))
        bias = chains.pop("bias", None)
        return cls(modalities, tuple(chains[str(place)] for place in range(len(chains))), bias)
