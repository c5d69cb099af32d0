"""Scorers made of vectors: the whole ranking is one product of matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.query import Queries, QueryKind
from recsys.data.types import FeatureTable
from recsys.scorer.ability import Places
from recsys.scorer.als_fold_in import RowSolve, RowSolver
from recsys.scorer.base import Similarity, TakesItems, answered_by, lacks
from recsys.scorer.feature_encoder import ContentEncoder
from recsys.scorer.history_encoder import HistoryEncoder
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.plan import Dot, NearestOf
from recsys.scorer.rows import user_rows

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
            items, for methods that have one. It answers histories; users have their stored vector.
        by_features: whether the vectors of items without a training interaction come from features,
            even where `content` is None and no later item can be placed. Not used in a score.
        encoder: computes a user's vector from the user's items, for methods that encode all users
            in this way. It answers histories; users have their stored vector, which differs from
            that of their history by rounding alone.

    Raises:
        ValueError: both `solve` and `encoder`.
    """

    user: Tensor
    item: Tensor
    similarity: Similarity = "dot"
    item_bias: Tensor | None = None
    content: ContentEncoder | None = None
    solve: RowSolve | None = None
    by_features: bool = False
    encoder: HistoryEncoder | None = None

    kind: ClassVar[str] = "factors"
    count: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.solve is not None and self.encoder is not None:
            raise ValueError("the vector of a history is either solved or encoded")

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
    def answers(self) -> frozenset[QueryKind]:
        """Users, and histories if a vector is solved or encoded for them."""
        only_users = self.solve is None and self.encoder is None
        return frozenset(("user",) if only_users else ("user", "history"))

    @property
    def places(self) -> Places:
        """Items, where their vectors come from features. Never users."""
        return Places(items=self.by_features or self.content is not None)

    def to(self, device: torch.device | str) -> Factors:
        bias = None if self.item_bias is None else self.item_bias.to(device)
        encoder = None if self.encoder is None else self.encoder.to(device)
        return replace(
            self,
            user=self.user.to(device),
            item=self.item.to(device),
            item_bias=bias,
            encoder=encoder,
        )

    def reads(self) -> dict[str, int]:
        """Return the modalities that a new item needs, and the dimension of each.

        Raises:
            InputError: the method does not compute item vectors from features.
        """
        return {modality.name: modality.dim for modality in self._content_encoder().read.modalities}

    def with_items(self, features: Mapping[str, FeatureTable]) -> Factors:
        """Return the scorer with new items at the end, whose vectors come from their features.

        Args:
            features: a table of n rows for each modality of training, one row per new item.

        Raises:
            InputError: the method does not compute item vectors from features.
        """
        vectors, biases = self._content_encoder()(features)
        item_bias = self.item_bias
        if item_bias is not None:
            item_bias = torch.cat([item_bias, biases.to(item_bias)])
        item = torch.cat([self.item, vectors.to(self.item)])
        return replace(self, item=item, item_bias=item_bias)

    def _content_encoder(self) -> ContentEncoder:
        if self.content is None:
            raise lacks(self, TakesItems, "rank new items")
        return self.content

    @cached_property
    def _solver(self) -> RowSolver:
        """Solves the vectors of histories, for the items as they are."""
        assert self.solve is not None
        # A copy, because products round otherwise for tensors that are aligned as in a file.
        return RowSolver(self.item.clone(), self.solve)

    def _vectors(self, queries: Queries) -> Tensor:
        """Return the vectors of queries, float32 [B, d]."""
        if answered_by(self, queries) == "user":
            return self.user.index_select(0, user_rows(queries, self.device))
        assert queries.history is not None
        if self.encoder is not None:
            return self.encoder(queries.history)
        return self._solver.of_histories(queries.history.csr(self.n_items))

    def as_dot(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the scores of users as inner products: score(u, i) = query_u . key_i + term_u.

        A distance becomes 2 u.v - |v|^2 with the term -|u|^2; a bias becomes one more column.

        Returns:
            Queries float32 [n_users, d'], keys float32 [n_items, d'], terms float32 [n_users] or
            None.
        """
        query, term = self._query(self.user)
        return query, self._key(), term

    def plan(self) -> Dot:
        # Users are encoded block by block: no matrix of all users is built.
        return Dot(lambda queries: self._query(self._vectors(queries)), self._key())

    def score(self, queries: Queries) -> Tensor:
        query, term = self._query(self._vectors(queries))
        scores = query @ self._key().T
        return scores if term is None else scores + term[:, None]

    def _query(self, user: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return vectors of users [B, d] as queries [B, d'], and their terms [B] or None."""
        term = None
        if self.similarity == "cosine":
            user = F.normalize(user, dim=-1)
        elif self.similarity == "euclidean":
            term = -user.square().sum(-1)
            user = 2 * user
        if self.item_bias is not None or self.similarity == "euclidean":
            user = torch.cat([user, user.new_ones(len(user), 1)], dim=1)
        return user.contiguous(), term

    def _key(self) -> Tensor:
        """Return the items as keys, float32 [n_items, d']."""
        item, bias = self.item, self.item_bias
        if self.similarity == "cosine":
            item = F.normalize(item, dim=-1)
        elif self.similarity == "euclidean":
            squares = -item.square().sum(-1)
            bias = squares if bias is None else bias + squares
        if bias is not None:
            item = torch.cat([item, bias[:, None]], dim=1)
        return item.contiguous()

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
        if self.encoder is not None:
            inner, meta["encoder"] = self.encoder.state()
            tensors |= prefixed("encoder.", inner)
        return tensors, meta

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Factors:
        content = None
        if "content" in meta:
            content = ContentEncoder.restore(under("content.", tensors), meta["content"])
        encoder = None
        if "encoder" in meta:
            encoder = HistoryEncoder.restore(under("encoder.", tensors), meta["encoder"])
        return cls(
            tensors["user"],
            tensors["item"],
            meta["similarity"],
            tensors.get("item_bias"),
            content,
            RowSolve(**meta["solve"]) if "solve" in meta else None,
            bool(meta.get("by_features", False)),
            encoder,
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
    answers: ClassVar[frozenset[QueryKind]] = frozenset(("user",))
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
        return self._query(), self._key()

    def _query(self) -> Tensor:
        """Return the users as queries, float32 [n_users, C, d']."""
        user = self.user
        if self.count is not None:
            user = torch.where(self.valid[:, :, None], user, user[:, :1])
        if self.similarity == "cosine":
            user = F.normalize(user, dim=-1)
        elif self.similarity == "euclidean":
            lengths = -user.square().sum(-1, keepdim=True)
            user = torch.cat([2 * user, lengths, user.new_ones(*user.shape[:2], 1)], dim=2)
        return user.contiguous()

    def _key(self) -> Tensor:
        """Return the items as keys, float32 [n_items, d']."""
        item = self.item
        if self.similarity == "cosine":
            item = F.normalize(item, dim=-1)
        elif self.similarity == "euclidean":
            lengths = -item.square().sum(-1, keepdim=True)
            item = torch.cat([item, item.new_ones(len(item), 1), lengths], dim=1)
        return item.contiguous()

    def plan(self) -> NearestOf:
        # Users are encoded block by block: no matrix of all users is built.
        return NearestOf(lambda queries: self._of(self._rows(queries))._query(), self._key())

    def score(self, queries: Queries) -> Tensor:
        query, key = self._of(self._rows(queries)).as_dot()
        return (query @ key.T).amax(1)

    def _of(self, rows: Tensor) -> MultiFactors:
        """Return the scorer of some users."""
        count = None if self.count is None else self.count[rows]
        return MultiFactors(self.user[rows], self.item, self.similarity, count)

    def _rows(self, queries: Queries) -> Tensor:
        answered_by(self, queries)
        return user_rows(queries, self.device)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"user": self.user, "item": self.item}
        if self.count is not None:
            tensors["count"] = self.count
        return tensors, {"kind": self.kind, "similarity": self.similarity}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> MultiFactors:
        return cls(tensors["user"], tensors["item"], meta["similarity"], tensors.get("count"))
