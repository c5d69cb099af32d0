"""Scorers made of a chain of matrices, sparse ones among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.errors import InputError
from recsys.scorer.solve import no_fold_in

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
    """

    matrices: tuple[Matrix, ...]
    first: Literal["users", "history", "ones"] = "users"

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

    def fold_in(self, met: sp.csr_matrix) -> Product:
        """The scorer of other users, known by what they have met alone; the items are those of training.

        Args:
            met: CSR [n, n_items]; its pattern counts.

        Raises:
            InputError: another number of items, or scores that are no function of a user's items.
        """
        if met.shape[1] != self.n_items:
            raise InputError(f"histories over {met.shape[1]} items, and the scorer has {self.n_items}", remedy="number items as in training")
        if self.first == "history":
            rows = sp.csr_matrix(met, dtype=np.float32, copy=True)
            rows.sum_duplicates()
            rows.data[:] = 1.0
            return Product((rows, *self.matrices[1:]), self.first)
        if self.first == "ones":
            return Product((torch.ones(met.shape[0], 1), *self.matrices[1:]), self.first)
        raise no_fold_in(self.kind)

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
        return tensors, {"kind": self.kind, "shapes": shapes} | ({} if self.first == "users" else {"first": self.first})

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
        return cls(tuple(matrices), meta.get("first", "users"))


def _numpy(matrix: Matrix) -> Any:
    return matrix.cpu().numpy() if isinstance(matrix, Tensor) else matrix
