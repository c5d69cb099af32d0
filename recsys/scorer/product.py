"""Scorers made of a chain of matrices, sparse ones among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["Matrix", "Product"]

Matrix: TypeAlias = "Tensor | sp.csr_matrix"


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


def _numpy(matrix: Matrix) -> Any:
    return matrix.cpu().numpy() if isinstance(matrix, Tensor) else matrix
