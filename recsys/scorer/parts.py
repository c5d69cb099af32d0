"""Scorers that consist of other scorers: what their kinds share.

An ability of a joined scorer is an ability of its parts. Where a part lacks it, the error names the
part: "the second part of this blend: cannot serve new users: ...".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

import torch
from torch import Tensor

from recsys.data.query import Queries, QueryKind
from recsys.data.types import FeatureTable
from recsys.errors import InputError
from recsys.scorer.ability import Places, shared_by
from recsys.scorer.base import Scorer, TakesItems, answered_by, require
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.plan import Dense, Plan

__all__ = [
    "RestorePart",
    "WeightedParts",
    "answers_of_all",
    "append_items",
    "each_part",
    "modalities",
    "numbered",
    "pack",
    "unpack",
]

RestorePart: TypeAlias = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Scorer]
T = TypeVar("T")
_ORDINALS = ("first", "second", "third")


@dataclass(frozen=True, eq=False)
class WeightedParts:
    """Scorers over the same users and items, with a weight each; base of `Sum` and `Blend`.

    Args:
        parts: at least one scorer.
        weights: one number per part.
    """

    parts: tuple[Scorer, ...]
    weights: tuple[float, ...]

    kind: ClassVar[str]

    @property
    def n_users(self) -> int:
        return self.parts[0].n_users

    @property
    def n_items(self) -> int:
        return self.parts[0].n_items

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    @property
    def places(self) -> Places:
        """What all parts place whose weight is not zero."""
        pairs = zip(self.parts, self.weights, strict=True)
        return shared_by(part for part, weight in pairs if weight)

    def to(self, device: torch.device | str) -> Self:
        return replace(self, parts=tuple(part.to(device) for part in self.parts))

    def plan(self) -> Plan:
        return Dense()

    @property
    def answers(self) -> frozenset[QueryKind]:
        """The queries that all parts answer."""
        return answers_of_all(self.parts)

    def _check(self, queries: Queries) -> None:
        """Refuse queries that a part does not answer, with its name."""
        each_part(self.kind, self._named(), lambda part: answered_by(part, queries))

    def reads(self) -> dict[str, int]:
        """Return the modalities that all parts need, see `TakesItems.reads`.

        Raises:
            InputError: a part cannot rank new items; it is named.
        """
        return modalities(self.kind, self._named())

    def with_items(self, features: Mapping[str, FeatureTable]) -> Self:
        """Return the scorer with new items at the end, see `TakesItems.with_items`.

        Raises:
            InputError: a part cannot rank new items; it is named.
        """
        self.reads()
        return replace(self, parts=tuple(append_items(part, features) for part in self.parts))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, metas = pack({f"part{index}": part for index, part in enumerate(self.parts)})
        return tensors, {"kind": self.kind, "parts": metas, "weights": list(self.weights)}

    def _named(self) -> dict[str, Scorer]:
        return {_ordinal(index): part for index, part in enumerate(self.parts)}


def _ordinal(index: int) -> str:
    return _ORDINALS[index] if index < len(_ORDINALS) else f"{index + 1}th"


def each_part(
    whole: str, parts: Mapping[str, Scorer], change: Callable[[Scorer], T]
) -> tuple[T, ...]:
    """Return the results of a function for each part of a scorer.

    Args:
        whole: kind of the scorer that has the parts.
        parts: the parts by name.
        change: called with each part.

    Raises:
        InputError: as `change`; the cause names the part.
    """
    results = []
    for name, part in parts.items():
        try:
            results.append(change(part))
        except InputError as error:
            raise InputError(
                f"the {name} part of this {whole}: {error.cause}",
                place=error.place,
                remedy=error.remedy,
            ) from None
    return tuple(results)


def answers_of_all(parts: Iterable[Scorer]) -> frozenset[QueryKind]:
    """Return the kinds of queries that every one of the scorers answers."""
    answers: frozenset[QueryKind] = frozenset(("user", "history"))
    for part in parts:
        answers &= part.answers
    return answers


def append_items(part: Scorer, features: Mapping[str, FeatureTable]) -> Scorer:
    """Return a scorer with new items; arguments and errors as `TakesItems.with_items`."""
    return require(part, TakesItems, "rank new items").with_items(features)


def modalities(whole: str, parts: Mapping[str, Scorer]) -> dict[str, int]:
    """Return the modalities that the parts of a scorer need for new items, with their dimensions.

    Args:
        whole: kind of the scorer that has the parts.
        parts: the parts by name.

    Raises:
        InputError: a part cannot rank new items, or two parts read vectors of different dimensions
            for one modality.
    """
    dims: dict[str, int] = {}
    read = each_part(whole, parts, lambda part: require(part, TakesItems, "rank new items").reads())
    for own in read:
        for modality, dim in own.items():
            if dims.setdefault(modality, dim) != dim:
                raise InputError(
                    f"the parts of this {whole} read vectors of {dims[modality]} and of {dim} "
                    f"numbers for '{modality}'",
                    remedy="join runs that were trained with the same features",
                )
    return dims


def pack(parts: Mapping[str, Scorer]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return the tensors of several scorers, prefixed by name and a dot, and their metadata."""
    tensors: dict[str, Tensor] = {}
    metas = []
    for name, part in parts.items():
        inner, meta = part.state()
        tensors |= prefixed(f"{name}.", inner)
        metas.append(meta)
    return tensors, metas


def unpack(
    tensors: Mapping[str, Tensor],
    metas: Mapping[str, Mapping[str, Any]],
    restore_part: RestorePart,
) -> tuple[Scorer, ...]:
    """Return the scorers that `pack` packed.

    Args:
        tensors: of all parts.
        metas: metadata of each part by name.
        restore_part: builds a scorer from its own tensors and metadata.
    """
    return tuple(restore_part(under(f"{name}.", tensors), meta) for name, meta in metas.items())


def numbered(metas: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the metadata of weighted parts, named as by `WeightedParts.state`."""
    return {f"part{index}": meta for index, meta in enumerate(metas)}
