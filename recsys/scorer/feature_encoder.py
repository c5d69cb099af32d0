"""What makes an item's vector of its features, kept with a scorer, so that items can be added after training.

Every method that does so here is a few affine maps with something between them: the modalities of an item go, one by one or side by side, through
chains of layers, and the mean over the chains is the item's vector. That is all a saved run needs for an item that was not in training.

A scorer that can be given items has two methods: `reads()`, the modalities it needs and their lengths, and `with_items(features)`, the same scorer
with these items at the end. `reads_of` and `grown` ask any scorer, and say what it is that cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.splitting.missing_modalities import Donors
from recsys.data.types import FeatureTable
from recsys.errors import InputError

__all__ = [
    "Activation",
    "Chain",
    "ContentEncoder",
    "Experts",
    "Gate",
    "Layer",
    "Modality",
    "Reader",
    "grown",
    "no_new_items",
    "numbered",
    "reads_of",
    "reads_of_parts",
    "under",
]

Activation = Literal["none", "tanh", "leaky-relu"]
Gate = Literal["tanh", "softmax"]

_EXPERTS = "experts by "  # in the place of an activation
_NUMERALS = ("first", "second", "third")


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
        """The numbers a network takes, float32 [n, d], on the CPU. Where nothing is to be changed they are those of the table itself."""
        values, gaps = (
            np.asarray(table.values, dtype=np.float32),
            ~table.present,
        )  # wide before anything is added up
        if gaps.any() or not values.flags.writeable:
            values = values.copy() if values is table.values else values
            values[gaps] = self.fill.cpu().numpy()
        read = torch.from_numpy(values)
        return F.normalize(read, dim=1) if self.scale == "row" else read


@dataclass(frozen=True, eq=False)
class Reader:
    """How the features of items become numbers that a network takes.

    Args:
        modalities: what is read, in the order of training.
        donors: items of training that lend vectors to those that lack a modality; what none lends, or with None all gaps, `Modality.fill` fills.
    """

    modalities: tuple[Modality, ...]
    donors: Donors | None = None

    def __call__(self, features: Mapping[str, FeatureTable]) -> dict[str, Tensor]:
        """The numbers of every modality by its name, float32 [n, d_m] each, on the CPU.

        Args:
            features: a table of n rows for every modality, of the width it had in training.
        """
        whole = self.lent(features)
        return {modality.name: modality.read(whole[modality.name]) for modality in self.modalities}

    def lent(self, features: Mapping[str, FeatureTable]) -> Mapping[str, FeatureTable]:
        """The tables as they are before `Modality.fill` fills what gaps are left."""
        return features if self.donors is None else self.donors.lend(features)

    def state(self) -> tuple[dict[str, Tensor], list[list[str]]]:
        """Tensors and plain metadata from which `restore` makes an equal one."""
        tensors = {f"fill.{place}": modality.fill for place, modality in enumerate(self.modalities)}
        if self.donors is not None:
            tensors["donors.warm"] = _tensor(self.donors.warm)
            for place, table in enumerate(self.donors.features.values()):
                tensors |= {
                    f"donors.{place}.values": _tensor(table.values),
                    f"donors.{place}.present": _tensor(table.present),
                }
        return tensors, [[modality.name, modality.scale] for modality in self.modalities]

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Sequence[Sequence[Any]]) -> Reader:
        modalities = tuple(
            Modality(str(name), tensors[f"fill.{place}"], scale)
            for place, (name, scale) in enumerate(meta)
        )
        if "donors.warm" not in tensors:
            return cls(modalities)
        kept = {
            modality.name: FeatureTable(
                tensors[f"donors.{place}.values"].numpy(),
                tensors[f"donors.{place}.present"].numpy(),
            )
            for place, modality in enumerate(modalities)
        }
        return cls(modalities, Donors(kept, tensors["donors.warm"].numpy()))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


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
        return (
            torch.tanh(made)
            if self.activation == "tanh"
            else F.leaky_relu(made)
            if self.activation == "leaky-relu"
            else made
        )


@dataclass(frozen=True, eq=False)
class Experts:
    """Affine maps with tanh, added up with weights that are made of the same input: sum_e g_e(x) tanh(W_e x + c_e).

    Args:
        maps: all W_e and c_e one below the other, to [n, experts * out]; without activation.
        gate: to [n, experts]; without activation.
        by: what makes the weights of the numbers of the gate.
    """

    maps: Layer
    gate: Layer
    by: Gate = "tanh"

    def __call__(self, rows: Tensor) -> Tensor:
        """[n, in] -> [n, out], on the CPU."""
        weight = self.gate(rows)
        weight = torch.tanh(weight) if self.by == "tanh" else weight.softmax(1)
        return torch.einsum(
            "re,red->rd", weight, torch.tanh(self.maps(rows)).view(len(rows), weight.shape[1], -1)
        )


@dataclass(frozen=True, eq=False)
class Chain:
    """Layers one after the other.

    Args:
        reads: places of the modalities that go in, side by side in this order.
        layers: at least one.
    """

    reads: tuple[int, ...]
    layers: tuple[Layer | Experts, ...]

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
        read: of the features the numbers that go in.
        chains: each to [n, dim of an item's vector].
        bias: to [n, 1], or None: an item of which nothing but features is known has the bias 0.
    """

    read: Reader
    chains: tuple[Chain, ...]
    bias: Chain | None = None

    @torch.no_grad()
    def __call__(self, features: Mapping[str, FeatureTable]) -> tuple[Tensor, Tensor]:
        """Vectors float32 [n, dim] and biases [n] of items, on the CPU.

        Args:
            features: a table of n rows for every modality, of the width it had in training.
        """
        read = list(self.read(features).values())
        vectors = torch.stack([chain(read) for chain in self.chains]).mean(0)
        return vectors, vectors.new_zeros(len(vectors)) if self.bias is None else self.bias(read)[
            :, 0
        ]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain metadata from which `restore` makes an equal one."""
        tensors, modalities = self.read.state()
        chains = {str(place): chain for place, chain in enumerate(self.chains)} | (
            {} if self.bias is None else {"bias": self.bias}
        )
        told = {}
        for name, chain in chains.items():
            for place, layer in enumerate(chain.layers):
                parts = (
                    {"": layer}
                    if isinstance(layer, Layer)
                    else {"maps.": layer.maps, "gate.": layer.gate}
                )
                for part, plain in parts.items():
                    tensors[f"{name}.{place}.{part}weight"] = plain.weight
                    if plain.bias is not None:
                        tensors[f"{name}.{place}.{part}bias"] = plain.bias
            activations = [
                layer.activation if isinstance(layer, Layer) else f"{_EXPERTS}{layer.by}"
                for layer in chain.layers
            ]
            told[name] = {"reads": list(chain.reads), "activations": activations}
        return tensors, {"modalities": modalities, "chains": told}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> ContentEncoder:
        chains = {}
        for name, told in meta["chains"].items():
            layers = tuple(
                _layer(f"{name}.{place}.", tensors, activation)
                for place, activation in enumerate(told["activations"])
            )
            chains[name] = Chain(tuple(told["reads"]), layers)
        bias = chains.pop("bias", None)
        return cls(
            Reader.restore(tensors, meta["modalities"]),
            tuple(chains[str(place)] for place in range(len(chains))),
            bias,
        )


def _layer(name: str, tensors: Mapping[str, Tensor], activation: Any) -> Layer | Experts:
    """What `ContentEncoder.state` wrote of a layer."""
    if not str(activation).startswith(_EXPERTS):
        return Layer(tensors[f"{name}weight"], tensors.get(f"{name}bias"), activation)
    maps, gate = (
        Layer(tensors[f"{name}{part}.weight"], tensors.get(f"{name}{part}.bias"))
        for part in ("maps", "gate")
    )
    return Experts(maps, gate, "softmax" if activation == f"{_EXPERTS}softmax" else "tanh")


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without the beginning."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def no_new_items(kind: str) -> InputError:
    """What to say where features alone make no scores."""
    return InputError(
        f"this '{kind}' scorer makes nothing of an item's features, so it cannot rank one that was not in training",
        remedy="use milk, duif, dropoutnet, heater, clcrec or contentknn, or vbpr or bm3 with new_items = 'content'; or train again with these items",
    )


def reads_of(scorer: Any) -> dict[str, int]:
    """The modalities by which a scorer places an item that was not in training, and the length of a vector of each.

    Raises:
        InputError: it cannot.
    """
    if not hasattr(scorer, "reads"):
        raise no_new_items(str(getattr(scorer, "kind", type(scorer).__name__)))
    found: dict[str, int] = scorer.reads()
    return found


def grown(scorer: Any, features: Mapping[str, FeatureTable]) -> Any:
    """The scorer with more items at the end, known by their features alone.

    Raises:
        InputError: it cannot.
    """
    reads_of(scorer)
    return scorer.with_items(features)


def reads_of_parts(whole: str, parts: Mapping[str, Any]) -> dict[str, int]:
    """What all parts of a scorer read together.

    Args:
        whole: what they are parts of.
        parts: scorers by what they are called.

    Raises:
        InputError: a part that cannot, by its name; or two that read vectors of different lengths for one modality.
    """
    found: dict[str, int] = {}
    for name, part in parts.items():
        try:
            own = reads_of(part)
        except InputError as error:
            raise InputError(
                f"the {name} part of this {whole}: {error.cause}",
                place=error.place,
                remedy=error.remedy,
            ) from None
        for modality, dim in own.items():
            if found.setdefault(modality, dim) != dim:
                cause = f"the parts of this {whole} read vectors of {found[modality]} and of {dim} numbers for '{modality}'"
                raise InputError(cause, remedy="join runs of the same features")
    return found


def numbered(parts: Sequence[Any]) -> dict[str, Any]:
    """Parts by their numeral."""
    return {
        _NUMERALS[place] if place < len(_NUMERALS) else f"{place + 1}th": part
        for place, part in enumerate(parts)
    }
