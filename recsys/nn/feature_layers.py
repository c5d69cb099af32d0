"""Shared parts of methods that read item features: whole feature tables, frozen or trained.

A missing modality is data (`FeatureTable.present`), but a network needs a number in its place. The
fill value comes from training data only: the mean over the items that have the modality and at
least one training pair, or the vector of one of them.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.data.splitting.missing_modalities import Donors, Impute, filling
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.scorer.feature_encoder import (
    Activation,
    Chain,
    ContentEncoder,
    Experts,
    Layer,
    Modality,
    Reader,
)

__all__ = [
    "FeatureProjection",
    "Impute",
    "Scale",
    "Table",
    "affine",
    "chain_of_all",
    "each_its_own",
    "feature_values",
    "layer",
    "reader",
    "side_by_side",
    "values_and_known",
    "warm_items",
]

Scale = Literal["none", "row"]

_BLOCK_NUMBERS = 1 << 18  # of a gradient per block


def feature_values(
    train: Dataset, *, impute: Impute = "mean", scale: Scale = "none"
) -> dict[str, Tensor]:
    """Return the features of all items by modality, float32 [n_items, d_m] each; see `reader`.

    Modalities are in the order of the data set.
    """
    return reader(train, impute=impute, scale=scale)(train.features)


def values_and_known(
    train: Dataset, *, impute: Impute = "mean", scale: Scale = "none"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return `feature_values`, and bool [n_items] per modality, items with an own value.

    These are the items that have the modality, and with "nearest" also those that borrow the vector
    of
    a similar item. The other items share one fill value.
    """
    read = reader(train, impute=impute, scale=scale)
    whole = read.lent(train.features)
    names = [modality.name for modality in read.modalities]
    values = {modality.name: modality.read(whole[modality.name]) for modality in read.modalities}
    return values, {name: torch.from_numpy(whole[name].present.copy()) for name in names}


def reader(train: Dataset, *, impute: Impute = "mean", scale: Scale = "none") -> Reader:
    """Return the reader of features of a network built on these data.

    It reads the features of their items, and of items that come after training.

    Args:
        train: the data the network is built on.
        impute: fill value of a missing modality: "mean", over the items that have it and a training
            pair (over all that have it, if no such item has a pair); "zero"; "nearest", the vector
            of the most similar such item, see `missing_modalities.Donors`, whose features are then
            kept. A modality that no item has is filled with zeros.
        scale: "row" divides each row by its length, after filling; a row of zeros stays.

    Raises:
        InputError: the data have no features, or not one row per item.
    """
    if not train.features:
        raise InputError(
            "the method needs item features, but the data have none",
            place="[model]",
            remedy="give features in [data]",
        )
    for name, table in train.features.items():
        if len(table.values) != train.n_items:
            cause = (
                f"features '{name}' have {len(table.values)} rows, expected one for each of "
                f"{train.n_items} items"
            )
            raise InputError(
                cause,
                place="[data] features",
                remedy="give a row per item, and mark those that lack the modality",
            )
    warm = warm_items(train)
    read = tuple(
        Modality(name, torch.from_numpy(filling(table, warm, impute)), scale)
        for name, table in train.features.items()
    )
    return Reader(
        read, Donors.of(train.features, warm) if impute == "nearest" and len(read) > 1 else None
    )


def layer(linear: nn.Module, activation: Activation = "none") -> Layer:
    """Return an affine map as a value."""
    assert isinstance(linear, nn.Linear)
    return Layer(
        linear.weight.detach().clone(),
        None if linear.bias is None else linear.bias.detach().clone(),
        activation,
    )


def each_its_own(read: Reader, *chains: tuple[Layer, ...]) -> ContentEncoder:
    """Return an encoder that averages the modalities, each through its own layers."""
    return ContentEncoder(
        read, tuple(Chain((index,), layers) for index, layers in enumerate(chains))
    )


def chain_of_all(
    read: Reader, *layers: Layer | Experts, bias: Layer | None = None
) -> ContentEncoder:
    """Return an encoder of all concatenated modalities; `bias` maps the same input to a number."""
    every = tuple(range(len(read.modalities)))
    return ContentEncoder(
        read, (Chain(every, layers),), None if bias is None else Chain(every, (bias,))
    )


def side_by_side(tables: dict[str, Tensor]) -> Tensor:
    """Return all modalities of an item concatenated, [n_items, sum of d_m]."""
    return torch.cat(list(tables.values()), dim=1)


def warm_items(train: Dataset) -> np.ndarray:
    """Return which items have a training pair, bool [n_items]."""
    return np.bincount(train.pairs.item, minlength=train.n_items) > 0


