"""Scorers made of vectors: the whole ranking is one product of matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.types import FeatureTable
from recsys.scorer.ability import Places
from recsys.scorer.als_fold_in import RowSolve, solve_rows
from recsys.scorer.base import FoldsIn, Similarity, TakesItems, lacks
from recsys.scorer.feature_encoder import ContentEncoder
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.plan import BestOfSeveral, Gemm

__all__ = ["Factors", "MultiFactors", "Similarity"]


@dataclass(frozen=True, eq=False)
class Factors:
    """One vector per user and per item.

    Args:
        user: user vectors, float32 [n_users, d].
        item: item vectors, float32 [n_items, d].
        similarity: "dot" u.v, "cosine", or "euclidean" -|u - v|^2.
        item_bias: float32 [n_items], added to each score; None: zero.
        content: computes the vector of a new item from its features, for methods that place items
            without a training interaction in this way. Not used in a score.
        solve: weights of the least squares problem that gives a user's vector from the user's
            items, for methods that have one. Not used in a score.
        by_features: whether the vectors of items without a training interaction come from features,
            even where `content` is None and no later item can be placed. Not used in a score.
    """

    user: Tensor
    item: Tensor
    similarity: Similarity = "dot"
    item_bias: Tensor | None = None
    content: ContentEncoder | None = None
    solve: RowSolve | None = None
    by_features: bool = False

    kind: ClassVar[str] = "factors"
    count: ClassVar[None] = None

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
    def places(self) -> Places:
        """Items, where their vectors come from features. Never users."""
        return Places(items=self.by_features or self.content is not None)

    def to(self, device: torch.device | str) -> Factors:
        bias = None if self.item_bias is None else self.item_bias.to(device)
        return replace(self, user=self.user.to(device), item=self.item.to(device), item_bias=bias)

    def reads(self) -> dict[str, int]:
        """Return the modalities that a new item needs, and the dimension of each.

        Raises:
            InputError: the method does not compute item vectors from features.
        """
        return {modality.name: modality.dim for modality in self._encoder().read.modalities}

    def with_items(self, features: Mapping[str, FeatureTable]) -> Factors:
        """Return the scorer with new items at the end, whose vectors come from their features.

        Args:
            features: a table of n rows for each modality of training, one row per new item.

        Raises:
            InputError: the method does not compute item vectors from features.
        """
        vectors, biases = self._encoder()(features)
        item_bias = self.item_bias
        if item_bias is not None:
            item_bias = torch.cat([item_bias, biases.to(item_bias)])
        item = torch.cat([self.item, vectors.to(self.item)])
        return replace(self, item=item, item_bias=item_bias)

    def _encoder(self) -> ContentEncoder:
        if self.content is None:
            raise lacks(self, TakesItems, "rank new items")
        return self.content

    def fold_in(self, histories: sp.csr_matrix) -> Factors:
        """Return the scorer of other users, whose vectors are solved for their items.

        Args:
            histories: CSR [n, n_items] over the items of training; its pattern counts.

        Raises:
            InputError: a user's vector is not a function of the user's items.
        """
        if self.solve is None:
            raise lacks(self, FoldsIn, "serve new users")
        user = solve_rows(histories, self.item.cpu(), **asdict(self.solve))
        return replace(self, user=user.to(self.item))

    def as_dot(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the same scores as inner products: score(u, i) = query_u . key_i + term_u.

        A distance becomes 2 u.v - |v|^2 with the term -|u|^2; a bias becomes one more column.

        Returns:
            Queries float32 [n_users, d'], keys float32 [n_items, d'], terms float32 [n_users] or
            None.
        """
        user, item = self.user, self.item
        bias, term = self.item_bias, None
        if self.similarity == "cosine":
            user, item = F.normalize(user, dim=-1), F.normalize(item, dim=-1)
        elif self.similarity == "euclidean":
            term = -user.square().sum(-1)
            squares = -item.square().sum(-1)
            bias = squares if bias is None else bias + squares
            user = 2 * user
        if bias is not None:
            user = torch.cat([user, user.new_ones(len(user), 1)], dim=1)
            item = torch.cat([item, bias[:, None]], dim=1)
        return user.contiguous(), item.contiguous(), term

    def plan(self) -> Gemm:
        return Gemm(*self.as_dot())

    def score(self, users: Tensor) -> Tensor:
        some = Factors(self.user[users], self.item, self.similarity, self.item_bias)
        query, key, term = some.as_dot()
        scores = query @ key.T
        return scores if term is None else scores + term[:, None]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"user": self.user, "item": self.item}
        if self.item_bias is not None:
            tensors["item_bias"] = self.item_bias
        meta: dict[str, Any] = {"kind": self.kind, "similarity": self.similarity}
        if self.content is not None:
            inner, meta["content"] = self.content.state()
            tensors |= prefixed("content.", inner)
        if self.solve is not None:
            meta["solve"] = asdict(self.solve)
        if self.by_features:
            meta["by_features"] = True
        return tensors, meta

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Factors:
        content = None
        if "content" in meta:
            content = ContentEncoder.restore(under("content.", tensors), meta["content"])
        return cls(
            tensors["user"],
            tensors["item"],
            meta["similarity"],
            tensors.get("item_bias"),
            content,
            RowSolve(**meta["solve"]) if "solve" in meta else None,
            bool(meta.get("by_features", False)),
        )


