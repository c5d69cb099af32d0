"""Item neighbours by item features, kept with a scorer so that new items find theirs.

Symbols: x_i^m are the features of item i in modality m, less the mean over training, M_i the
modalities that item i has, w_m the share of modality m. The similarity of two items is

    S_ij = sum_m w_m cos(x_i^m, x_j^m) / sum_m w_m,   m in both M_i and M_j; 0 without such m.

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

_BLOCK_NUMBERS = 1 << 23  # similarities in memory at a time


@dataclass(frozen=True, eq=False)
class Aspect:
    """How one modality is compared.

    Args:
        name: name of the modality, as in the data.
        mean: float32 [d], subtracted first.
        share: w, the weight of the modality in a similarity.
    """

    name: str
    mean: Tensor
    share: float = 1.0

    def read(self, table: FeatureTable) -> Tensor:
        """Return vectors of length sqrt(share), float32 [n, d]; zeros where the item has none."""
        centred = torch.from_numpy(np.array(table.values, dtype=np.float32)) - self.mean
        centred[torch.from_numpy(~table.present)] = 0.0
        return F.normalize(centred, dim=1).mul_(self.share**0.5)


@dataclass(frozen=True, eq=False)
class Resemblance:
    """The features of all items that can be neighbours of a new item.

    Args:
        aspects: the modalities, in the order of training.
        rows: item rows of the possible neighbours, ascending, int64 [W].
        vectors: their modalities side by side, as `Aspect.read` returns them,
            float32 [W, sum of d_m].
        present: which modalities they have, bool [W, M].
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
        n = len(self.rows)
        if self.vectors.shape != (n, width) or self.present.shape != (n, len(self.aspects)):
            raise ValueError(
                f"{n} items with vectors {list(self.vectors.shape)} "
                f"and modalities {list(self.present.shape)}"
            )
        if n and (int(self.rows[0]) < 0 or bool((self.rows.diff() <= 0).any())):
            raise ValueError("rows of items do not ascend")

    @classmethod
    def of(
        cls,
        features: Mapping[str, FeatureTable],
        aspects: tuple[Aspect, ...],
        among: np.ndarray,
        k: int,
    ) -> Resemblance:
        """Return the resemblance to some of the items.

        Args:
            features: a table of n rows for each modality.
            aspects, k: as in `Resemblance`.
            among: the items that can be neighbours, bool [n].
        """
        tables = {
            aspect.name: FeatureTable(
                features[aspect.name].values[among], features[aspect.name].present[among]
            )
            for aspect in aspects
        }
        vectors, present = _read(tables, aspects)
        return cls(aspects, torch.from_numpy(np.flatnonzero(among)), vectors, present, k)

    def neighbours(
        self, features: Mapping[str, FeatureTable], n_items: int, *, own: bool = False
    ) -> sp.csr_matrix:
        """Return the k most similar items of each item, with their similarities, if positive.

        Args:
            features: a table of n rows for each modality of training.
            n_items: size of the catalogue that `rows` refers to.
            own: whether the n items are that catalogue: no item is then its own neighbour.

        Returns:
            CSR float32 [n, n_items].
        """
        vectors, present = _read(features, self.aspects)
        scale = torch.tensor([aspect.share for aspect in self.aspects]).sqrt()
        itself = torch.full((len(vectors),), -1, dtype=torch.int64)
        if own:
            itself[self.rows] = torch.arange(len(self.rows))
        nearest = nearest_among(
            vectors, present * scale, self.vectors, self.present * scale, itself, self.k
        )
        return sp.csr_matrix(
            (nearest.data, self.rows.numpy()[nearest.indices], nearest.indptr),
            shape=(len(vectors), n_items),
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata from which `restore` builds an equal value."""
        tensors = {"rows": self.rows, "vectors": self.vectors, "present": self.present}
        tensors |= {f"mean.{index}": aspect.mean for index, aspect in enumerate(self.aspects)}
        aspects = [[aspect.name, aspect.share] for aspect in self.aspects]
        return tensors, {"k": self.k, "aspects": aspects}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Resemblance:
        """Build the value that `state` described."""
        aspects = tuple(
            Aspect(str(name), tensors[f"mean.{index}"], float(share))
            for index, (name, share) in enumerate(meta["aspects"])
        )
        return cls(aspects, tensors["rows"], tensors["vectors"], tensors["present"], int(meta["k"]))


def _read(
    features: Mapping[str, FeatureTable], aspects: tuple[Aspect, ...]
) -> tuple[Tensor, Tensor]:
    """Return vectors [n, sum of d_m] and the modalities that items have, bool [n, M]."""
    vectors = torch.cat([aspect.read(features[aspect.name]) for aspect in aspects], dim=1)
    present = np.stack([features[aspect.name].present for aspect in aspects], axis=1)
    return vectors, torch.from_numpy(present)


def nearest_among(
    vectors: Tensor,
    present: Tensor,
    pool_vectors: Tensor,
    pool_present: Tensor,
    itself: Tensor,
    k: int,
    *,
    block: int | None = None,
) -> sp.csr_matrix:
    """Return the k most similar items of a pool for each item, with their similarities.

    The similarity is x_i . x_j / (p_i . p_j), and 0 where the divisor is 0. Of equal similarities
    the lower row is taken.

    Args:
        vectors: x of the items, float32 [n, d]: the modalities side by side, each of length
            sqrt(its share), or zeros where it is missing.
        present: p of the items, float32 [n, M]: sqrt(share) of each modality that the item has, 0
            for the others.
        pool_vectors, pool_present: x [W, d] and p [W, M] of the pool.
        itself: int64 [n], position of the item in the pool, or -1: no item is its own neighbour.
        k: neighbours at most; a similarity that is not positive is left out.
        block: items at a time; None: as many as keep the working memory near 32 MB per matrix.

    Returns:
        CSR float32 [n, W], column indices ascending.
    """
    n, pool = len(vectors), len(pool_vectors)
    size = block or max(1, _BLOCK_NUMBERS // max(1, pool))
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for start in range(0, n, size):
        rows = slice(start, start + size)
        common = present[rows] @ pool_present.T
        similarity = vectors[rows] @ pool_vectors.T
        similarity.div_(torch.where(common > 0, common, torch.inf))
        own = itself[rows]
        in_pool = (own >= 0).nonzero().view(-1)
        similarity[in_pool, own[in_pool]] = -torch.inf
        columns = best_columns(similarity, min(k, pool))
        weight = similarity.gather(1, columns)
        row, kept = (weight > 0).nonzero(as_tuple=True)
        cells = (row + start).numpy(), columns[row, kept].numpy(), weight[row, kept].numpy()
        parts.append(cells)
    row_of, column_of, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    matrix = sp.csr_matrix((value, (row_of, column_of)), shape=(n, pool), dtype=np.float32)
    matrix.sort_indices()
    return matrix


def best_columns(
    scores: Tensor, k: int, *, first: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return the columns of the k largest scores of each row, ascending, int64 [B, k].

    Args:
        scores: [B, n], of any float type.
        k: at most n.
        first: breaks ties. It gets some rows of `scores`, int64 [T], and returns priorities,
            int32 [T, n], not negative: of equal scores those of highest priority are taken. None:
            those of the lowest columns.
    """
    n = scores.shape[1]
    if k in (0, n):
        return torch.arange(k, device=scores.device).expand(len(scores), k)
    value, column = scores.topk(k + 1, dim=1)
    best = column[:, :k]
    # Only where the (k + 1)-th score equals the k-th is it open which columns are taken.
    tied = (value[:, k - 1] == value[:, k]).nonzero()[:, 0]
    if len(tied):
        least = value[tied, k - 1 : k]
        priority = _lowest_first(scores) if first is None else first(tied)
        chosen = torch.where(scores[tied] == least, priority, -1).topk(k, dim=1).indices
        above = (value[tied, :k] > least).sum(1, keepdim=True)
        index = torch.arange(k, device=scores.device) - above
        best[tied] = torch.where(index < 0, best[tied], chosen.gather(1, index.clamp_min(0)))
    return best.sort(1).values


def _lowest_first(scores: Tensor) -> Tensor:
    """Return priorities of the columns of `scores` [B, n] that fall to the right, int32 [n]."""
    return torch.arange(scores.shape[1] - 1, -1, -1, dtype=torch.int32, device=scores.device)
