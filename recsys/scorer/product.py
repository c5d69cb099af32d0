"""Scorers made of a chain of matrices, sparse ones included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.types import FeatureTable
from recsys.errors import InputError
from recsys.scorer.ability import Places
from recsys.scorer.base import FoldsIn, TakesItems, lacks
from recsys.scorer.feature_neighbours import Resemblance
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.plan import Blocks, OneOrder, Plan

__all__ = ["Matrix", "Product"]

Matrix: TypeAlias = "Tensor | sp.csr_matrix"


@dataclass(frozen=True, eq=False)
class Product:
    """A chain of matrices: row u of the first, times the second, times the third, ...

    Neighbourhood and linear models are such chains: history x item similarity (ItemKNN, EASE), user
    similarity x history (UserKNN), ones x counts (popularity). Sparse matrices are scipy CSR and
    are multiplied on the CPU.

    Args:
        matrices: at least two; the first [n_users, a], the last [b, n_items]; float32, each a torch
            tensor or a scipy CSR.
        first: what a row of the first matrix holds. "history": 1 for each item of the user; "ones":
            a single 1, the same for all users; "users": values learned for the users of training.
        content: finds the neighbours of a new item by its features, for a product of histories and
            item neighbours that were found in this way. Not used in a score.

    Raises:
        ValueError: `content` with any other matrices.
    """

    matrices: tuple[Matrix, ...]
    first: Literal["users", "history", "ones"] = "users"
    content: Resemblance | None = None

    kind: ClassVar[str] = "product"

    def __post_init__(self) -> None:
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
        return torch.device("cpu")

    @property
    def places(self) -> Places:
        """Users, if all users have the same scores; items, if features give their neighbours."""
        return Places(users=self.first == "ones", items=self.content is not None)

    def to(self, device: torch.device | str) -> Product:
        """Return itself: moving a block of scores costs less than a sparse product on a GPU."""
        return self

    def plan(self) -> Plan:
        return OneOrder() if self.first == "ones" else Blocks()

    def score(self, users: Tensor) -> Tensor:
        rows = users.cpu().numpy()
        block: Any = _numpy(self.matrices[0])[rows]
        for matrix in self.matrices[1:]:
            block = block @ _numpy(matrix)
        dense = block.toarray() if sp.issparse(block) else block
        return torch.from_numpy(np.ascontiguousarray(dense, dtype=np.float32))

    def fold_in(self, histories: sp.csr_matrix) -> Product:
        """Return the scorer of other users, known by their histories alone.

        Args:
            histories: CSR [n, n_items] over the items of training; its pattern counts.

        Raises:
            InputError: another number of items, or scores that do not follow from a history.
        """
        if histories.shape[1] != self.n_items:
            raise InputError(
                f"histories over {histories.shape[1]} items, and the scorer has {self.n_items}",
                remedy="number items as in training",
            )
        if self.first == "history":
            rows = sp.csr_matrix(histories, dtype=np.float32, copy=True)
            rows.sum_duplicates()
            rows.data[:] = 1.0
            return replace(self, matrices=(rows, *self.matrices[1:]))
        if self.first == "ones":
            ones = torch.ones(histories.shape[0], 1)
            return replace(self, matrices=(ones, *self.matrices[1:]))
        raise lacks(self, FoldsIn, "serve new users")

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
        return cls(tuple(matrices), meta.get("first", "users"), content)


def _numpy(matrix: Matrix) -> Any:
    return matrix.cpu().numpy() if isinstance(matrix, Tensor) else matrix
