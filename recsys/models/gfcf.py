"""Graph-filter collaborative filtering: a linear filter plus an ideal low-pass filter, nothing trained.

Paper: Shen, Wu, Zhang, Shan, Zhang, Letaief, Li, "How powerful is graph convolution for recommendation?", CIKM 2021.

    N = Du^-1/2 R Di^-1/2,      s_u = r_u N^T N + a r_u Di^-1/2 V V^T Di^1/2,

R the binary users x items matrix, r_u its row, Du and Di its row and column sums on the diagonal, V [items, rank] the right
singular vectors of N that belong to its `rank` largest singular values, a = `low_pass`.

Differs from the released code: the singular vectors come from a block Lanczos method with full reorthogonalisation instead of one
vector at a time (same vectors, much sooner); N^T N is formed only where that makes scoring cheaper, otherwise the scorer
multiplies by N^T and N in turn.

Reproduces on the LightGCN split of Gowalla (`recsys run configs/gowalla/gfcf.toml`): recall@20 0.1849, ndcg@20 0.1518, the published
values; with `model.low_pass=0`, 0.1682 and 0.1331.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.scorer import Product, Scorer, Sum

__all__ = ["GFCF", "right_singular_vectors"]

_DENSE = 1024  # a matrix of this size is diagonalised at once
_GRAM_BYTES = 512 << 20  # N^T N is not formed beyond this size
_LONG_ROWS = 1.6  # how much cheaper an entry is in the long rows of N^T N than in the short ones of N, measured


@settings
class GFCF:
    """Graph filter: linear part plus ideal low-pass part, no training (Shen et al., 2021)."""

    rank: Annotated[int, Bound(ge=1)] = 256
    """Number of singular vectors that the low-pass filter lets through."""
    low_pass: Annotated[float, Bound(ge=0)] = 0.3
    """Weight of the low-pass part; 0 leaves it out."""
    seed: int = 0
    """Of the start of the singular vectors; they do not depend on it but for rounding."""

    def build(self, train: Dataset) -> Scorer:
        met = train.pairs.csr
        root_u, root_i = (_inverse_root(np.asarray(met.sum(axis)).ravel()) for axis in (1, 0))
        normal = (sp.diags(root_u) @ met @ sp.diags(root_i)).tocsr().astype(np.float32)
        linear = _linear(met, normal)
        if not self.low_pass:
            return linear
        vectors = right_singular_vectors(normal, self.rank, self.seed)
        into = (root_i[:, None] * vectors).astype(np.float32)
        out = (
            (np.divide(1.0, root_i, out=np.zeros_like(root_i), where=root_i > 0)[:, None] * vectors)
            .astype(np.float32)
            .T
        )
        low = Product(
            (met, torch.from_numpy(into), torch.from_numpy(np.ascontiguousarray(out))), "history"
        )
        return Sum((linear, low), (1.0, self.low_pass))


def _inverse_root(degree: np.ndarray) -> np.ndarray:
    """degree^-1/2 in float64, 0 where the degree is 0."""
    root = np.sqrt(degree.astype(np.float64))
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)


def _linear(met: sp.csr_matrix, normal: sp.csr_matrix) -> Product:
    """R N^T N as a chain, with N^T N formed where that makes scoring cheaper and does not take much memory."""
    turned = normal.T.tocsr()
    chain = Product((met, turned, normal), "history")
    of_user = np.diff(normal.indptr).astype(np.float64)
    # A row of N^T N has at most as many entries as numbers are added up for it, and no more than columns.
    if 8 * np.minimum((turned != 0).astype(np.float64) @ of_user, met.shape[1]).sum() > _GRAM_BYTES:
        return chain
    gram = (turned @ normal).tocsr()
    some = met[:: max(1, met.shape[0] // 256)]  # what these users cost stands for all
    formed = np.diff(gram.indptr)[some.indices].sum(dtype=np.int64)
    chained = of_user[(some @ turned).indices].sum()
    return Product((met, gram), "history") if formed < _LONG_ROWS * chained else chain


def right_singular_vectors(matrix: sp.csr_matrix, rank: int, seed: int = 0) -> np.ndarray:
    """Right singular vectors of the `rank` largest singular values of a matrix, most important first.

    Args:
        matrix: CSR float32 [m, n].
        rank: how many; fewer are returned where fewer singular values are above rounding.
        seed: of the start of the iteration.

    Returns:
        float32 [n, at most rank], orthonormal columns.
    """
    tall = matrix.shape[0] >= matrix.shape[1]
    first, second = (matrix, matrix.T.tocsr()) if tall else (matrix.T.tocsr(), matrix)
    n = first.shape[1]
    rank = min(rank, n)
    if n <= max(_DENSE, min(4 * rank, 8 * _DENSE)):
        value, vector = np.linalg.eigh((second @ first).toarray().astype(np.float64))
        value, vector = value[::-1][:rank], vector[:, ::-1][:, :rank]
    else:
        value, vector = _lanczos(first, second, rank, seed)
    real = value > 1e-6 * max(float(value.max(initial=0.0)), 1e-30)
    value, vector = value[real], vector[:, real].astype(np.float32)
    return vector if tall else np.asarray(first @ vector) / np.sqrt(value).astype(np.float32)


def _lanczos(
    first: sp.csr_matrix, second: sp.csr_matrix, rank: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `rank` largest eigenvalues, descending, and their eigenvectors [n, rank] of A = second @ first, by a block Krylov space.

    Every new block is made orthogonal to all before it. The space grows until |A v - value v| <= 1e-4 * the largest value for every
    pair; it holds the basis [n, 4 to 6 times rank] in float32, and no more than n vectors.
    """
    n, width = first.shape[1], 32
    basis = np.empty((n, 0), dtype=np.float32, order="F")
    small = np.zeros((0, 0))  # the basis' own view of A: block tridiagonal
    link = np.zeros((0, 0))
    block = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, width), dtype=np.float32))[
        0
    ]
    check = 2 * rank
    while True:
        start = basis.shape[1]
        basis = np.concatenate([basis, block], axis=1)
        image = np.asarray(second @ (first @ block))
        grown = np.zeros((start + width, start + width))
        grown[:start, :start] = small
        if start:
            grown[start:, start - width : start] = link
            grown[start - width : start, start:] = link.T
        own = block.T @ image
        grown[start:, start:] = (own + own.T) / 2
        small = grown
        block, link = _orthonormal(basis, image)
        full = basis.shape[1] + width > n or np.abs(link).max() <= 1e-6 * np.abs(small).max()
        if basis.shape[1] >= check or full:
            size = basis.shape[1]
            value, inner = scipy.linalg.eigh(small, subset_by_index=[max(0, size - rank), size - 1])
            residual = np.linalg.norm(link @ inner[-width:], axis=0)
            if full or residual.max() <= 1e-4 * value[-1]:
                return value[::-1], (basis @ inner.astype(np.float32))[:, ::-1]
            check = size + max(width, rank // 2)


def _orthonormal(basis: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q [n, b] orthonormal and orthogonal to the basis, and R [b, b], with block = basis (..) + Q R.

    Twice, because rounding leaves a remainder of the basis in what is nearly inside its span.
    """
    total = np.eye(block.shape[1])
    for _ in range(2):
        block = block - basis @ (basis.T @ block)
        block, factor = np.linalg.qr(block)
        total = factor.astype(np.float64) @ total
    return block, total
