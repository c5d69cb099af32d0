"""Scorers made of vectors: the whole ranking is one product of matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.types import FeatureTable
from recsys.scorer.ability import Places
from recsys.scorer.als_fold_in import RowSolve, no_fold_in, solve_rows
from recsys.scorer.feature_encoder import ContentEncoder, no_new_items, under

__all__ = ["Factors", "MultiFactors", "Similarity"]

Similarity = Literal["dot", "cosine", "euclidean"]


@dataclass(frozen=True, eq=False)
class Factors:
    """One vector per user and per item.

    Args:
        user: float32 [n_users, d].
        item: float32 [n_items, d].
        similarity: "dot" u.v, "cosine", or "euclidean" -|u - v|^2.
        item_bias: float32 [n_items] added to each score, or None.
        content: what makes an item's vector of its features, where the method ranks items without a training pair so; takes no part in a score.
        solve: how a user's vector follows from the user's items, where it does; takes no part in a score.
        by_features: the vector of an item without a training pair comes from features that training had, even where `content` is None and
            no later item can be placed so; takes no part in a score.
    """

    user: Tensor
    item: Tensor
    similarity: Similarity = "dot"
    item_bias: Tensor | None = None
    content: ContentEncoder | None = None
    solve: RowSolve | None = None
    by_features: bool = False

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
        return replace(self, user=self.user.to(device), item=self.item.to(device), item_bias=bias)

    @property
    def places(self) -> Places:
        """Items, where their vectors are made of features; no user: a vector without a pair is what training began with."""
        return Places(items=self.by_features or self.content is not None)

    def reads(self) -> dict[str, int]:
        """The modalities of which the vector of an item is made that was not in training, and the length of a vector of each.

        Raises:
            InputError: the method makes no vector of features.
        """
        if self.content is None:
            raise no_new_items(self.kind)
        return {modality.name: modality.dim for modality in self.content.read.modalities}

    def with_items(self, features: Mapping[str, FeatureTable]) -> Factors:
        """The same scorer with more items at the end, known by their features alone.

        Args:
            features: a table for every modality of training, a row per item.

        Raises:
            InputError: the method makes no vector of features.
        """
        if self.content is None:
            raise no_new_items(self.kind)
        vectors, biases = self.content(features)
        item = torch.cat([self.item, vectors.to(self.item)])
        return replace(
            self,
            item=item,
            item_bias=None
            if self.item_bias is None
            else torch.cat([self.item_bias, biases.to(self.item_bias)]),
        )

    def fold_in(self, met: sp.csr_matrix) -> Factors:
        """The scorer of other users, whose vectors are solved for their items; see `Product.fold_in`.

        Raises:
            InputError: a user's vector is no function of the user's items.
        """
        if self.solve is None:
            raise no_fold_in(self.kind)
        user = solve_rows(met, self.item.cpu(), **asdict(self.solve))
        return replace(self, user=user.to(self.item))

    def as_dot(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same ranking as inner products: queries [n_users, d'], keys [n_items, d'], and a term per user [n_users].

        score = query . key + term. Distances become 2uv - |v|^2 with -|u|^2 as the term; a bias becomes one more column.
        """
        user, item, term = self.user, self.item, None
        bias = self.item_bias
        if self.similarity == "cosine":
            user, item = (
                torch.nn.functional.normalize(user, dim=-1),
                torch.nn.functional.normalize(item, dim=-1),
            )
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
        query, key, term = Factors(
            self.user[users], self.item, self.similarity, self.item_bias
        ).as_dot()
        scores = query @ key.T
        return scores if term is None else scores + term[:, None]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"user": self.user, "item": self.item}
        if self.item_bias is not None:
            tensors["item_bias"] = self.item_bias
        meta: dict[str, Any] = {"kind": self.kind, "similarity": self.similarity}
        if self.content is not None:
            inner, meta["content"] = self.content.state()
            tensors |= {f"content.{name}": tensor for name, tensor in inner.items()}
        if self.solve is not None:
            meta["solve"] = asdict(self.solve)
        if self.by_features:
            meta["by_features"] = True
        return tensors, meta

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Factors:
        content = (
            ContentEncoder.restore(under("content.", tensors), meta["content"])
            if "content" in meta
            else None
        )
        solve = RowSolve(**meta["solve"]) if "solve" in meta else None
        return cls(
            tensors["user"],
            tensors["item"],
            meta["similarity"],
            tensors.get("item_bias"),
            content,
            solve,
            bool(meta.get("by_features", False)),
        )


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

    @property
    def valid(self) -> Tensor:
        """Which vectors a user has, bool [n_users, C]."""
        place = torch.arange(self.user.shape[1], device=self.device)
        return (
            torch.ones(self.user.shape[:2], dtype=torch.bool, device=self.device)
            if self.count is None
            else place < self.count[:, None]
        )

    def to(self, device: torch.device | str) -> MultiFactors:
        return MultiFactors(
            self.user.to(device),
            self.item.to(device),
            self.similarity,
            None if self.count is None else self.count.to(device),
        )

    def as_dot(self) -> tuple[Tensor, Tensor]:
        """The same scores as the largest of inner products: queries [n_users, C, d'], keys [n_items, d'].

        Distances become 2 u.v - |u|^2 - |v|^2 by two more columns. A vector that a user lacks repeats the user's first, so it never wins alone.
        """
        user, item = self.user, self.item
        if self.count is not None:
            user = torch.where(self.valid[:, :, None], user, user[:, :1])
        if self.similarity == "cosine":
            user, item = (
                torch.nn.functional.normalize(user, dim=-1),
                torch.nn.functional.normalize(item, dim=-1),
            )
        elif self.similarity == "euclidean":
            one = user.new_ones(())
            user = torch.cat(
                [2 * user, -user.square().sum(-1, keepdim=True), one.expand(*user.shape[:2], 1)],
                dim=2,
            )
            item = torch.cat(
                [item, one.expand(len(item), 1), -item.square().sum(-1, keepdim=True)], dim=1
            )
        return user.contiguous(), item.contiguous()

    def fold_in(self, met: sp.csr_matrix) -> MultiFactors:
        """Refused: the vectors of a user are learned.

        Raises:
            InputError: always.
        """
        raise no_fold_in(self.kind)

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
