"""Scorers in which a user and an item meet in more than an inner product; they are scored in blocks that a cache holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.scorer.ability import Places
from recsys.scorer.als_fold_in import no_fold_in

__all__ = ["Deep", "Relational"]

_ROOM = 1 << 18  # numbers that are held at a time


@dataclass(frozen=True, eq=False)
class Relational:
    """One vector per user and per item, and between the two a relation that is mixed from a memory which all share.

    score = -|u + r - v|^2 with r = a M and a = softmax((u * v) K). Relations are never built: with E = M M' the score is
    -(|u|^2 + |v|^2 - 2 u.v + 2 a.(M u) - 2 a.(M v) + a' E a), which needs of each user and item the m numbers a alone.
    Source: Tay, Luu, Hui, "Latent relational metric learning via memory-based attention for collaborative ranking", WWW 2018.

    Args:
        user: float32 [n_users, d].
        item: float32 [n_items, d].
        key: float32 [d, m].
        memory: float32 [m, d].
    """

    user: Tensor
    item: Tensor
    key: Tensor
    memory: Tensor

    kind = "relational"
    places = Places()

    @property
    def n_users(self) -> int:
        return int(self.user.shape[0])

    @property
    def n_items(self) -> int:
        return int(self.item.shape[0])

    @property
    def device(self) -> torch.device:
        return self.item.device

    def to(self, device: torch.device | str) -> Relational:
        return Relational(
            self.user.to(device), self.item.to(device), self.key.to(device), self.memory.to(device)
        )

    def score(self, users: Tensor) -> Tensor:
        user, memories = self.user[users], len(self.memory)
        scores = user.new_empty(len(users), self.n_items)
        for rows in _blocks(len(users), _ROOM // (64 * memories)):
            some = user[rows]
            # Keys as each user sees them, so that all logits of a user and an item are one row of a matrix product: [B m, d].
            query = (some[:, None, :] * self.key.T).reshape(-1, some.shape[1])
            by_user, at_user = some.square().sum(-1, keepdim=True), some @ self.memory.T
            for columns in _blocks(self.n_items, _ROOM // max(1, len(query))):
                item = self.item[columns]
                a = (query @ item.T).view(len(some), memories, -1).softmax(1)
                turned = (
                    ((self.memory @ self.memory.T) @ a)
                    .add_(2 * at_user[:, :, None])
                    .sub_(2 * (self.memory @ item.T))
                )
                distance = (
                    a.mul_(turned)
                    .sum(1)
                    .add_(by_user)
                    .add_(item.square().sum(-1))
                    .sub_(2 * (some @ item.T))
                )
                scores[rows, columns] = distance.neg_()
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"user": self.user, "item": self.item, "key": self.key, "memory": self.memory}, {
            "kind": self.kind
        }

    def fold_in(self, met: sp.csr_matrix) -> Relational:
        """Refused: what is known of a user is learned.

        Raises:
            InputError: always.
        """
        raise no_fold_in(self.kind)

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Relational:
        return cls(tensors["user"], tensors["item"], tensors["key"], tensors["memory"])


@dataclass(frozen=True, eq=False)
class Deep:
    """An inner product plus a small network over user and item, whose first layer is taken apart into what each of the two gives to it.

    score = p_u.q_i + c + a.h_L,  h_1 = relu(x_u + y_i),  h_(l+1) = relu(W_l h_l + b_l). A user and an item meet only at x_u + y_i, so no
    layer of the width of both is computed for a pair.
    Source: He, Liao, Zhang, Nie, Hu, Chua, "Neural collaborative filtering", WWW 2017, whose NeuMF it is.

    Args:
        user, item: p float32 [n_users, d] and q [n_items, d], the weights of the inner product's coordinates within p.
        user_part, item_part: x float32 [n_users, h_1], with the bias of the first layer, and y [n_items, h_1].
        layers: W_l float32 [h_(l+1), h_l] and b_l [h_(l+1)] of the layers after the first.
        output: a float32 [h_L].
        bias: c, float32 [].
    """

    user: Tensor
    item: Tensor
    user_part: Tensor
    item_part: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    output: Tensor
    bias: Tensor

    kind = "deep"
    places = Places()

    @property
    def n_users(self) -> int:
        return int(self.user.shape[0])

    @property
    def n_items(self) -> int:
        return int(self.item.shape[0])

    @property
    def device(self) -> torch.device:
        return self.item.device

    def to(self, device: torch.device | str) -> Deep:
        user, item, user_part, item_part = (
            tensor.to(device) for tensor in (self.user, self.item, self.user_part, self.item_part)
        )
        layers = tuple((weight.to(device), bias.to(device)) for weight, bias in self.layers)
        return Deep(
            user, item, user_part, item_part, layers, self.output.to(device), self.bias.to(device)
        )

    def score(self, users: Tensor) -> Tensor:
        scores = torch.addmm(self.bias, self.user[users], self.item.T)
        part, width = self.user_part[users], self.user_part.shape[1]
        room = (
            _ROOM if self.device.type == "cpu" else _ROOM << 8
        )  # an accelerator has little to do with what fits a cache
        for rows in _blocks(len(users), room // (64 * width)):
            for columns in _blocks(self.n_items, room // (width * max(1, len(part[rows])))):
                hidden = (part[rows, None] + self.item_part[None, columns]).relu_().view(-1, width)
                for weight, bias in self.layers:
                    hidden = torch.addmm(bias, hidden, weight.T).relu_()
                scores[rows, columns] += (hidden @ self.output).view(len(part[rows]), -1)
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {
            name: getattr(self, name)
            for name in ("user", "item", "user_part", "item_part", "output", "bias")
        }
        for index, (weight, bias) in enumerate(self.layers):
            tensors |= {f"{index}.weight": weight, f"{index}.bias": bias}
        return tensors, {"kind": self.kind, "layers": len(self.layers)}

    def fold_in(self, met: sp.csr_matrix) -> Deep:
        """Refused: what is known of a user is learned.

        Raises:
            InputError: always.
        """
        raise no_fold_in(self.kind)

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Deep:
        layers = tuple(
            (tensors[f"{index}.weight"], tensors[f"{index}.bias"])
            for index in range(meta["layers"])
        )
        user, item, user_part, item_part = (
            tensors[name] for name in ("user", "item", "user_part", "item_part")
        )
        return cls(user, item, user_part, item_part, layers, tensors["output"], tensors["bias"])


def _blocks(n: int, size: int) -> Iterator[slice]:
    """0..n in stretches of `size`, at least 1."""
    size = max(1, size)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