@dataclass(frozen=True, eq=False)
class MultiFactors:
    """Several vectors per user and one per item; the best of a user's vectors gives the score.

    Args:
        user: user vectors, float32 [n_users, C, d].
        item: item vectors, float32 [n_items, d].
        similarity: "dot" max_c u_c.v, "cosine", or "euclidean" -min_c |u_c - v|^2.
        count: int64 [n_users], at least 1: how many of the C vectors a user has, the first ones.
            None: all of them.
    """

    user: Tensor
    item: Tensor
    similarity: Similarity = "dot"
    count: Tensor | None = None

    kind: ClassVar[str] = "multi-factors"
    item_bias: ClassVar[None] = None
    places: ClassVar[Places] = Places()

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
        """Which of the C vectors a user has, bool [n_users, C]."""
        if self.count is None:
            return torch.ones(self.user.shape[:2], dtype=torch.bool, device=self.device)
        index = torch.arange(self.user.shape[1], device=self.device)
        return index < self.count[:, None]

    def to(self, device: torch.device | str) -> MultiFactors:
        count = None if self.count is None else self.count.to(device)
        return MultiFactors(self.user.to(device), self.item.to(device), self.similarity, count)

    def as_dot(self) -> tuple[Tensor, Tensor]:
        """Return the same scores as the largest of inner products: max_c query_uc . key_i.

        A distance becomes 2 u.v - |u|^2 - |v|^2 by two more columns. A vector that a user lacks is
        replaced by the user's first vector, so it never wins alone.

        Returns:
            Queries float32 [n_users, C, d'], keys float32 [n_items, d'].
        """
        user, item = self.user, self.item
        if self.count is not None:
            user = torch.where(self.valid[:, :, None], user, user[:, :1])
        if self.similarity == "cosine":
            user, item = F.normalize(user, dim=-1), F.normalize(item, dim=-1)
        elif self.similarity == "euclidean":
            one = user.new_ones(())
            lengths = -user.square().sum(-1, keepdim=True)
            user = torch.cat([2 * user, lengths, one.expand(*user.shape[:2], 1)], dim=2)
            lengths = -item.square().sum(-1, keepdim=True)
            item = torch.cat([item, one.expand(len(item), 1), lengths], dim=1)
        return user.contiguous(), item.contiguous()

    def plan(self) -> BestOfSeveral:
        return BestOfSeveral(*self.as_dot())

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
