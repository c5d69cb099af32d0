"""The k nearest rows of a sparse matrix, exactly, on a device."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.scorer.placed import csr_on, dense_on

__all__ = ["nearest_on"]

_BLOCK_BYTES = 512 << 20
_ENTRY_BYTES = 32  # per similarity during selection: value, masks, ranks and temporaries


def nearest_on(
    rows: sp.csr_matrix,
    k: int,
    left: np.ndarray,
    right: np.ndarray,
    shrink: float,
    device: torch.device,
    block_bytes: int = _BLOCK_BYTES,
) -> sp.csr_matrix:
    """Return the k most similar rows of every row, none its own neighbour.

    The same as `recsys.scorer.row_neighbours.nearest` with the product of scales, up to the
    rounding of the inner products, which may exchange neighbours of nearly equal similarity. Spans
    of rows are dense on the device, against all rows in sparse form.

    Args:
        rows: the rows to compare, CSR float32 [n, m].
        k: neighbours per row.
        left: scale of the row whose neighbours are sought, [n].
        right: scale of the neighbour, [n].
        shrink: added to the divisor.
        device: where to compute.
        block_bytes: working memory in addition to the rows; at least one row is processed.

    Returns:
        CSR float32 [n, n] on the host, column indices sorted.
    """
    n, m = rows.shape
    every = csr_on(rows, device)
    one, other = (torch.from_numpy(scale.astype(np.float32)).to(device) for scale in (left, right))
    step = max(1, block_bytes // (_ENTRY_BYTES * max(1, n) + 4 * m))
    spans = []
    for start in range(0, n, step):
        value = (every @ dense_on(rows[start : start + step], device).T).T.contiguous()
        size = len(value)
        scale = one[start : start + size, None] * other + shrink
        value = torch.where(scale > 0, value / scale, 0.0)
        value.masked_fill_(value < torch.finfo(torch.float32).tiny, -torch.inf)
        value.diagonal(start).fill_(-torch.inf)
        spans.append(_compressed(value, _best(value, min(k, n))))
    if not spans:
        return sp.csr_matrix((n, n), dtype=np.float32)
    return sp.vstack(spans, format="csr", dtype=np.float32)


def _best(value: Tensor, k: int) -> Tensor:
    """Return a mask of the k largest of each row [B, n]; of equals the first, none of -inf."""
    least = value.topk(k, dim=1).values[:, -1:]
    above, equal = value > least, (value == least) & (value > -torch.inf)
    return above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))


def _compressed(value: Tensor, kept: Tensor) -> sp.csr_matrix:
    """Return the entries under a mask as CSR on the host."""
    indptr = np.append(0, kept.sum(1).cumsum(0).cpu().numpy())
    column = kept.nonzero()[:, 1].int().cpu().numpy()
    return sp.csr_matrix((value[kept].cpu().numpy(), column, indptr), shape=tuple(value.shape))
