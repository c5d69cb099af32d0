"""The weighted sum of scorers whose scores are on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from recsys.data.query import Queries
from recsys.scorer.parts import RestorePart, WeightedParts, numbered, unpack

__all__ = ["Sum"]


@dataclass(frozen=True, eq=False)
class Sum(WeightedParts):
    """A weighted sum of scorers over the same users and items.

    Args:
        parts: at least one scorer.
        weights: one number per part.
    """

    kind: ClassVar[str] = "sum"

    def score(self, queries: Queries) -> Tensor:
        self._check(queries)
        total = self.parts[0].score(queries).mul(self.weights[0])
        for part, weight in zip(self.parts[1:], self.weights[1:], strict=True):
            total.add_(part.score(queries).to(total.device), alpha=weight)
        return total

    @classmethod
    def restore(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], restore_part: RestorePart
    ) -> Sum:
        parts = unpack(tensors, numbered(meta["parts"]), restore_part)
        return cls(parts, tuple(meta["weights"]))
