"""Scorers: frozen values that can score. What is evaluated is exactly what is saved, exported and shipped.

Nearly every scorer here is a product of matrices or a sum of such, with one of three similarities at the end. That covers factor
models (`Factors`, and `MultiFactors` for several vectors per user), neighbourhood and linear models (`Product`) and their sums (`Sum`).
Where user and item meet in more than a product there are `Relational` and `Deep`. Methods on different scales are joined by `Blend` and `Fallback`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from recsys.data.types import FeatureTable
from recsys.errors import InputError
from recsys.scorer.ability import Places, places_of, shared_by, unplaced
from recsys.scorer.blend import Blend, Fallback
from recsys.scorer.factors import Factors, MultiFactors, Similarity
from recsys.scorer.feature_encoder import grown, numbered, reads_of_parts, under
from recsys.scorer.pairwise import Deep, Relational
from recsys.scorer.product import Matrix, Product

__all__ = [
    "KINDS",
    "Blend",
    "Deep",
    "Factors",
    "Fallback",
    "Matrix",
    "MultiFactors",
    "Places",
    "Product",
    "Relational",
    "Scorer",
    "Similarity",
    "Sum",
    "from_state",
    "places_of",
    "unplaced",
]


class Scorer(Protocol):
    """What can score every item for a block of users.

    One that has an attribute `places` says whether it can place users and items without a training pair (`recsys.scorer.ability`).
    """

    @property
    def n_users(self) -> int: ...

    @property
    def n_items(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def to(self, device: torch.device | str) -> Scorer: ...

    def score(self, users: Tensor) -> Tensor:
        """Scores of all items, float32 [B, n_items], for user rows [B]; higher is better."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain metadata from which `from_state` makes an equal scorer."""
        ...


@dataclass(frozen=True, eq=False)
class Sum:
    """A weighted sum of scorers over the same users and items.

    Args:
        parts: at least one scorer.
        weights: one number per part.
    """

    parts: tuple[Scorer, ...]
    weights: tuple[float, ...]

    kind = "sum"

    @property
    def n_users(self) -> int:
        return self.parts[0].n_users

    @property
    def n_items(self) -> int:
        return self.parts[0].n_items

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    def to(self, device: torch.device | str) -> Sum:
        return Sum(tuple(part.to(device) for part in self.parts), self.weights)

    def score(self, users: Tensor) -> Tensor:
        total = self.parts[0].score(users).mul(self.weights[0])
        for part, weight in zip(self.parts[1:], self.weights[1:], strict=True):
            total.add_(part.score(users).to(total.device), alpha=weight)
        return total

    @property
    def places(self) -> Places:
        """What all parts that count can place."""
        both = zip(self.parts, self.weights, strict=True)
        return shared_by(part for part, weight in both if weight)

    def reads(self) -> dict[str, int]:
        """The modalities by which the parts place an item that was not in training, and the length of a vector of each.

        Raises:
            InputError: one of the parts cannot; its name.
        """
        return reads_of_parts(self.kind, numbered(self.parts))

    def with_items(self, features: Mapping[str, FeatureTable]) -> Sum:
        """The same scorer with more items at the end, known by their features alone.

        Raises:
            InputError: one of the parts cannot; its name.
        """
        self.reads()
        return Sum(tuple(grown(part, features) for part in self.parts), self.weights)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        metas = []
        for index, part in enumerate(self.parts):
            inner, meta = part.state()
            tensors |= {f"part{index}.{name}": tensor for name, tensor in inner.items()}
            metas.append(meta)
        return tensors, {"kind": self.kind, "parts": metas, "weights": list(self.weights)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Sum:
        parts = []
        for index, inner in enumerate(meta["parts"]):
            parts.append(from_state(under(f"part{index}.", tensors), inner))
        return cls(tuple(parts), tuple(meta["weights"]))


KINDS: Mapping[str, Any] = {
    kind.kind: kind
    for kind in (Factors, MultiFactors, Relational, Product, Sum, Deep, Blend, Fallback)
}


def from_state(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Scorer:
    """The scorer that `Scorer.state` described.

    Raises:
        InputError: an unknown kind or a missing tensor: the file is foreign or damaged.
    """
    kind = KINDS.get(str(meta.get("kind")))
    if kind is None:
        raise InputError(
            f"scorer of unknown kind {meta.get('kind')!r}",
            remedy=f"known kinds: {', '.join(KINDS)}; was it written by a newer version?",
        )
    try:
        scorer: Scorer = kind.restore(tensors, meta)
    except KeyError as missing:
        raise InputError(
            f"scorer without its part {missing}",
            remedy="the file is damaged or foreign: train again",
        ) from None
    except (TypeError, ValueError) as error:
        raise InputError(
            f"scorer whose parts do not fit: {error}",
            remedy="the file is damaged or foreign: train again",
        ) from None
    return scorer
