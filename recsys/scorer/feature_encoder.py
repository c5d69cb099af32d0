"""The encoder of an item's vector from its features, kept with a scorer so that it can add items.

Every method that adds items applies a few affine maps with activations between them. The modalities
of an item, one or several side by side, go through chains of layers; the mean over the chains is
the item's vector. A saved run needs nothing else for an item that was not in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.types import FeatureTable
from recsys.scorer.feature_reader import Modality, Reader

__all__ = [
    "Activation",
    "Chain",
    "ContentEncoder",
    "Experts",
    "Gate",
    "Layer",
    "Modality",
    "Reader",
    "activated",
]

Activation = Literal["none", "tanh", "leaky-relu"]
Gate = Literal["tanh", "softmax"]

_EXPERTS = "experts by "  # prefix of the name of a gate, where a layer has its activation


def activated(rows: Tensor, activation: Activation) -> Tensor:
    """Return the outputs of an activation for inputs of any shape."""
    if activation == "tanh":
        return torch.tanh(rows)
    return F.leaky_relu(rows) if activation == "leaky-relu" else rows


@dataclass(frozen=True, eq=False)
class Layer:
    """An affine map, followed by an activation.

    Args:
        weight: float32 [out, in].
        bias: float32 [out]; None: zero.
        activation: "none", "tanh", or "leaky-relu" with slope 0.01.
    """

    weight: Tensor
    bias: Tensor | None = None
    activation: Activation = "none"

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the outputs [n, out] of inputs [n, in], on the device of the inputs."""
        bias = None if self.bias is None else self.bias.to(rows.device)
        return activated(F.linear(rows, self.weight.to(rows.device), bias), self.activation)

    def to(self, device: torch.device | str) -> Layer:
        """Return the layer with its tensors on a device."""
        bias = None if self.bias is None else self.bias.to(device)
        return Layer(self.weight.to(device), bias, self.activation)

    def state(self, name: str) -> dict[str, Tensor]:
        """Return the tensors, with `name` before their own names."""
        tensors = {f"{name}weight": self.weight}
        if self.bias is not None:
            tensors[f"{name}bias"] = self.bias
        return tensors

    @classmethod
    def restore(
        cls, name: str, tensors: Mapping[str, Tensor], activation: Activation = "none"
    ) -> Layer:
        """Build a layer from the tensors that `state` returned."""
        return cls(tensors[f"{name}weight"], tensors.get(f"{name}bias"), activation)


@dataclass(frozen=True, eq=False)
class Experts:
    """A mixture of experts: sum_e g_e(x) tanh(W_e x + c_e).

    Args:
        maps: all W_e and c_e stacked, to [n, experts * out]; without activation.
        gate: to [n, experts]; without activation.
        by: function that turns the output of the gate into the weights g_e.
    """

    maps: Layer
    gate: Layer
    by: Gate = "tanh"

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the outputs [n, out] of inputs [n, in], on the CPU."""
        weight = self.gate(rows)
        weight = torch.tanh(weight) if self.by == "tanh" else weight.softmax(1)
        experts = torch.tanh(self.maps(rows)).view(len(rows), weight.shape[1], -1)
        return torch.einsum("re,red->rd", weight, experts)


@dataclass(frozen=True, eq=False)
class Chain:
    """Layers, one after the other.

    Args:
        reads: positions of the input modalities, which are concatenated in this order.
        layers: at least one.
    """

    reads: tuple[int, ...]
    layers: tuple[Layer | Experts, ...]

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        """Return the outputs [n, out] of the inputs of all modalities, [n, d_m] each."""
        rows = torch.cat([inputs[index] for index in self.reads], dim=1)
        for layer in self.layers:
            rows = layer(rows)
        return rows


@dataclass(frozen=True, eq=False)
class ContentEncoder:
    """An item's vector, and bias, from its features: the mean over chains of layers.

    Args:
        read: reads the inputs from feature tables.
        chains: each to [n, d], d the dimension of an item's vector.
        bias: to [n, 1]; None: a new item has the bias 0.
    """

    read: Reader
    chains: tuple[Chain, ...]
    bias: Chain | None = None

    @torch.no_grad()
    def __call__(self, features: Mapping[str, FeatureTable]) -> tuple[Tensor, Tensor]:
        """Return vectors float32 [n, d] and biases float32 [n] of items, on the CPU.

        Args:
            features: a table of n rows for each modality, with the dimension it had in training.
        """
        inputs = list(self.read(features).values())
        vectors = torch.stack([chain(inputs) for chain in self.chains]).mean(0)
        if self.bias is None:
            return vectors, vectors.new_zeros(len(vectors))
        return vectors, self.bias(inputs)[:, 0]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata from which `restore` builds an equal encoder."""
        tensors, modalities = self.read.state()
        chains = {str(index): chain for index, chain in enumerate(self.chains)}
        if self.bias is not None:
            chains["bias"] = self.bias
        metas = {}
        for name, chain in chains.items():
            for index, layer in enumerate(chain.layers):
                tensors |= _layer_state(f"{name}.{index}.", layer)
            activations = [_activation(layer) for layer in chain.layers]
            metas[name] = {"reads": list(chain.reads), "activations": activations}
        return tensors, {"modalities": modalities, "chains": metas}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> ContentEncoder:
        """Build the encoder that `state` described."""
        chains = {}
        for name, chain in meta["chains"].items():
            layers = tuple(
                _layer(f"{name}.{index}.", tensors, activation)
                for index, activation in enumerate(chain["activations"])
            )
            chains[name] = Chain(tuple(chain["reads"]), layers)
        bias = chains.pop("bias", None)
        return cls(
            Reader.restore(tensors, meta["modalities"]),
            tuple(chains[str(index)] for index in range(len(chains))),
            bias,
        )


def _layer_state(name: str, layer: Layer | Experts) -> dict[str, Tensor]:
    """Return the tensors of a layer, with `name` before their own names."""
    if isinstance(layer, Experts):
        return layer.maps.state(f"{name}maps.") | layer.gate.state(f"{name}gate.")
    return layer.state(name)


def _activation(layer: Layer | Experts) -> str:
    """Return how the metadata name the activation of a layer, or the gate of experts."""
    return layer.activation if isinstance(layer, Layer) else f"{_EXPERTS}{layer.by}"


def _layer(name: str, tensors: Mapping[str, Tensor], activation: Any) -> Layer | Experts:
    """Build a layer from its tensors and the name that `_activation` gave."""
    if not str(activation).startswith(_EXPERTS):
        return Layer.restore(name, tensors, activation)
    maps, gate = (Layer.restore(f"{name}{part}.", tensors) for part in ("maps", "gate"))
    return Experts(maps, gate, "softmax" if activation == f"{_EXPERTS}softmax" else "tanh")
