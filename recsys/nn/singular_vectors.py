"""Singular vectors of a sparse matrix by a block Lanczos method on a device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["right_singular_vectors_on"]

_WIDTH = 32  # of a block
_DENSE = 1024  # matrices up to this size are diagonalised directly


def right_singular_vectors_on(
    matrix: Tensor, transposed: Tensor, rank: int, seed: int = 0
) -> Tensor:
    """Return the right singular vectors of the `rank` largest singular values, largest first.

    Source: Golub, Underwood, "The block Lanczos method for computing eigenvalues", 1977, with full
    reorthogonalisation. The space grows until |A v - value v| <= 1e-4 * the largest value for every
    pair, with A = M^T M.

    Args:
        matrix: M, sparse CSR float32 [m, n].
        transposed: M^T, sparse CSR float32 [n, m].
        rank: number of vectors; fewer are returned if fewer singular values are above rounding.
        seed: of the start of the iteration, which is the same on all devices.

    Returns:
        float32 [n, at most rank], orthonormal columns.
    """
    tall = matrix.shape[0] >= matrix.shape[1]
    first, second = (matrix, transposed) if tall else (transposed, matrix)
    n = first.shape[1]
    rank = min(rank, n)
    if n <= max(_DENSE, min(4 * rank, 8 * _DENSE)):
        gram = second @ (first @ torch.eye(n, device=matrix.device))
        value, vector = torch.linalg.eigh((gram + gram.T).double() / 2)
        value, vector = value.flip(0)[:rank], vector.flip(1)[:, :rank]
    else:
        value, vector = _lanczos(first, second, rank, seed)
    real = int((value > 1e-6 * value.max().clamp(min=1e-30)).sum())
    value, vector = value[:real], vector[:, :real].float()
    return vector if tall else (first @ vector) / value.sqrt().float()


def _lanczos(first: Tensor, second: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the `rank` largest eigenvalues of A = second @ first, descending, and eigenvectors."""
    n, device = first.shape[1], first.device
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(n, _WIDTH, generator=generator).to(device)
    block = torch.linalg.qr(start)[0]
    basis = block[:, :0]
    small = torch.zeros(0, 0, dtype=torch.float64, device=device)  # A in the basis
    link = small
    check = 2 * rank
    while True:
        size = basis.shape[1]
        basis = torch.cat([basis, block], dim=1)
        image = second @ (first @ block)
        grown = torch.zeros(size + _WIDTH, size + _WIDTH, dtype=torch.float64, device=device)
        grown[:size, :size] = small
        if size:
            grown[size:, size - _WIDTH : size] = link
            grown[size - _WIDTH : size, size:] = link.T
        own = (block.T @ image).double()
        grown[size:, size:] = (own + own.T) / 2
        small, size = grown, size + _WIDTH
        block, link = _orthonormal(basis, image)
        full = size + _WIDTH > n or bool(link.abs().max() <= 1e-6 * small.abs().max())
        if size >= check or full:
            value, inner = torch.linalg.eigh(small)
            value, inner = value[-rank:], inner[:, -rank:]
            residual = torch.linalg.vector_norm(link @ inner[-_WIDTH:], dim=0)
            if full or bool(residual.max() <= 1e-4 * value[-1]):
                return value.flip(0), (basis @ inner.float()).flip(1)
            check = size + max(_WIDTH, rank // 2)


def _orthonormal(basis: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q [n, b], orthonormal and orthogonal to the basis, and R [b, b] in float64.

    They satisfy block = basis (..) + Q R. The projection is done twice, because rounding leaves a
    remainder of the basis in a block that is nearly inside its span.
    """
    total = torch.eye(block.shape[1], dtype=torch.float64, device=block.device)
    for _ in range(2):
        block = block - basis @ (basis.T @ block)
        block, factor = torch.linalg.qr(block)
        total = factor.double() @ total
    return block, total
