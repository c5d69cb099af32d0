"""Scorers made of a chain of matrices, sparse ones among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.types import FeatureTable
from recsys.errors import InputError
from recsys.scorer.ability import Places
from recsys.scorer.als_fold_in import no_fold_in
from recsys.scorer.feature_encoder import no_new_items, under
from recsys.scorer.feature_neighbours import Resemblance

__all__ = ["Matrix", "Product"]

Matrix: TypeAlias = "Tensor | sp.csr_matrix"


@dataclass(frozen=True, eq=False)
class Product:
    """A chain of matrices: row u of the first, times the second, times the third... gives u's scores.

    Neighbourhood and linear models are such chains: history x item similarity (ItemKNN, EASE), user similarity x history
    (UserKNN), ones x counts (popularity). Sparse matrices are scipy CSR on the CPU, and are multiplied there.

    Args:
        matrices: at least two; the first [n_users, a], the last [b, n_items]; float32, each a torch tensor or a scipy CSR.
        first: what a row of the first is: "history" the items of a user, 1 where met; "ones" a 1, the same for everybody; "users" something else,
            which belongs to the users there are.
        content: what finds the neighbours of an item by its features, where the product is of histories and the neighbours of items, and these are
            found so; takes no part in a score.

    Raises:
        ValueError: `content`, and matrices that are not these two.
    """

    matrices: tuple[Matrix, ...]
    first: Literal["users", "history", "ones"] = "users"
    content: Resemblance | None = None

    kind = "product"

    def __post_init__(self) -> None:
        if self.content is not None and (
            self.first != "history"
            or len(self.matrices) != 2
            or bool((self.content.rows >= self.n_items).any())
        ):
            raise ValueError(
                "neighbours by features, and no product of histories and the neighbours of items"
            )

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
        """Users, where everybody is served alike; items, where their neighbours are found by features."""
        return Places(users=self.first == "ones", items=self.content is not None)

    def to(self, device: torch.device | str) -> Product:
        return self  # sparse products run on the CPU: moving the block of scores costs less than a GPU sparse product

    def score(self, users: Tensor) -> Tensor:
        rows = users.cpu().numpy()
        block: Any = _numpy(self.matrices[0])[rows]
        for matrix in self.matrices[1:]:
            block = block @ _numpy(matrix)
        dense = block.toarray() if sp.issparse(block) else block
        return torch.from_numpy(np.ascontiguousarray(dense, dtype=np.float32))

    def fold_in(self, met: sp.csr_matrix) -> Product:
        """The scorer of other users, known by what they have met alone; the items are those of training.

        Args:
            met: CSR [n, n_items]; its pattern counts.

        Raises:
            InputError: another number of items, or scores that are no function of a user's items.
        """
        if met.shape[1] != self.n_items:
            raise InputError(
                f"histories over {met.shape[1]} items, and the scorer has {self.n_items}",
                remedy="number items as in training",
            )
        if self.first == "history":
            rows = sp.csr_matrix(met, dtype=np.float32, copy=True)
            rows.sum_duplicates()
            rows.data[:] = 1.0
            return replace(self, matrices=(rows, *self.matrices[1:]))
        if self.first == "ones":
            return replace(self, matrices=(torch.ones(met.shape[0], 1), *self.matrices[1:]))
        raise no_fold_in(self.kind)

    def reads(self) -> dict[str, int]:
        """The modalities by which an item is placed that was not in training, and the length of a vector of each.

        Raises:
            InputError: items are not placed by features.
        """
        if self.content is None:
            raise no_new_items(self.kind)
        return {aspect.name: len(aspect.mean) for aspect in self.content.aspects}

    def with_items(self, features: Mapping[str, FeatureTable]) -> Product:
        """The same scorer with more items at the end, which have neighbours among those of training and are nobody's.

        Args:
            features: a table for every modality of training, a row per item.

        Raises:
            InputError: items are not placed by features.
        """
        if self.content is None:
            raise no_new_items(self.kind)
        met, similar = (sp.csr_matrix(_numpy(matrix)) for matrix in self.matrices)
        wide = sp.hstack([similar, self.content.neighbours(features, self.n_items).T], format="csr")
        more = wide.shape[1] - wide.shape[0]
        # A history may hold a new item, which says nothing: its row is empty.
        similar = sp.csr_matrix(
            (wide.data, wide.indices, np.append(wide.indptr, np.repeat(wide.indptr[-1:], more))),
            shape=(wide.shape[1],) * 2,
        )
        return replace(
            self,
            matrices=(
                sp.csr_matrix(
                    (met.data, met.indices, met.indptr), shape=(met.shape[0], wide.shape[1])
                ),
                similar,
            ),
        )

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
        meta: dict[str, Any] = {"kind": self.kind, "shapes": shapes} | (
            {} if self.first == "users" else {"first": self.first}
        )
        if self.content is not None:
            inner, meta["content"] = self.content.state()
            tensors |= {f"content.{name}": tensor for name, tensor in inner.items()}
        return tensors, meta

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Product:
        matrices: list[Matrix] = []
        for index, shape in enumerate(meta["shapes"]):
            if shape is None:
                matrices.append(tensors[f"{index}"])
            else:
                parts = tuple(
                    tensors[f"{index}.{part}"].numpy() for part in ("data", "indices", "indptr")
                )
                matrix = sp.csr_matrix(parts, shape=tuple(shape))
                matrix.check_format(
                    full_check=True
                )  # an index out of bounds would read foreign memory
                matrices.append(matrix)
        content = (
            Resemblance.restore(under("content.", tensors), meta["content"])
            if "content" in meta
            else None
        )
        return cls(tuple(matrices), meta.get("first", "users"), content)


def _numpy(matrix: Matrix) -> Any:
    return matrix.cpu().numpy() if isinstance(matrix, Tensor) else matrix
