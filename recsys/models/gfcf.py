"""GF-CF: a linear graph filter plus an ideal low-pass filter; nothing is trained.

Paper: Shen, Wu, Zhang, Shan, Zhang, Letaief, Li, "How powerful is graph convolution for
recommendation?", CIKM 2021.

    N = Du^-1/2 R Di^-1/2,      s_u = r_u N^T N + a r_u Di^-1/2 V V^T Di^1/2,

where R is the binary users x items matrix, r_u its row, Du and Di its row and column sums on the
diagonal, V [items, rank] the right singular vectors of N of its `rank` largest singular values, and
a = `low_pass`.

Differs from the released code: the singular vectors come from a block Lanczos method with full
reorthogonalisation instead of one vector at a time (the same vectors, much sooner). N^T N is formed
only if that makes scoring cheaper; otherwise the scorer multiplies by N^T and N in turn.

Reproduces on the LightGCN split of Gowalla (`recsys run configs/gowalla/gfcf.toml`): recall@20
0.1849, ndcg@20 0.1518, the published values; with `model.low_pass=0`, 0.1682 and 0.1331.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.nn.singular_vectors import right_singular_vectors_on
from recsys.scorer import Product, Scorer, Sum
from recsys.scorer.placed import csr_on

__all__ = ["GFCF", "right_singular_vectors"]

_DENSE = 1024  # matrices up to this size are diagonalised directly
_GRAM_BYTES = 512 << 20  # N^T N is not formed beyond this size
# Measured: an entry in the long rows of N^T N is this much cheaper than one in the short rows of N.
_LONG_ROWS = 1.6


@settings
class GFCF:
    """Graph filter: linear part plus ideal low-pass part, no training (Shen et al., 2021)."""

    rank: Annotated[int, Bound(ge=1)] = 256
    """Number of singular vectors in the low-pass filter."""
    low_pass: Annotated[float, Bound(ge=0)] = 0.3
    """Weight of the low-pass part; 0 leaves it out."""
    seed: int = 0
    """Seed of the start of the singular vectors, on which they depend only through rounding."""

    def build(self, train: Dataset) -> Scorer:
        return self.build_on(train, torch.device("cpu"))

    def build_on(self, train: Dataset, device: torch.device) -> Scorer:
        observed = train.pairs.csr
        root_u, root_i = (_inverse_root(np.asarray(observed.sum(axis)).ravel()) for axis in (1, 0))
        normal = (sp.diags(root_u) @ observed @ sp.diags(root_i)).tocsr().astype(np.float32)
        on_cpu = device.type == "cpu"
        linear = _linear(observed, normal) if on_cpu else _chain(observed, normal).to(device)
        if not self.low_pass:
            return linear
        if on_cpu:
            vectors = right_singular_vectors(normal, self.rank, self.seed)
        else:
            sparse = csr_on(normal, device), csr_on(normal.T.tocsr(), device)
            vectors = right_singular_vectors_on(*sparse, self.rank, self.seed).cpu().numpy()
        into = (root_i[:, None] * vectors).astype(np.float32)
        scale = np.divide(1.0, root_i, out=np.zeros_like(root_i), where=root_i > 0)
        out = np.ascontiguousarray((scale[:, None] * vectors).astype(np.float32).T)
        low = Product((observed, torch.from_numpy(into), torch.from_numpy(out)), "history")
        return Sum((linear, low.to(device)), (1.0, self.low_pass))


def _inverse_root(degree: np.ndarray) -> np.ndarray:
    """Return degree^-1/2 in float64, 0 where the degree is 0."""
    root = np.sqrt(degree.astype(np.float64))
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)


def _chain(observed: sp.csr_matrix, normal: sp.csr_matrix) -> Product:
    """Return R N^T N without N^T N, which is a sparse product of the CPU."""
    return Product((observed, normal.T.tocsr(), normal), "history")


def _linear(observed: sp.csr_matrix, normal: sp.csr_matrix) -> Product:
    """Return R N^T N as a chain; N^T N is formed if scoring gets cheaper and memory allows it."""
    transposed = normal.T.tocsr()
    chain = _chain(observed, normal)
    of_user = np.diff(normal.indptr).astype(np.float64)
    # A row of N^T N has at most as many entries as summands, and at most as many as columns.
    summands = (transposed != 0).astype(np.float64) @ of_user
    if 8 * np.minimum(summands, observed.shape[1]).sum() > _GRAM_BYTES:
        return chain
    gram = (transposed @ normal).tocsr()
    sample = observed[:: max(1, observed.shape[0] // 256)]  # the cost of all users, by a sample
    formed = np.diff(gram.indptr)[sample.indices].sum(dtype=np.int64)
    chained = of_user[(sample @ transposed).indices].sum()
    return Product((observed, gram), "history") if formed < _LONG_ROWS * chained else chain


def right_singular_vectors(matrix: sp.csr_matrix, rank: int, seed: int = 0) -> np.ndarray:
    """Return the right singular vectors of the `rank` largest singular values, largest first.

    Args:
        matrix: CSR float32 [m, n].
        rank: number of vectors; fewer are returned if fewer singular values are above rounding.
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
    """Return the `rank` largest eigenvalues of A = second @ first, descending, and eigenvectors.

    The eigenvectors [n, rank] come from a block Krylov space, in which every new block is made
    orthogonal to all earlier ones. The space grows until |A v - value v| <= 1e-4 * the largest
    value for every pair. It holds the basis [n, 4 to 6 times rank] in float32, and at most n
    vectors.
    """
    n, width = first.shape[1], 32
    basis = np.empty((n, 0), dtype=np.float32, order="F")
    small = np.zeros((0, 0))  # A in the basis: block tridiagonal
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
    """Return Q [n, b], orthonormal and orthogonal to the basis, and R [b, b].

    They satisfy block = basis (..) + Q R. The projection is done twice, because rounding leaves a
    remainder of the basis in a block that is nearly inside its span.
    """
    total = np.eye(block.shape[1])
    for _ in range(2):
        block = block - basis @ (basis.T @ block)
        block, factor = np.linalg.qr(block)
        total = factor.astype(np.float64) @ total
    return block, total
