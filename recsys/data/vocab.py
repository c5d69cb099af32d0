"""Vocab: the ids of users or items, and the row number of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from recsys.data.ids import lookup_ids
from recsys.errors import InputError, suggest
from recsys.notebook import Shown, counted

__all__ = ["Vocab"]

_SUGGESTIONS = 20_000  # known ids that are compared with an unknown one


@dataclass(frozen=True, eq=False, repr=False)
class Vocab(Shown):
    """A two-way map between external ids and row numbers 0..n-1.

    Args:
        ids: distinct external ids [n], Int64 or String; the position of an id is its row.
        name: what one id is called in messages: "user" or "item".
    """

    ids: pl.Series
    name: str = "id"

    @classmethod
    def of(cls, values: pl.Series, name: str = "id") -> Vocab:
        """Return the sorted distinct values: the same rows for any order of the values."""
        return cls(values.unique().drop_nulls().sort().alias(name), name)

    @classmethod
    def range(cls, n: int, name: str = "id") -> Vocab:
        """Return the ids 0..n-1, for data whose ids already are row numbers."""
        return cls(pl.Series(name, np.arange(n, dtype=np.int64)), name)

    def __len__(self) -> int:
        return len(self.ids)

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", counted(len(self), self.name)
        some = ", ".join(repr(each) for each in self.ids.head(3).to_list())
        yield "", some + (", ..." if len(self) > 3 else "")

    def rows(self, values: pl.Series | Sequence[Any] | np.ndarray) -> np.ndarray:
        """Return the row of each id, int32 [m]; -1 for an unknown id.

        An integer and its decimal text are the same id.

        Args:
            values: external ids [m].
        """
        ids = lookup_ids(values, self.ids.dtype)
        joined = ids.to_frame().join(self._index, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(-1).to_numpy().astype(np.int32)

    def require(
        self, values: pl.Series | Sequence[Any] | np.ndarray, place: str = ""
    ) -> np.ndarray:
        """Return the row of each id, int32 [m].

        Args:
            values: external ids [m].
            place: where the ids come from, for errors.

        Raises:
            InputError: an unknown id. Names the first, the most similar known id and how many
                ids are unknown.
        """
        rows = self.rows(values)
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            first = list(values)[int(unknown[0])]
            first = first.item() if isinstance(first, np.generic) else first
            raise InputError(
                f"unknown {self.name} {first!r} ({len(unknown)} of {len(rows)} are unknown)",
                place=place or None,
                remedy=self._suggestion(str(first)),
            )
        return rows

    def _suggestion(self, unknown: str) -> str:
        """Return "did you mean ...?" for an unknown id, if a known id is similar."""
        if len(self):
            known = [str(each) for each in self.ids.head(_SUGGESTIONS).to_list()]
            question = suggest(unknown, known).split("? known")[0]
            if question.startswith("did you mean"):
                return question + "?"
        return "check the id, or leave it out"

    @cached_property
    def _index(self) -> pl.DataFrame:
        rows = pl.Series(np.arange(len(self.ids), dtype=np.int32))
        return pl.DataFrame({"id": self.ids, "row": rows})

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the ids in row order."""
        digest = hashlib.sha256(str(self.ids.dtype).encode())
        if self.ids.dtype == pl.String:
            digest.update("\0".join(self.ids.to_list()).encode())
        else:
            digest.update(np.ascontiguousarray(self.ids.to_numpy()).tobytes())
        return digest.hexdigest()
