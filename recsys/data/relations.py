"""Relations: a graph of typed edges around the items or the users, such as a knowledge graph."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from recsys.data.vocab import Vocab
from recsys.notebook import Shown, counted

__all__ = ["Relations", "Side"]

Side: TypeAlias = Literal["item", "user"]


@dataclass(frozen=True, eq=False, repr=False)
class Relations(Shown):
    """Triples head - relation - tail, without duplicates.

    The first entities are the items (of a knowledge graph) or the users (of a social graph), in the
    order of their vocabulary; the others follow.

    Args:
        head, tail: entities, int32 [m].
        relation: index into `names`, int16 [m].
        names: of the relations.
        n_first: number of items or users.
        others: ids of the entities after them.
        first: what the first entities are.

    Raises:
        ValueError: arrays of different lengths, or an entity or relation out of range.
    """

    head: np.ndarray
    relation: np.ndarray
    tail: np.ndarray
    names: tuple[str, ...]
    n_first: int
    others: Vocab
    first: Side = "item"

    def __post_init__(self) -> None:
        for name, dtype in (("head", np.int32), ("relation", np.int16), ("tail", np.int32)):
            array = np.ascontiguousarray(getattr(self, name), dtype=dtype)
            object.__setattr__(self, name, array)
        if not len(self.head) == len(self.relation) == len(self.tail):
            raise ValueError("head, relation and tail differ in length")
        bounds = ((self.head, self.n_entities), (self.tail, self.n_entities))
        for array, bound in (*bounds, (self.relation, len(self.names))):
            if len(array) and not 0 <= array.min() <= array.max() < bound:
                raise ValueError(f"expected numbers from 0 to {bound - 1}")

    def __len__(self) -> int:
        """Return the number of triples."""
        return len(self.head)

    @property
    def n_entities(self) -> int:
        """Number of entities, items or users included."""
        return self.n_first + len(self.others)

    @property
    def linked(self) -> np.ndarray:
        """Which items or users have a triple, bool [n_first]."""
        linked = np.zeros(self.n_entities, dtype=bool)
        linked[self.head] = True
        linked[self.tail] = True
        return linked[: self.n_first]

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", counted(len(self), "triple")
        yield "", counted(len(self.names), "relation")
        yield "", f"{self.n_entities:,} entities"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over triples, names and ids."""
        digest = hashlib.sha256(f"{self.first} {self.n_first} {self.others.fingerprint}".encode())
        digest.update("\0".join(self.names).encode())
        for array in (self.head, self.relation, self.tail):
            digest.update(array.data)
        return digest.hexdigest()