class Table(nn.Module):
    """A row of numbers per item: constants, or initial values of a trained table.

    Args:
        values: float32 [n, d]; a trained table copies them.
        train: train the rows.
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
        """All rows, [n, d], with a gradient if they are trained."""
        return self.fixed if self.learned is None else self.learned.weight

    def forward(self, rows: Tensor) -> Tensor:
        """Return the given distinct rows, [R, d].

        A dense gradient of a large table is mostly zeros, and allocating one per step costs more
        than the
        computation. Its memory is therefore reused: only rows written by the previous step are
        reset to
        zero. The next backward pass writes to the same memory, so copy a gradient that must outlive
        it.
        """
        if self.learned is None:
            return self.fixed.index_select(0, rows)
        out: Tensor = (
            self.learned(rows)
            if self.learned.sparse or rows.device.type != "cpu"
            else _Rows.apply(self.learned.weight, rows, self)  # type: ignore[no-untyped-call]
        )
        return out

    def room(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the dense gradient [n, d] to fill at the distinct `rows`, zeros elsewhere.

        Used on the CPU only.

        The second tensor is the value to return to autograd.
        """
        assert self.learned is not None
        weight, kept = self.learned.weight, self._gradient
        if weight.grad is not None:  # gradients accumulate in the memory that is kept
            self._gradient = None
            fresh = torch.zeros_like(weight)
            return fresh, fresh
        if (
            kept is None
            or self._dirty is None
            or (kept.dtype, kept.device) != (weight.dtype, weight.device)
        ):
            kept = self._gradient = torch.zeros_like(weight)
        else:
            stale = (
                torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
                .index_fill_(0, self._dirty, True)
                .index_fill_(0, rows, False)
            )
            kept.index_fill_(0, stale.nonzero()[:, 0], 0.0)
        self._dirty = rows
        return kept, kept.detach()  # a view of the same memory, which autograd uses without a copy


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, table: Table) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.table = table
        return weight.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        room, gradient = ctx.table.room(rows)
        room.index_copy_(0, rows, grads[0])
        return gradient, None, None


class FeatureProjection(nn.Module):
    """Project features into the network: an affine map per modality, z_i^m = W_m x_i^m + b_m.

    Methods keep it as `told`, which is part of the names of its tensors in checkpoints.

    Args:
        values: features of all items by modality, float32 [n, d_m] each.
        dim: dimension of z.
        train: train the features too.
        start: initialisation of the maps, see `affine`.
    """

    def __init__(
        self,
        values: dict[str, Tensor],
        dim: int,
        *,
        train: bool,
        start: Literal["xavier", "torch"] = "torch",
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(Table(value, train=train) for value in values.values())
        self.maps = nn.ModuleList(affine(value.shape[1], dim, start) for value in values.values())

    def forward(self, rows: Tensor | None = None) -> list[Tensor]:
        """Return z of all items, or of distinct rows [R], per modality: [n, dim] or [R, dim]."""
        projected = []
        for table, linear in zip(self.tables, self.maps, strict=True):
            assert isinstance(table, Table)
            assert isinstance(linear, nn.Linear)
            projected.append(
                linear(table.values) if rows is None else _projected(table, linear, rows)
            )
        return projected

    @property
    def learned(self) -> tuple[nn.Embedding, ...]:
        """The trained tables; if only some rows are read per step, their gradient may be sparse."""
        return tuple(
            table.learned
            for table in self.tables
            if isinstance(table, Table) and table.learned is not None
        )


def _projected(table: Table, linear: nn.Linear, rows: Tensor) -> Tensor:
    """Return linear(table(rows)) for distinct rows, [R, dim].

    The gradient of a trained table is as large as the rows read. On the CPU it is computed some
    rows at
    a time and written to its place, so that it passes through memory once.
    """
    plain = (
        table.learned is None
        or table.learned.sparse
        or rows.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
    )
    if plain or table.learned is None or torch.compiler.is_compiling():
        simple: Tensor = linear(table(rows))
        return simple
    out: Tensor = _Projected.apply(table.learned.weight, linear.weight, linear.bias, rows, table)  # type: ignore[no-untyped-call]
    return out


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None, rows: Tensor, table: Table
    ) -> Tensor:
        some = values.index_select(0, rows)
        ctx.save_for_backward(some, weight, rows)
        ctx.table, ctx.biased = table, bias is not None
        return F.linear(some, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        some, weight, rows = ctx.saved_tensors
        grad = grads[0].contiguous()
        room, gradient = ctx.table.room(rows)
        target, index = room.numpy(), rows.numpy()  # numpy writes rows faster than torch
        size = max(1, _BLOCK_NUMBERS // weight.shape[1])
        block = grad.new_empty(size, weight.shape[1])
        for start in range(0, len(rows), size):
            own = grad[start : start + size]
            target[index[start : start + size]] = torch.mm(
                own, weight, out=block[: len(own)]
            ).numpy()
        return gradient, grad.T @ some, grad.sum(0) if ctx.biased else None, None, None


def affine(
    width: int, dim: int, start: Literal["xavier", "torch"] = "torch", *, bias: bool = True
) -> nn.Linear:
    """Return an affine map.

    Its weights are drawn from Xavier's normal distribution or torch's uniform one, its bias always
    from
    torch's.
    """
    layer = nn.Linear(width, dim, bias=bias)
    if start == "xavier":
        nn.init.xavier_normal_(layer.weight)
    return layer
