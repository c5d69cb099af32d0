"""Scorers in which user and item interact in more than an inner product.

They are scored in small blocks whose intermediate values fit into a cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from recsys.data.query import Queries, QueryKind
from recsys.scorer.ability import Places
from recsys.scorer.base import answered_by
from recsys.scorer.plan import Dense
from recsys.scorer.rows import user_rows

__all__ = ["Deep", "Relational"]

_ROOM = 1 << 18  # intermediate values in memory at a time


@dataclass(frozen=True, eq=False)
class Relational:
    """One vector per user and per item, and a relation between the two from a shared memory.

    score = -|u + r - v|^2 with r = a M and a = softmax((u * v) K). The relations are never built:
    with E = M M' the score is -(|u|^2 + |v|^2 - 2 u.v + 2 a.(M u) - 2 a.(M v) + a' E a), which
    needs only the m attention weights a of each pair.
    Source: Tay, Luu, Hui, "Latent relational metric learning via memory-based attention for
    collaborative ranking", WWW 2018.

    Args:
        user: user vectors, float32 [n_users, d].
        item: item vectors, float32 [n_items, d].
        key: keys K of the memory, float32 [d, m].
        memory: memory slots M, float32 [m, d].
    """

    user: Tensor
    item: Tensor
    key: Tensor
    memory: Tensor

    kind: ClassVar[str] = "relational"
    places: ClassVar[Places] = Places()
    answers: ClassVar[frozenset[QueryKind]] = frozenset(("user",))

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

    def plan(self) -> Dense:
        return Dense()

    def score(self, queries: Queries) -> Tensor:
        answered_by(self, queries)
        users = user_rows(queries, self.device)
        user, memories = self.user[users], len(self.memory)
        scores = user.new_empty(len(users), self.n_items)
        for rows in _blocks(len(users), _ROOM // (64 * memories)):
            some = user[rows]
            # Keys as each user sees them, so that all logits of a user and an item are one row of a
            # matrix product: [B m, d].
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
        tensors = {"user": self.user, "item": self.item, "key": self.key, "memory": self.memory}
        return tensors, {"kind": self.kind}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Relational:
        return cls(tensors["user"], tensors["item"], tensors["key"], tensors["memory"])


_TABLES = ("user", "item", "user_part", "item_part")


@dataclass(frozen=True, eq=False)
class Deep:
    """An inner product plus a small network over user and item.

    score = p_u.q_i + c + a.h_L,  h_1 = relu(x_u + y_i),  h_(l+1) = relu(W_l h_l + b_l). The first
    layer of the network is split into the contributions x of the user and y of the item, which are
    computed once. No layer of the width of both is computed for a pair.
    Source: He, Liao, Zhang, Nie, Hu, Chua, "Neural collaborative filtering", WWW 2017 (NeuMF).

    Args:
        user, item: p float32 [n_users, d] and q float32 [n_items, d]; the weights of the
            coordinates of the inner product are multiplied into p.
        user_part, item_part: x float32 [n_users, h_1], with the bias of the first layer, and
            y float32 [n_items, h_1].
        layers: W_l float32 [h_(l+1), h_l] and b_l float32 [h_(l+1)] of the layers after the first.
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

    kind: ClassVar[str] = "deep"
    places: ClassVar[Places] = Places()
    answers: ClassVar[frozenset[QueryKind]] = frozenset(("user",))

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
        tables = {name: getattr(self, name).to(device) for name in _TABLES}
        layers = tuple((weight.to(device), bias.to(device)) for weight, bias in self.layers)
        return Deep(
            **tables, layers=layers, output=self.output.to(device), bias=self.bias.to(device)
        )

    def plan(self) -> Dense:
        return Dense()

    def score(self, queries: Queries) -> Tensor:
        answered_by(self, queries)
        users = user_rows(queries, self.device)
        scores = torch.addmm(self.bias, self.user[users], self.item.T)
        part, width = self.user_part[users], self.user_part.shape[1]
        # Blocks that fit a cache are too small to keep an accelerator busy.
        room = _ROOM if self.device.type == "cpu" else _ROOM << 8
        for rows in _blocks(len(users), room // (64 * width)):
            for columns in _blocks(self.n_items, room // (width * max(1, len(part[rows])))):
                hidden = (part[rows, None] + self.item_part[None, columns]).relu_().view(-1, width)
                for weight, bias in self.layers:
                    hidden = torch.addmm(bias, hidden, weight.T).relu_()
                scores[rows, columns] += (hidden @ self.output).view(len(part[rows]), -1)
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {name: getattr(self, name) for name in (*_TABLES, "output", "bias")}
        for index, (weight, bias) in enumerate(self.layers):
            tensors |= {f"{index}.weight": weight, f"{index}.bias": bias}
        return tensors, {"kind": self.kind, "layers": len(self.layers)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Deep:
        tables = {name: tensors[name] for name in _TABLES}
        layers = tuple(
            (tensors[f"{index}.weight"], tensors[f"{index}.bias"])
            for index in range(meta["layers"])
        )
        return cls(**tables, layers=layers, output=tensors["output"], bias=tensors["bias"])


def _blocks(n: int, size: int) -> Iterator[slice]:
    """Yield slices of 0..n-1 with at most `size` rows, and at least 1."""
    size = max(1, size)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
