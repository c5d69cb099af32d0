"""Scorers made of a chain of matrices, sparse ones included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.query import Queries, QueryKind
from recsys.data.types import FeatureTable
from recsys.scorer.ability import Places
from recsys.scorer.base import TakesItems, answered_by, lacks
from recsys.scorer.feature_neighbours import Resemblance
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.placed import csr_on, dense_on
from recsys.scorer.plan import Dense, OneOrder, Plan
from recsys.scorer.rows import user_rows
from recsys.scorer.user_neighbours import UserNeighbours, UserSimilarity

__all__ = ["Matrix", "Product"]

_CPU = torch.device("cpu")

Matrix: TypeAlias = "Tensor | sp.csr_matrix"


@dataclass(frozen=True, eq=False)
class Product:
    """A chain of matrices: row u of the first, times the second, times the third, ...

    Neighbourhood and linear models are such chains: history x item similarity (ItemKNN, EASE), user
    similarity x history (UserKNN), ones x counts (popularity). Sparse matrices are scipy CSR of
    the host; on another device the chain has copies of them, and sums round otherwise.

    Args:
        matrices: at least two; the first [n_users, a], the last [b, n_items]; float32, each a torch
            tensor or a scipy CSR.
        first: what a row of the first matrix holds. "history": 1 for each item of the user; "ones":
            a single 1, the same for all users; "users": values learned for the users of training.
        content: finds the neighbours of a new item by its features, for a product of histories and
            item neighbours that were found in this way. Not used in a score.
        similar: which users are similar to a history, for a product of the neighbours of users and
            the histories of users, CSR both. It answers histories; users have their stored row. If
            a history is that of a user of training, this user can be one of its neighbours, while
            the stored row of the user leaves the user out.
        on: the device that multiplies; `to` moves a chain.

    Raises:
        ValueError: `content` or `similar` with any other matrices.
    """

    matrices: tuple[Matrix, ...]
    first: Literal["users", "history", "ones"] = "users"
    content: Resemblance | None = None
    similar: UserSimilarity | None = None
    on: torch.device = _CPU

    kind: ClassVar[str] = "product"

    def __post_init__(self) -> None:
        if self.similar is not None:
            of_users = self.first == "users" and len(self.matrices) == 2
            if not of_users or not sp.issparse(self.matrices[1]):
                raise ValueError("similar needs a product of user neighbours and histories")
        if self.content is None:
            return
        is_knn = self.first == "history" and len(self.matrices) == 2
        if not is_knn or bool((self.content.rows >= self.n_items).any()):
            raise ValueError("content needs a product of histories and item neighbours")

    @property
    def n_users(self) -> int:
        return int(self.matrices[0].shape[0])

    @property
    def n_items(self) -> int:
        return int(self.matrices[-1].shape[1])

    @property
    def device(self) -> torch.device:
        return self.on

    @property
    def answers(self) -> frozenset[QueryKind]:
        """Users; histories too, unless the first matrix holds values of the users of training."""
        only_users = self.first == "users" and self.similar is None
        return frozenset(("user",) if only_users else ("user", "history"))

    @property
    def places(self) -> Places:
        """Users, if all users have the same scores; items, if features give their neighbours."""
        return Places(users=self.first == "ones", items=self.content is not None)

    def to(self, device: torch.device | str) -> Product:
        """Return the chain on a device: dense matrices move now, sparse ones when scores are."""
        device = torch.device(device)
        if device == self.on:
            return self
        matrices = tuple(
            matrix.to(device) if isinstance(matrix, Tensor) else matrix for matrix in self.matrices
        )
        return replace(self, matrices=matrices, on=device)

    def plan(self) -> Plan:
        if self.first == "ones":
            return OneOrder(self._times(np.ones((1, 1), dtype=np.float32))[0])
        return Dense()

    def score(self, queries: Queries) -> Tensor:
        return self._times(self._first_rows(queries))

    def _first_rows(self, queries: Queries) -> Any:
        """Return the rows of the first matrix that belong to queries, [B, a]."""
        reads = answered_by(self, queries)
        if self.first == "ones":
            return np.ones((len(queries), 1), dtype=np.float32)
        if reads == "user":
            if self.on != _CPU and isinstance(self.matrices[0], Tensor):
                return self.matrices[0].index_select(0, user_rows(queries, self.on))
            return _numpy(self.matrices[0])[queries.user]
        assert queries.history is not None
        histories = queries.history.csr(self.n_items)
        return histories if self.similar is None else self._neighbours.of_histories(histories)

    @cached_property
    def _neighbours(self) -> UserNeighbours:
        """Finds the neighbours of histories among the users of training."""
        assert self.similar is not None
        return UserNeighbours(sp.csr_matrix(self.matrices[1]), self.similar)

    def _times(self, block: Any) -> Tensor:
        """Return rows of the first matrix times all other matrices, float32 [B, n_items]."""
        if self.on != _CPU:
            return self._times_on_device(block)
        for matrix in self.matrices[1:]:
            block = block @ _numpy(matrix)
        dense = block.toarray() if sp.issparse(block) else block
        return torch.from_numpy(np.ascontiguousarray(dense, dtype=np.float32))

    def _times_on_device(self, block: Any) -> Tensor:
        """Return the same, with the block and all matrices on the device."""
        if not isinstance(block, Tensor):
            sparse = sp.issparse(block)
            block = dense_on(block, self.on) if sparse else torch.from_numpy(block).to(self.on)
        for matrix, sparse in self._placed:
            block = (matrix @ block.T).T if sparse else block @ matrix
        return block.contiguous()

    @cached_property
    def _placed(self) -> tuple[tuple[Tensor, bool], ...]:
        """The matrices after the first on the device, and whether they are sparse.

        A sparse one is transposed, because CUDA multiplies a sparse matrix by a dense one.
        """
        return tuple(
            (matrix, False)
            if isinstance(matrix, Tensor)
            else (csr_on(sp.csr_matrix(matrix.T), self.on), True)
            for matrix in self.matrices[1:]
        )

    def reads(self) -> dict[str, int]:
        """Return the modalities that a new item needs, and the dimension of each.

        Raises:
            InputError: item neighbours do not come from features.
        """
        return {aspect.name: len(aspect.mean) for aspect in self._resemblance().aspects}

    def with_items(self, features: Mapping[str, FeatureTable]) -> Product:
        """Return the scorer with new items at the end.

        New items have neighbours among the items of training, and are neighbours of no item.

        Args:
            features: a table of n rows for each modality of training, one row per new item.

        Raises:
            InputError: item neighbours do not come from features.
        """
        resemblance = self._resemblance()
        history, similar = (sp.csr_matrix(_numpy(matrix)) for matrix in self.matrices)
        new = resemblance.neighbours(features, self.n_items)
        wide = sp.hstack([similar, new.T], format="csr")
        # A history may hold a new item. Its row is empty: it adds to no score.
        empty = np.repeat(wide.indptr[-1:], new.shape[0])
        n_items = wide.shape[1]
        similar = sp.csr_matrix(
            (wide.data, wide.indices, np.append(wide.indptr, empty)), shape=(n_items, n_items)
        )
        history = sp.csr_matrix(
            (history.data, history.indices, history.indptr), shape=(history.shape[0], n_items)
        )
        return replace(self, matrices=(history, similar))

    def _resemblance(self) -> Resemblance:
        if self.content is None:
            raise lacks(self, TakesItems, "rank new items")
        return self.content

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
        meta: dict[str, Any] = {"kind": self.kind, "shapes": shapes}
        if self.first != "users":
            meta["first"] = self.first
        if self.content is not None:
            inner, meta["content"] = self.content.state()
            tensors |= prefixed("content.", inner)
        if self.similar is not None:
            meta["similar"] = asdict(self.similar)
        return tensors, meta

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Product:
        matrices: list[Matrix] = []
        for index, shape in enumerate(meta["shapes"]):
            if shape is None:
                matrices.append(tensors[f"{index}"])
                continue
            names = ("data", "indices", "indptr")
            arrays = tuple(tensors[f"{index}.{name}"].numpy() for name in names)
            matrix = sp.csr_matrix(arrays, shape=tuple(shape))
            matrix.check_format(full_check=True)  # an index out of bounds would read other memory
            matrices.append(matrix)
        content = None
        if "content" in meta:
            content = Resemblance.restore(under("content.", tensors), meta["content"])
        similar = UserSimilarity(**meta["similar"]) if "similar" in meta else None
        return cls(tuple(matrices), meta.get("first", "users"), content, similar)


def _numpy(matrix: Matrix) -> Any:
    return matrix.cpu().numpy() if isinstance(matrix, Tensor) else matrix
