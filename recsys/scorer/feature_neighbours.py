"""Items that resemble each other by their features, and what is kept of the items there are, so that one that came later finds its neighbours.

Symbols: x_i^m are the features of item i in modality m, less the mean that was found in training, M_i the modalities that item i has, w_m the share
of modality m. The likeness of two items is

    S_ij = sum_{m in both} w_m cos(x_i^m, x_j^m) / sum_{m in both} w_m,        m in both M_i and M_j; 0 if there is none.

`recsys.models.contentknn` has the method and its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.types import FeatureTable

__all__ = ["Aspect", "Resemblance", "best_columns", "nearest_among"]

_BLOCK_NUMBERS = 1 << 23  # similarities that are held at a time


@dataclass(frozen=True, eq=False)
class Aspect:
    """How a modality is compared.

    Args:
        name: as in the data.
        mean: float32 [d], taken off first.
        share: w, its part in a likeness.
    """

    name: str
    mean: Tensor
    share: float = 1.0

    def read(self, table: FeatureTable) -> Tensor:
        """Vectors of the length sqrt(share), zeros for an item that lacks the modality, float32 [n, d]."""
        apart = torch.from_numpy(np.array(table.values, dtype=np.float32)) - self.mean
        apart[torch.from_numpy(~table.present)] = 0.0
        return F.normalize(apart, dim=1).mul_(self.share**0.5)


@dataclass(frozen=True, eq=False)
class Resemblance:
    """The features of the items that may be neighbours: what places an item by its own.

    Args:
        aspects: the modalities, in the order of training.
        rows: ascending item rows of those that may be neighbours, int64 [W].
        vectors: float32 [W, sum of d_m], their modalities one after the other, as `Aspect.read` makes them.
        present: bool [W, M], which they have.
        k: neighbours of an item, at most.

    Raises:
        ValueError: sizes that do not fit, or rows that do not ascend.
    """

    aspects: tuple[Aspect, ...]
    rows: Tensor
    vectors: Tensor
    present: Tensor
    k: int

    def __post_init__(self) -> None:
        width = sum(len(aspect.mean) for aspect in self.aspects)
        if self.vectors.shape != (len(self.rows), width) or self.present.shape != (
            len(self.rows),
            len(self.aspects),
        ):
            raise ValueError(
                f"{len(self.rows)} items with vectors {list(self.vectors.shape)} and modalities {list(self.present.shape)}"
            )
        if len(self.rows) and (int(self.rows[0]) < 0 or bool((self.rows.diff() <= 0).any())):
            raise ValueError("rows of items that do not ascend")

    @classmethod
    def of(
        cls,
        features: Mapping[str, FeatureTable],
        aspects: tuple[Aspect, ...],
        among: np.ndarray,
        k: int,
    ) -> Resemblance:
        """Of the items for which `among` holds, bool [n]."""
        kept = {
            aspect.name: FeatureTable(
                features[aspect.name].values[among], features[aspect.name].present[among]
            )
            for aspect in aspects
        }
        vectors, present = _read(kept, aspects)
        return cls(aspects, torch.from_numpy(np.flatnonzero(among)), vectors, present, k)

    def neighbours(
        self, features: Mapping[str, FeatureTable], n_items: int, *, own: bool = False
    ) -> sp.csr_matrix:
        """The k most similar of each item, and how similar they are; what is not above zero is no neighbour.

        Args:
            features: a table for every modality of training, a row per item.
            n_items: of the catalogue that `rows` are of.
            own: whether the items are that catalogue: then none is its own neighbour.

        Returns:
            CSR float32 [n, n_items].
        """
        vectors, present = _read(features, self.aspects)
        scale = torch.tensor([aspect.share for aspect in self.aspects]).sqrt()
        place = torch.full((len(vectors),), -1, dtype=torch.int64)
        if own:
            place[self.rows] = torch.arange(len(self.rows))
        found = nearest_among(
            vectors, present * scale, self.vectors, self.present * scale, place, self.k
        )
        return sp.csr_matrix(
            (found.data, self.rows.numpy()[found.indices], found.indptr),
            shape=(len(vectors), n_items),
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain metadata from which `restore` makes an equal one."""
        tensors = {"rows": self.rows, "vectors": self.vectors, "present": self.present}
        tensors |= {f"mean.{place}": aspect.mean for place, aspect in enumerate(self.aspects)}
        return tensors, {
            "k": self.k,
            "aspects": [[aspect.name, aspect.share] for aspect in self.aspects],
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Resemblance:
        aspects = tuple(
            Aspect(str(name), tensors[f"mean.{place}"], float(share))
            for place, (name, share) in enumerate(meta["aspects"])
        )
        return cls(aspects, tensors["rows"], tensors["vectors"], tensors["present"], int(meta["k"]))


def _read(
    features: Mapping[str, FeatureTable], aspects: tuple[Aspect, ...]
) -> tuple[Tensor, Tensor]:
    vectors = torch.cat([aspect.read(features[aspect.name]) for aspect in aspects], dim=1)
    present = torch.from_numpy(
        np.stack([features[aspect.name].present for aspect in aspects], axis=1)
    )
    return vectors, present


def nearest_among(
    vectors: Tensor,
    present: Tensor,
    theirs: Tensor,
    have: Tensor,
    place: Tensor,
    k: int,
    *,
    block: int | None = None,
) -> sp.csr_matrix:
    """The k of some items that are most similar to each of others: x_i . x_j / (p_i . p_j), 0 where the divisor is; the lower row among equals.

    Args:
        vectors: x of those that ask, float32 [n, d], the modalities of an item one after the other, each of the length sqrt(its share), or zeros
            where it is missing.
        present: p of those that ask, float32 [n, M], sqrt(share) of the modalities that an item has, zeros for the others.
        theirs, have: x [W, d] and p [W, M] of those that may be neighbours.
        place: int64 [n], which of those an item is itself, or -1: none is its own neighbour.
        k: how many at most; what is not above zero is no neighbour.
        block: items at a time; None: as many as keep the working memory near 32 MB a matrix.

    Returns:
        CSR float32 [n, W], column indices ascending.
    """
    n, size = len(vectors), block or max(1, _BLOCK_NUMBERS // max(1, len(theirs)))
    found: list[tuple[np.ndarray, ...]] = [
        (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    ]
    for start in range(0, n, size):
        rows = slice(start, start + size)
        both = present[rows] @ have.T
        likeness = (vectors[rows] @ theirs.T).div_(torch.where(both > 0, both, torch.inf))
        own = place[rows]
        at = (own >= 0).nonzero().view(-1)
        likeness[at, own[at]] = -torch.inf
        columns = best_columns(likeness, min(k, len(theirs)))
        weight = likeness.gather(1, columns)
        row, kept = (weight > 0).nonzero(as_tuple=True)
        found.append(
            tuple(part.numpy() for part in (row + start, columns[row, kept], weight[row, kept]))
        )
    rows_of, columns_of, values = (np.concatenate(part) for part in zip(*found, strict=True))
    matrix = sp.csr_matrix(
        (values, (rows_of, columns_of)), shape=(n, len(theirs)), dtype=np.float32
    )
    matrix.sort_indices()
    return matrix


def best_columns(
    scores: Tensor, k: int, *, first: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """The columns of the k largest of each row [B, n], ascending; int64 [B, k], k at most n.

    Args:
        scores: of any float type.
        k: how many.
        first: says for some rows of `scores`, int64 [T], by int32 [T, n], none below 0, which of equal columns are taken: those where it is
            largest. None: the lower columns.
    """
    n = scores.shape[1]
    if k in (0, n):
        return torch.arange(k, device=scores.device).expand(len(scores), k)
    value, column = scores.topk(k + 1, dim=1)
    found = column[:, :k]
    tied = (value[:, k - 1] == value[:, k]).nonzero()[:, 0]  # only there is it open which k
    if len(tied):
        least = value[tied, k - 1 : k]
        turn = (
            torch.arange(n - 1, -1, -1, dtype=torch.int32, device=scores.device)
            if first is None
            else first(tied)
        )
        chosen = torch.where(scores[tied] == least, turn, -1).topk(k, dim=1).indices
        place = torch.arange(k, device=scores.device) - (value[tied, :k] > least).sum(
            1, keepdim=True
        )
        found[tied] = torch.where(place < 0, found[tied], chosen.gather(1, place.clamp_min(0)))
    return found.sort(1).values
