"""What methods that read item features share: whole tables of them, frozen or trained.

A missing modality is data (`FeatureTable.present`); a network needs a number in its place. What is filled in rests on the training data
alone: the mean over the items that have the modality and at least one training pair, or the vector of one of them.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.data.missing import Impute, filled, filling
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.scorer.content import Activation, Chain, ContentEncoder, Layer, Modality

__all__ = [
    "Impute",
    "Scale",
    "Table",
    "affine",
    "chain_of_all",
    "distinct",
    "each_its_own",
    "feature_values",
    "layer",
    "modalities",
    "side_by_side",
    "warm_items",
    "xavier",
]

Scale = Literal["none", "row"]


def feature_values(train: Dataset, *, impute: Impute = "mean", scale: Scale = "none") -> dict[str, Tensor]:
    """The features of all items by the name of their modality, float32 [n_items, d_m] each, in the order of the data set.

    Args:
        train: what a network is built on.
        impute: what stands where a modality is missing: the mean over the items that have it and a training pair (over all that
            have it, if none of them was met), zeros, or the vector of the nearest such item, see `recsys.data.missing.filled`. What nobody
            has is zeros either way.
        scale: "row" divides each row by its length, after the gaps are filled; a row of zeros stays.

    Raises:
        InputError: the data have no features, or not one row per item.
    """
    if not train.features:
        raise InputError("the method reads item features, and the data have none", place="[model]", remedy="give features in [data]")
    for name, table in train.features.items():
        if len(table.values) != train.n_items:
            cause = f"features '{name}' have {len(table.values)} rows, and there are {train.n_items} items"
            raise InputError(cause, place="[data] features", remedy="give a row per item, and mark those that lack the modality")
    found = {name: torch.from_numpy(values) for name, values in filled(train.features, warm_items(train), impute).items()}
    return {name: F.normalize(values, dim=1) if scale == "row" else values for name, values in found.items()}


def modalities(train: Dataset, *, impute: Impute = "mean", scale: Scale = "none") -> tuple[Modality, ...]:
    """How `feature_values` reads each modality, for items that come after training; arguments as there.

    "nearest" fills in the mean here: no item of training is kept that one could be near to.
    """
    warm = warm_items(train)
    return tuple(Modality(name, torch.from_numpy(filling(table, warm, impute)), scale) for name, table in train.features.items())


def layer(linear: nn.Module, activation: Activation = "none") -> Layer:
    """An affine map as a value."""
    assert isinstance(linear, nn.Linear)
    return Layer(linear.weight.detach().clone(), None if linear.bias is None else linear.bias.detach().clone(), activation)


def each_its_own(read: tuple[Modality, ...], *chains: tuple[Layer, ...]) -> ContentEncoder:
    """The mean over the modalities, each of which has layers of its own."""
    return ContentEncoder(read, tuple(Chain((place,), layers) for place, layers in enumerate(chains)))


def chain_of_all(read: tuple[Modality, ...], *layers: Layer, bias: Layer | None = None) -> ContentEncoder:
    """All modalities side by side through the same layers; `bias` makes a number of the same input."""
    every = tuple(range(len(read)))
    return ContentEncoder(read, (Chain(every, layers),), None if bias is None else Chain(every, (bias,)))


def side_by_side(tables: dict[str, Tensor]) -> Tensor:
    """All modalities of an item one after the other, [n_items, sum of d_m]."""
    return torch.cat(list(tables.values()), dim=1)


def warm_items(train: Dataset) -> np.ndarray:
    """Which items have a training pair, bool [n_items]."""
    return np.bincount(train.pairs.item, minlength=train.n_items) > 0


def distinct(*rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The distinct values of several tensors of rows, ascending [R], and where in them each value of each tensor is, shaped as given."""
    found, at = torch.unique(torch.cat([part.reshape(-1) for part in rows]), return_inverse=True)
    places = torch.split(at, [part.numel() for part in rows])
    return found, tuple(place.view(part.shape) for place, part in zip(places, rows, strict=True))


class Table(nn.Module):
    """A row of numbers per item: constants, or start values of a table that is trained.

    Args:
        values: float32 [n, d]; a trained table copies them.
        train: whether the rows move.
    """

    fixed: Tensor

    def __init__(self, values: Tensor, *, train: bool) -> None:
        super().__init__()
        self.width = int(values.shape[1])
        self.learned: nn.Embedding | None = None
        self._gradient: Tensor | None = None
        self._dirty: Tensor | None = None
        if train:
            self.learned = nn.Embedding(len(values), self.width, _weight=torch.empty(values.shape))
            with torch.no_grad():
                self.learned.weight.copy_(values)
        else:
            self.register_buffer("fixed", values, persistent=False)

    @property
    def values(self) -> Tensor:
        """All rows [n, d]; they have a gradient if they are trained."""
        return self.fixed if self.learned is None else self.learned.weight

    def forward(self, rows: Tensor) -> Tensor:
        """The given rows [R, d], distinct ones.

        A dense gradient of a large table is mostly zeros, and a new one at every step costs more than all that is computed of it. So its
        memory is kept, and only rows that the step before has written are set to zero again. It belongs to the next backward pass as well:
        copy what is to outlive it.
        """
        if self.learned is None:
            return self.fixed.index_select(0, rows)
        out: Tensor = self.learned(rows) if self.learned.sparse else _Rows.apply(self.learned.weight, rows, self)  # type: ignore[no-untyped-call]
        return out

    def gradient(self, rows: Tensor, values: Tensor) -> Tensor:
        """The dense gradient [n, d] with `values` [R, d] at the distinct `rows`, zeros elsewhere."""
        assert self.learned is not None
        weight, kept = self.learned.weight, self._gradient
        if weight.grad is not None:  # gradients are being added up, so the memory that is kept is theirs
            self._gradient = None
            return values.new_zeros(weight.shape).index_copy_(0, rows, values)
        if kept is None or self._dirty is None or (kept.dtype, kept.device) != (values.dtype, values.device):
            kept = self._gradient = values.new_zeros(weight.shape)
        else:
            kept.index_fill_(0, self._dirty, 0.0)
        self._dirty = rows
        return kept.index_copy_(0, rows, values).detach()  # another name of the same memory, which autograd takes as it is


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, table: Table) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.table = table
        return weight.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.table.gradient(ctx.saved_tensors[0], grads[0]), None, None


def affine(width: int, dim: int, start: Literal["xavier", "torch"] = "torch", *, bias: bool = True) -> nn.Linear:
    """An affine map; its weights start at Xavier's normal distribution or at torch's uniform one, its bias always at the latter."""
    layer = nn.Linear(width, dim, bias=bias)
    if start == "xavier":
        nn.init.xavier_normal_(layer.weight)
    return layer


def xavier(n: int, dim: int) -> nn.Embedding:
    """A table [n, dim] drawn from Xavier's uniform distribution, U(-a, a) with a = sqrt(6 / (n + dim))."""
    table = nn.Embedding(n, dim, _weight=torch.empty(n, dim))
    nn.init.xavier_uniform_(table.weight)
    return table
