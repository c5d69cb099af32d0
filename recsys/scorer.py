"""Scorers: frozen values that can score. What is evaluated is exactly what is saved, exported and shipped.

Nearly every scorer here is a product of matrices or a sum of such, with one of three similarities at the end. That covers factor
models (`Factors`, and `MultiFactors` for several vectors per user), neighbourhood and linear models (`Product`) and their blends (`Sum`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.errors import InputError

__all__ = ["KINDS", "Deep", "Factors", "Matrix", "MultiFactors", "Product", "Relational", "Scorer", "Similarity", "Sum", "from_state"]

Similarity = Literal["dot", "cosine", "euclidean"]
Matrix: TypeAlias = "Tensor | sp.csr_matrix"

_ROOM = 1 << 18  # numbers that `Relational` holds at a time: what a cache holds


class Scorer(Protocol):
    """What can score every item for a block of users."""

    @property
    def n_users(self) -> int: ...

    @property
    def n_items(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def to(self, device: torch.device | str) -> Scorer: ...

    def score(self, users: Tensor) -> Tensor:
        """Scores of all items, float32 [B, n_items], for user rows [B]; higher is better."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain metadata from which `from_state` makes an equal scorer."""
        ...


@dataclass(frozen=True, eq=False)
class Factors:
    """One vector per user and per item.

    Args:
        user: float32 [n_users, d].
        item: float32 [n_items, d].
        similarity: "dot" u.v, "cosine", or "euclidean" -|u - v|^2.
        item_bias: float32 [n_items] added to each score, or None.
    """

    user: Tensor
    item: Tensor
    similarity: Similarity = "dot"
    item_bias: Tensor | None = None

    kind = "factors"

    @property
    def n_users(self) -> int:
        return int(self.user.shape[0])

    @property
    def n_items(self) -> int:
        return int(self.item.shape[0])

    @property
    def device(self) -> torch.device:
        return self.item.device

    def to(self, device: torch.device | str) -> Factors:
        bias = None if self.item_bias is None else self.item_bias.to(device)
        return Factors(self.user.to(device), self.item.to(device), self.similarity, bias)

    def as_dot(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same ranking as inner products: queries [n_users, d'], keys [n_items, d'], and a term per user [n_users].

        score = query . key + term. Distances become 2uv - |v|^2 with -|u|^2 as the term; a bias becomes one more column.
        """
        user, item, term = self.user, self.item, None
        bias = self.item_bias
        if self.similarity == "cosine":
            user, item = torch.nn.functional.normalize(user, dim=-1), torch.nn.functional.normalize(item, dim=-1)
        elif self.similarity == "euclidean":
            term = -user.square().sum(-1)
            squares = -item.square().sum(-1)
            bias = squares if bias is None else bias + squares
            user = 2 * user
        if bias is not None:
            user = torch.cat([user, user.new_ones(len(user), 1)], dim=1)
            item = torch.cat([item, bias[:, None]], dim=1)
        return user.contiguous(), item.contiguous(), term

    def score(self, users: Tensor) -> Tensor:
        query, key, term = Factors(self.user[users], self.item, self.similarity, self.item_bias).as_dot()
        scores = query @ key.T
        return scores if term is None else scores + term[:, None]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"user": self.user, "item": self.item}
        if self.item_bias is not None:
            tensors["item_bias"] = self.item_bias
        return tensors, {"kind": self.kind, "similarity": self.similarity}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Factors:
        return cls(tensors["user"], tensors["item"], meta["similarity"], tensors.get("item_bias"))


@dataclass(frozen=True, eq=False)
class MultiFactors:
    """Several vectors per user and one per item: a user's score for an item is that of the best of the user's vectors.

    Args:
        user: float32 [n_users, C, d].
        item: float32 [n_items, d].
        similarity: "dot" max_c u_c.v, "cosine", or "euclidean" -min_c |u_c - v|^2.
        count: int64 [n_users], how many of the C vectors a user has, the first ones, at least 1; None: all.
    """

    user: Tensor
    item: Tensor
    similarity: Similarity = "dot"
    count: Tensor | None = None

    kind = "multi-factors"

    @property
    def n_users(self) -> int:
        return int(self.user.shape[0])

    @property
    def n_items(self) -> int:
        return int(self.item.shape[0])

    @property
    def device(self) -> torch.device:
        return self.item.device

    @property
    def valid(self) -> Tensor:
        """Which vectors a user has, bool [n_users, C]."""
        place = torch.arange(self.user.shape[1], device=self.device)
        return torch.ones(self.user.shape[:2], dtype=torch.bool, device=self.device) if self.count is None else place < self.count[:, None]

    def to(self, device: torch.device | str) -> MultiFactors:
        return MultiFactors(self.user.to(device), self.item.to(device), self.similarity, None if self.count is None else self.count.to(device))

    def as_dot(self) -> tuple[Tensor, Tensor]:
        """The same scores as the largest of inner products: queries [n_users, C, d'], keys [n_items, d'].

        Distances become 2 u.v - |u|^2 - |v|^2 by two more columns. A vector that a user lacks repeats the user's first, so it never wins alone.
        """
        user, item = self.user, self.item
        if self.count is not None:
            user = torch.where(self.valid[:, :, None], user, user[:, :1])
        if self.similarity == "cosine":
            user, item = torch.nn.functional.normalize(user, dim=-1), torch.nn.functional.normalize(item, dim=-1)
        elif self.similarity == "euclidean":
            one = user.new_ones(())
            user = torch.cat([2 * user, -user.square().sum(-1, keepdim=True), one.expand(*user.shape[:2], 1)], dim=2)
            item = torch.cat([item, one.expand(len(item), 1), -item.square().sum(-1, keepdim=True)], dim=1)
        return user.contiguous(), item.contiguous()

    def score(self, users: Tensor) -> Tensor:
        count = None if self.count is None else self.count[users]
        query, key = MultiFactors(self.user[users], self.item, self.similarity, count).as_dot()
        return (query @ key.T).amax(1)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"user": self.user, "item": self.item}
        if self.count is not None:
            tensors["count"] = self.count
        return tensors, {"kind": self.kind, "similarity": self.similarity}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> MultiFactors:
        return cls(tensors["user"], tensors["item"], meta["similarity"], tensors.get("count"))


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
        return Relational(self.user.to(device), self.item.to(device), self.key.to(device), self.memory.to(device))

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
                turned = ((self.memory @ self.memory.T) @ a).add_(2 * at_user[:, :, None]).sub_(2 * (self.memory @ item.T))
                distance = a.mul_(turned).sum(1).add_(by_user).add_(item.square().sum(-1)).sub_(2 * (some @ item.T))
                scores[rows, columns] = distance.neg_()
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"user": self.user, "item": self.item, "key": self.key, "memory": self.memory}, {"kind": self.kind}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Relational:
        return cls(tensors["user"], tensors["item"], tensors["key"], tensors["memory"])


@dataclass(frozen=True, eq=False)
class Product:
    """A chain of matrices: row u of the first, times the second, times the third... gives u's scores.

    Neighbourhood and linear models are such chains: history x item similarity (ItemKNN, EASE), user similarity x history
    (UserKNN), ones x counts (popularity). Sparse matrices are scipy CSR on the CPU, and are multiplied there.

    Args:
        matrices: at least two; the first [n_users, a], the last [b, n_items]; float32, each a torch tensor or a scipy CSR.
    """

    matrices: tuple[Matrix, ...]

    kind = "product"

    @property
    def n_users(self) -> int:
        return int(self.matrices[0].shape[0])

    @property
    def n_items(self) -> int:
        return int(self.matrices[-1].shape[1])

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> Product:
        return self  # sparse products run on the CPU: moving the block of scores costs less than a GPU sparse product

    def score(self, users: Tensor) -> Tensor:
        rows = users.cpu().numpy()
        block: Any = _numpy(self.matrices[0])[rows]
        for matrix in self.matrices[1:]:
            block = block @ _numpy(matrix)
        dense = block.toarray() if sp.issparse(block) else block
        return torch.from_numpy(np.ascontiguousarray(dense, dtype=np.float32))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        shapes: list[list[int] | None] = []
        for index, matrix in enumerate(self.matrices):
            if isinstance(matrix, Tensor):
                tensors[f"{index}"] = matrix
                shapes.append(None)
            else:
                tensors[f"{index}.indptr"] = torch.from_numpy(matrix.indptr.astype(np.int64))
                tensors[f"{index}.indices"] = torch.from_numpy(matrix.indices.astype(np.int32))
                tensors[f"{index}.data"] = torch.from_numpy(matrix.data.astype(np.float32))
                shapes.append([int(n) for n in matrix.shape])
        return tensors, {"kind": self.kind, "shapes": shapes}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Product:
        matrices: list[Matrix] = []
        for index, shape in enumerate(meta["shapes"]):
            if shape is None:
                matrices.append(tensors[f"{index}"])
            else:
                parts = tuple(tensors[f"{index}.{part}"].numpy() for part in ("data", "indices", "indptr"))
                matrix = sp.csr_matrix(parts, shape=tuple(shape))
                matrix.check_format(full_check=True)  # an index out of bounds would read foreign memory
                matrices.append(matrix)
        return cls(tuple(matrices))


@dataclass(frozen=True, eq=False)
class Sum:
    """A weighted sum of scorers over the same users and items.

    Args:
        parts: at least one scorer.
        weights: one number per part.
    """

    parts: tuple[Scorer, ...]
    weights: tuple[float, ...]

    kind = "sum"

    @property
    def n_users(self) -> int:
        return self.parts[0].n_users

    @property
    def n_items(self) -> int:
        return self.parts[0].n_items

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    def to(self, device: torch.device | str) -> Sum:
        return Sum(tuple(part.to(device) for part in self.parts), self.weights)

    def score(self, users: Tensor) -> Tensor:
        total = self.parts[0].score(users).mul(self.weights[0])
        for part, weight in zip(self.parts[1:], self.weights[1:], strict=True):
            total.add_(part.score(users).to(total.device), alpha=weight)
        return total

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        metas = []
        for index, part in enumerate(self.parts):
            inner, meta = part.state()
            tensors |= {f"part{index}.{name}": tensor for name, tensor in inner.items()}
            metas.append(meta)
        return tensors, {"kind": self.kind, "parts": metas, "weights": list(self.weights)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Sum:
        parts = []
        for index, inner in enumerate(meta["parts"]):
            prefix = f"part{index}."
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            parts.append(from_state(own, inner))
        return cls(tuple(parts), tuple(meta["weights"]))


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
        user, item, user_part, item_part = (tensor.to(device) for tensor in (self.user, self.item, self.user_part, self.item_part))
        layers = tuple((weight.to(device), bias.to(device)) for weight, bias in self.layers)
        return Deep(user, item, user_part, item_part, layers, self.output.to(device), self.bias.to(device))

    def score(self, users: Tensor) -> Tensor:
        scores = torch.addmm(self.bias, self.user[users], self.item.T)
        part, width = self.user_part[users], self.user_part.shape[1]
        room = _ROOM if self.device.type == "cpu" else _ROOM << 8  # an accelerator has little to do with what fits a cache
        for rows in _blocks(len(users), room // (64 * width)):
            for columns in _blocks(self.n_items, room // (width * max(1, len(part[rows])))):
                hidden = (part[rows, None] + self.item_part[None, columns]).relu_().view(-1, width)
                for weight, bias in self.layers:
                    hidden = torch.addmm(bias, hidden, weight.T).relu_()
                scores[rows, columns] += (hidden @ self.output).view(len(part[rows]), -1)
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {name: getattr(self, name) for name in ("user", "item", "user_part", "item_part", "output", "bias")}
        for index, (weight, bias) in enumerate(self.layers):
            tensors |= {f"{index}.weight": weight, f"{index}.bias": bias}
        return tensors, {"kind": self.kind, "layers": len(self.layers)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Deep:
        layers = tuple((tensors[f"{index}.weight"], tensors[f"{index}.bias"]) for index in range(meta["layers"]))
        user, item, user_part, item_part = (tensors[name] for name in ("user", "item", "user_part", "item_part"))
        return cls(user, item, user_part, item_part, layers, tensors["output"], tensors["bias"])


KINDS: Mapping[str, Any] = {kind.kind: kind for kind in (Factors, MultiFactors, Relational, Product, Sum, Deep)}


def from_state(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Scorer:
    """The scorer that `Scorer.state` described.

    Raises:
        InputError: an unknown kind or a missing tensor: the file is foreign or damaged.
    """
    kind = KINDS.get(str(meta.get("kind")))
    if kind is None:
        raise InputError(
            f"scorer of unknown kind {meta.get('kind')!r}", remedy=f"known kinds: {', '.join(KINDS)}; was it written by a newer version?"
        )
    try:
        scorer: Scorer = kind.restore(tensors, meta)
    except KeyError as missing:
        raise InputError(f"scorer without its part {missing}", remedy="the file is damaged or foreign: train again") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"scorer whose parts do not fit: {error}", remedy="the file is damaged or foreign: train again") from None
    return scorer


def _blocks(n: int, size: int) -> Iterator[slice]:
    """0..n in stretches of `size`, at least 1."""
    size = max(1, size)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _numpy(matrix: Matrix) -> Any:
    return matrix.cpu().numpy() if isinstance(matrix, Tensor) else matrix
