"""Vectors of columns: the numbers and the categories of an item table.

Only attributes of items are used, never interactions, so the vectors can be computed before the
data are split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from recsys.data.features.encoder import Encoder
from recsys.data.features.item_files import require_columns
from recsys.errors import InputError

__all__ = ["ColumnVectorizer", "Scaling", "fit_columns"]

_MOST_CATEGORIES = 1000  # of a column
_CONSTANT = 1e-12  # standard deviation, relative to the largest value, that counts as 0


class Scaling(NamedTuple):
    """How a column of numbers is scaled to mean 0 and standard deviation 1."""

    name: str
    logged: bool
    """Whether the logarithm is taken first."""
    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class ColumnVectorizer:
    """Fitted vectors of columns.

    Args:
        numbers: scaling of each column of numbers.
        categories: the categories of each categorical column, by its name, in ascending order.
    """

    numbers: Sequence[Scaling]
    categories: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, encoder: Encoder) -> ColumnVectorizer:
        """Return the vectorizer that an encoder stores."""
        numbers = [Scaling(*one) for one in encoder.fitted["numbers"]]
        return cls(numbers, encoder.fitted["kinds"])

    def encoder(self, options: Mapping[str, Any]) -> Encoder:
        """Return the encoder to store, made with the options of `recsys data features`."""
        numbers = [list(one) for one in self.numbers]
        return Encoder(options, {"numbers": numbers, "kinds": dict(self.categories)})

    @property
    def words(self) -> list[str]:
        """Meaning of each number of a vector, as in "log price" or "country = France"."""
        scaled = [f"log {one.name}" if one.logged else one.name for one in self.numbers]
        return scaled + [
            f"{name} = {category}"
            for name, categories in self.categories.items()
            for category in categories
        ]

    def vectors(
        self, frame: pl.DataFrame, place: str = "item table"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of the items of a table.

        Args:
            frame: a row per item.
            place: what to call the table in an error.

        Returns:
            Vectors float32 [n, d], and whether an item has one, bool [n]. An item has none if all
            its columns are missing. Otherwise a missing number is 0, the mean, and a missing or
            unknown category is zeros.

        Raises:
            InputError: a column is missing, does not hold numbers, or holds one that is not finite
                or not above 0.
        """
        names = [one.name for one in self.numbers] + list(self.categories)
        require_columns(frame, names, place)
        present = np.zeros(frame.height, dtype=bool)
        parts = []
        for one in self.numbers:
            within = f"{place}, column '{one.name}'"
            known, values = _numbers(frame[one.name], within, logged=one.logged)
            values[known] = (values[known] - one.mean) / one.deviation
            present |= known
            parts.append(values[:, None])
        for name, categories in self.categories.items():
            texts = frame[name].cast(pl.String).to_numpy()[:, None]
            indicators = (texts == np.array(categories, dtype=object)[None, :]).astype(np.float32)
            present |= indicators.any(1)
            parts.append(indicators)
        vectors = np.concatenate(parts, axis=1).astype(np.float32)
        vectors[~present] = 0
        return vectors, present


def fit_columns(
    frame: pl.DataFrame,
    numeric: Sequence[str] = (),
    logged: Sequence[str] = (),
    categorical: Sequence[str] = (),
    *,
    place: str = "item table",
) -> ColumnVectorizer:
    """Fit vectors to the columns of a table.

    A numeric column gets mean 0 and standard deviation 1. A categorical column becomes a number of
    0 or 1 per category.

    Args:
        frame: a row per item.
        numeric: columns of numbers.
        logged: columns of numbers above 0, of which the logarithm is taken first.
        categorical: columns of categories.
        place: what to call the table in an error.

    Raises:
        InputError: no column is named; a column is missing or named twice; it does not hold
            numbers, or holds one that is not finite or not above 0; it is constant, or has one
            category or more than 1,000.
    """
    names = [*numeric, *logged, *categorical]
    if not names:
        raise InputError(
            "no column is named", place=place, remedy="give --numeric, --log or --categorical"
        )
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"'{name}' is named twice", place=place, remedy="name each column once"
            )
    require_columns(frame, names, place)
    scalings = [
        _fit_numbers(frame[name], f"{place}, column '{name}'", logged=name in logged)
        for name in (*numeric, *logged)
    ]
    categories = {
        name: _fit_categories(frame[name], f"{place}, column '{name}'") for name in categorical
    }
    return ColumnVectorizer(scalings, categories)


def _fit_numbers(column: pl.Series, place: str, *, logged: bool) -> Scaling:
    """Return the scaling of a column.

    Raises:
        InputError: all its values are equal.
    """
    known, values = _numbers(column, place, logged=logged)
    values = values[known]
    deviation = float(values.std()) if len(values) else 0.0
    if deviation < _CONSTANT * max(1.0, float(np.abs(values).max(initial=0.0))):
        raise InputError(
            "is the same for every item that has it",
            place=place,
            remedy="leave the column out: it carries no information",
        )
    return Scaling(column.name, logged, float(values.mean()), deviation)


def _fit_categories(column: pl.Series, place: str) -> list[str]:
    """Return the categories of a column in ascending order.

    Raises:
        InputError: there is one, or too many.
    """
    categories = column.cast(pl.String).drop_nulls().unique().sort().to_list()
    if not 1 < len(categories) <= _MOST_CATEGORIES:
        raise InputError(
            f"has {len(categories)} categories",
            place=place,
            remedy="a column needs 2 to 1,000: leave it out, or use --text",
        )
    return categories


def _numbers(column: pl.Series, place: str, *, logged: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows have a number, bool [n], and the numbers or their logarithms, float64 [n].

    Rows without a number are 0.

    Raises:
        InputError: a value is not a number, not finite, or, if `logged`, not above 0.
    """
    is_text = column.dtype == pl.String
    plain = column.str.strip_chars().replace("", None) if is_text else column
    values = plain.cast(pl.Float64, strict=False)
    if is_text or plain.dtype.is_numeric():
        unreadable = np.flatnonzero((plain.is_not_null() & values.is_null()).to_numpy())
    else:
        unreadable = np.arange(len(column))
    if len(unreadable):
        row = int(unreadable[0])
        raise InputError(
            f"row {row + 1}: {column[row]!r} is not a number",
            place=place,
            remedy="correct it, or use --categorical",
        )
    known = values.is_not_null().to_numpy()
    numbers = values.fill_null(0.0).to_numpy().copy()
    not_positive = logged & (numbers <= 0)
    bad = known & (~np.isfinite(numbers) | not_positive)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        too_low = logged and np.isfinite(numbers[row])
        raise InputError(
            f"row {row + 1}: {numbers[row]:g} is "
            + ("not above 0" if too_low else "not a finite number"),
            place=place,
            remedy="leave it empty if it is not known",
        )
    if logged:
        numbers[known] = np.log(numbers[known])
    numbers[~known] = 0
    return known, numbers
