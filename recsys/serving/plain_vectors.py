"""Vectors of a scorer whose inner product, or Euclidean distance, gives its order.

Norms and biases are worked into the vectors, so that every library that knows inner products or
Euclidean distances gives the order that was measured. With u, v as trained, b an item's bias and B
the largest bias:

    dot                     u            v                   u.v
    dot, bias               [u, 1]       [v, b]              u.v + b
    cosine (, bias)         as dot, with u and v of norm 1
    euclidean               u            v                   -distance^2
    euclidean, bias         [u, 0]       [v, sqrt(B - b)]    B - distance^2

where the last column is the score. If a user has several vectors, the best of them counts.

Sources: for several vectors per user, of which the nearest counts, Bao et al., NeurIPS 2022; for
the column added to a distance, Bachrach et al., "Speeding up the Xbox recommender system using a
Euclidean transformation for inner-product spaces", RecSys 2014. Their column holds the difference
of a norm to the largest norm; this one holds the difference of a bias to the largest bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.errors import InputError
from recsys.scorer import Scorer, Similarity, VectorScorer, require
from recsys.serving.ann_index import Search

__all__ = ["Vectors", "vectors"]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors whose inner product, or distance, gives the order of a scorer.

    Args:
        user: float32 [n_users, C, d].
        item: float32 [n_items, d].
        count: int64 [n_users], how many of the C vectors a user has, the first ones.
        search: "dot": score = user . item; "euclidean": score = offset - |user - item|^2.
        offset: 0 without a bias.
        added: what a column holds that the scorer's own vectors do not have, in words.
        similarity: the similarity of the scorer itself.
    """

    user: np.ndarray
    item: np.ndarray
    count: np.ndarray
    search: Search
    offset: float = 0.0
    added: str = ""
    similarity: Similarity = "dot"

    @property
    def dim(self) -> int:
        return int(self.item.shape[1])


def vectors(scorer: Scorer) -> Vectors:
    """Return the vectors of a scorer, with norms and biases worked in.

    Raises:
        InputError: the scorer is not a product or distance of vectors, or a vector is not finite.
    """
    source = require(scorer, VectorScorer, "export vectors")
    user, item = source.user.cpu(), source.item.cpu()
    if source.similarity == "cosine":
        user, item = F.normalize(user, dim=-1), F.normalize(item, dim=-1)
    offset, added = 0.0, ""
    if source.item_bias is not None:
        bias = source.item_bias.cpu()
        if source.similarity == "euclidean":
            offset = float(bias.max())
            added = "the last column is 0 for users and sqrt(offset - bias) for items"
            user, item = _with_column(user, 0.0), _with_column(item, (bias.max() - bias).sqrt())
        else:
            added = "the last column is 1 for users and the bias for items"
            user, item = _with_column(user, 1.0), _with_column(item, bias)
    if not (bool(torch.isfinite(user).all()) and bool(torch.isfinite(item).all())):
        raise InputError(
            "the scorer holds vectors that are not finite",
            remedy="train again with a smaller learning rate",
        )
    user = user if user.dim() == 3 else user[:, None]
    count = np.full(len(user), user.shape[1], dtype=np.int64)
    if source.count is not None:
        count = source.count.cpu().numpy()
    return Vectors(
        user.contiguous().float().numpy(),
        item.contiguous().float().numpy(),
        count,
        "euclidean" if source.similarity == "euclidean" else "dot",
        offset,
        added,
        source.similarity,
    )


def _with_column(table: Tensor, values: Tensor | float) -> Tensor:
    """Return vectors [..., d + 1] with one more coordinate: values [...], or one for all."""
    column = table.new_empty(*table.shape[:-1], 1)
    column[..., 0] = values
    return torch.cat([table, column], dim=-1)
