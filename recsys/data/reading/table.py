"""What a table on disk offers before its rows are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

__all__ = ["Table"]


class Table(Protocol):
    """A file with columns that was opened, and whose rows are not read yet."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns; "0", "1", ... if the file has no header."""

    @property
    def header(self) -> bool:
        """Whether the file names its columns."""

    @property
    def typed(self) -> bool:
        """Whether columns have types; otherwise all of them are text."""

    @property
    def sample(self) -> pl.DataFrame:
        """The first rows."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was guessed about the file."""

    def collect(self, columns: Sequence[str]) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Read some columns, and return them with notes on what the rows hold.

        Raises:
            InputError: a row that cannot be read, with its place; a table without rows.
        """

    def where(self, row: int) -> str:
        """Return the place of a row in the file, such as "ratings.csv, line 7"."""
