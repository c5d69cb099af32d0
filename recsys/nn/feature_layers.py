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
    "counted",
    "distinct",
    "each_its_own",
    "feature_values",
    "layer",
    "reader",
    "side_by_side",
    "values_and_known",
    "warm_items",
]

Scale = Literal["none", "row"]

_BLOCK_NUMBERS = 1 << 18  # of a gradient that is made at a time


def feature_values(
    train: Dataset, *, impute: Impute = "mean", scale: Scale = "none"
) -> dict[str, Tensor]:
    """The features of all items by the name of their modality, float32 [n_items, d_m] each, in the order of the data set; see `reader`."""
    return reader(train, impute=impute, scale=scale)(train.features)


def values_and_known(
    train: Dataset, *, impute: Impute = "mean", scale: Scale = "none"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """As `feature_values`, and which items each modality tells apart, bool [n_items]: what fills the other gaps is the same for all.

    Known are the items that have the modality, and with "nearest" also those that borrow the vector of one like them.
    """
    read = reader(train, impute=impute, scale=scale)
    whole = read.lent(train.features)
    names = [modality.name for modality in read.modalities]
    values = {modality.name: modality.read(whole[modality.name]) for modality in read.modalities}
    return values, {name: torch.from_numpy(whole[name].present.copy()) for name in names}


def reader(train: Dataset, *, impute: Impute = "mean", scale: Scale = "none") -> Reader:
    """How a network built on these data reads features: of their items, and of those that come after training.

    Args:
        train: what a network is built on.
        impute: what stands where a modality is missing: the mean over the items that have it and a training pair (over all that
            have it, if none of them was met), zeros, or the vector of the nearest such item, see `missing_modalities.Donors`, whose
            features are then kept. What nobody has is zeros either way.
        scale: "row" divides each row by its length, after the gaps are filled; a row of zeros stays.

    Raises:
        InputError: the data have no features, or not one row per item.
    """
    if not train.features:
        raise InputError(
            "the method reads item features, and the data have none",
            place="[model]",
            remedy="give features in [data]",
        )
    for name, table in train.features.items():
        if len(table.values) != train.n_items:
            cause = f"features '{name}' have {len(table.values)} rows, and there are {train.n_items} items"
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
    """An affine map as a value."""
    assert isinstance(linear, nn.Linear)
    return Layer(
        linear.weight.detach().clone(),
        None if linear.bias is None else linear.bias.detach().clone(),
        activation,
    )


def each_its_own(read: Reader, *chains: tuple[Layer, ...]) -> ContentEncoder:
    """The mean over the modalities, each of which has layers of its own."""
    return ContentEncoder(
        read, tuple(Chain((place,), layers) for place, layers in enumerate(chains))
    )


def chain_of_all(
    read: Reader, *layers: Layer | Experts, bias: Layer | None = None
) -> ContentEncoder:
    """All modalities side by side through the same layers; `bias` makes a number of the same input."""
    every = tuple(range(len(read.modalities)))
    return ContentEncoder(
        read, (Chain(every, layers),), None if bias is None else Chain(every, (bias,))
    )


def side_by_side(tables: dict[str, Tensor]) -> Tensor:
    """All modalities of an item one after the other, [n_items, sum of d_m]."""
    return torch.cat(list(tables.values()), dim=1)


def warm_items(train: Dataset) -> np.ndarray:
    """Which items have a training pair, bool [n_items]."""
    return np.bincount(train.pairs.item, minlength=train.n_items) > 0


def distinct(*rows: Tensor, n: int | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The distinct values of several tensors of rows, ascending [R], and where in them each value of each tensor is, shaped as given.

    Args:
        rows: int64 of any shape.
        n: all rows are below it, where it is known: they are then marked instead of sorted.
    """
    every = torch.cat([part.reshape(-1) for part in rows])
    if n is None:
        found, at = torch.unique(every, return_inverse=True)
    else:
        found = (
            torch.zeros(n, dtype=torch.bool, device=every.device)
            .index_fill_(0, every, True)
            .nonzero()[:, 0]
        )
        place = torch.empty(n, dtype=torch.int64, device=every.device).index_copy_(
            0, found, torch.arange(len(found), device=every.device)
        )
        at = place.index_select(0, every)
    places = torch.split(at, [part.numel() for part in rows])
    return found, tuple(place.view(part.shape) for place, part in zip(places, rows, strict=True))


def counted(rows: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The distinct values of rows below n, ascending, and how often each occurs, int64 [R] both."""
    count = torch.bincount(rows, minlength=n)
    found = count.nonzero()[:, 0]
    return found, count.index_select(0, found)


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
        out: Tensor = (
            self.learned(rows)
            if self.learned.sparse
            else _Rows.apply(self.learned.weight, rows, self)  # type: ignore[no-untyped-call]
        )
        return out

    def room(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The dense gradient [n, d], zeros but at the distinct `rows`, which the caller is to fill; and what autograd is to be given for it."""
        assert self.learned is not None
        weight, kept = self.learned.weight, self._gradient
        if (
            weight.grad is not None
        ):  # gradients are being added up, so the memory that is kept is theirs
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
        return kept, kept.detach()  # another name of the same memory, which autograd takes as it is


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, table: Table) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.table = table
        return weight.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        room, named = ctx.table.room(rows)
        room.index_copy_(0, rows, grads[0])
        return named, None, None


class FeatureProjection(nn.Module):
    """How features enter a network: every modality through an affine map of its own, z_i^m = W_m x_i^m + b_m.

    Args:
        values: the features of all items by the name of their modality, float32 [n, d_m] each.
        dim: length of z.
        train: whether the features move.
        start: of the maps, see `affine`.
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
        """The z of all items, or of distinct ones [R], in each modality: [n, dim] or [R, dim]."""
        found = []
        for table, linear in zip(self.tables, self.maps, strict=True):
            assert isinstance(table, Table)
            assert isinstance(linear, nn.Linear)
            found.append(linear(table.values) if rows is None else _projected(table, linear, rows))
        return found

    @property
    def learned(self) -> tuple[nn.Embedding, ...]:
        """The tables that move; read only some rows at a time, their gradient may be sparse."""
        return tuple(
            table.learned
            for table in self.tables
            if isinstance(table, Table) and table.learned is not None
        )


def _projected(table: Table, linear: nn.Linear, rows: Tensor) -> Tensor:
    """linear(table(rows)), [R, dim], of distinct rows.

    The gradient of a trained table is as large as what is read of it. On the CPU it is made some rows at a time and written where it belongs,
    so that it passes through memory once.
    """
    plain = (
        table.learned is None
        or table.learned.sparse
        or rows.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
    )
    if plain or table.learned is None or torch.compiler.is_compiling():
        told: Tensor = linear(table(rows))
        return told
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
        room, named = ctx.table.room(rows)
        target, places = room.numpy(), rows.numpy()  # numpy writes rows faster than torch
        size = max(1, _BLOCK_NUMBERS // weight.shape[1])
        block = grad.new_empty(size, weight.shape[1])
        for start in range(0, len(rows), size):
            own = grad[start : start + size]
            target[places[start : start + size]] = torch.mm(
                own, weight, out=block[: len(own)]
            ).numpy()
        return named, grad.T @ some, grad.sum(0) if ctx.biased else None, None, None


def affine(
    width: int, dim: int, start: Literal["xavier", "torch"] = "torch", *, bias: bool = True
) -> nn.Linear:
    """An affine map; its weights start at Xavier's normal distribution or at torch's uniform one, its bias always at the latter."""
    layer = nn.Linear(width, dim, bias=bias)
    if start == "xavier":
        nn.init.xavier_normal_(layer.weight)
    return layer
