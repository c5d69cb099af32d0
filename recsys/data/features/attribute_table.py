"""Attributes: a sparse table with a name for each column, and how a row of a file becomes one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.types import FeatureTable
from recsys.errors import InputError

__all__ = ["AttributeEncoding", "AttributeTable", "ColumnCode", "ColumnKind"]

ColumnKind: TypeAlias = Literal["flag", "number", "category", "several", "vector"]

_LARGEST = 1 << 30  # numbers of a dense form: 4 GB


@dataclass(frozen=True)
class ColumnCode:
    """How one column of a file becomes columns of a table.

    Args:
        name: of the column in the file.
        kind: "flag" is 0 or 1 as it is; "number" is scaled to mean 0 and standard deviation 1;
            "category" has a column for each value, "several" likewise for a list of values, each
            1 where the row has the value; "vector" is a list of numbers, scaled like "number".
        values: of "category" and "several", ascending.
        split: what separates the values of a list in text.
        mean, deviation: of each number; one for "number", several for "vector".
    """

    name: str
    kind: ColumnKind
    values: tuple[str, ...] = ()
    split: str = "|"
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Number of columns in the table."""
        return {"category": len(self.values), "several": len(self.values)}.get(
            self.kind, max(1, len(self.mean))
        )

    @property
    def words(self) -> list[str]:
        """Name of each column in the table, as in "country = France"."""
        if self.kind in ("category", "several"):
            return [f"{self.name} = {value}" for value in self.values]
        if self.kind == "vector":
            return [f"{self.name}[{index}]" for index in range(self.width)]
        return [self.name]

    def encode(self, column: pl.Series, place: str) -> tuple[sp.coo_matrix, np.ndarray]:
        """Return the columns of some rows, float32 [n, width], and which rows have a value.

        A missing value gives zeros, which is the mean of a number. So does a value that was not
        there when the encoding was made.

        Args:
            column: of the file [n].
            place: of the file, for errors.

        Raises:
            InputError: a number was expected.
        """
        within = f"{place}, column '{self.name}'"
        if self.kind in ("category", "several"):
            return self._indicators(column)
        if self.kind == "vector":
            known, numbers = vectors_of(column, within, self.split)
            if numbers.shape[1] != self.width:
                raise InputError(
                    f"vectors of {numbers.shape[1]} numbers, expected {self.width}",
                    place=within,
                    remedy="give vectors of the length that training had",
                )
        else:
            known, numbers = numbers_of(column, within)
            numbers = numbers[:, None]
        if self.mean:
            numbers = (numbers - np.array(self.mean)) / np.array(self.deviation)
        numbers[~known] = 0
        return sp.coo_matrix(numbers.astype(np.float32)), known

    def _indicators(self, column: pl.Series) -> tuple[sp.coo_matrix, np.ndarray]:
        rows, texts = entries_of(column, self.kind, self.split)
        known = pl.DataFrame({"value": self.values, "code": range(len(self.values))})
        pairs = pl.DataFrame({"row": rows, "value": texts}).unique(maintain_order=True)
        joined = pairs.join(known, on="value", how="inner", maintain_order="left")
        row, code = joined["row"].to_numpy(), joined["code"].to_numpy()
        shape = (len(column), self.width)
        matrix = sp.coo_matrix((np.ones(len(row), dtype=np.float32), (row, code)), shape=shape)
        present = np.zeros(len(column), dtype=bool)
        present[row] = True
        return matrix, present


def entries_of(column: pl.Series, kind: str, split: str) -> tuple[pl.Series, pl.Series]:
    """Return row and text of each value of a column; blanks are not values."""
    frame = pl.DataFrame({"row": np.arange(len(column)), "value": column})
    if isinstance(column.dtype, pl.List | pl.Array):
        frame = frame.with_columns(pl.col("value").cast(pl.List(pl.String))).explode("value")
    else:
        frame = frame.with_columns(pl.col("value").cast(pl.String))
        if kind == "several":
            frame = frame.with_columns(pl.col("value").str.split(split)).explode("value")
    frame = frame.with_columns(pl.col("value").str.strip_chars())
    frame = frame.filter(pl.col("value").is_not_null() & (pl.col("value") != ""))
    return frame["row"], frame["value"]


def numbers_of(column: pl.Series, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows have a number, bool [n], and the numbers, float64 [n], else 0.

    Raises:
        InputError: a value is not a finite number.
    """
    plain = column
    if column.dtype == pl.String:
        plain = column.str.strip_chars().replace("", None)
    values = plain.cast(pl.Float64, strict=False)
    numbers = values.fill_null(0.0).to_numpy().copy()
    bad = (plain.is_not_null() & values.is_null()).to_numpy() | ~np.isfinite(numbers)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"row {row + 1}: {column[row]!r} is not a finite number",
            place=place,
            remedy="correct it, leave it empty, or name the column in categorical",
        )
    return values.is_not_null().to_numpy(), numbers


def vectors_of(column: pl.Series, place: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows have a vector, bool [n], and the vectors, float64 [n, d], else 0.

    Raises:
        InputError: vectors of different lengths, or a value that is not a finite number.
    """
    if column.dtype == pl.String:
        column = column.str.strip_chars().replace("", None).str.split(split)
    known = column.is_not_null().to_numpy()
    lists = column.drop_nulls().cast(pl.List(pl.Float64), strict=False)
    lengths = lists.list.len().unique().to_list()
    if len(lengths) != 1 or not lengths[0]:
        raise InputError(
            f"vectors of different lengths: {sorted(lengths)[:5]}",
            place=place,
            remedy="give every row a vector of the same length, or leave it empty",
        )
    _, flat = numbers_of(lists.explode(), place)
    vectors = np.zeros((len(column), int(lengths[0])))
    vectors[known] = flat.reshape(-1, int(lengths[0]))
    return known, vectors


@dataclass(frozen=True)
class AttributeEncoding:
    """How the rows of a file become rows of a table: the same for rows that come later.

    Args:
        columns: the columns of the file, in the order of the table.
    """

    columns: tuple[ColumnCode, ...]

    @property
    def dim(self) -> int:
        """Number of columns of the table."""
        return sum(code.width for code in self.columns)

    @property
    def words(self) -> list[str]:
        """Name of each column of the table."""
        return [word for code in self.columns for word in code.words]

    def encode(
        self, frame: pl.DataFrame, place: str = "attributes"
    ) -> tuple[sp.csr_matrix, np.ndarray, dict[str, float]]:
        """Return the rows of a table.

        Args:
            frame: the columns of the file [n]; a column that it lacks is missing in every row.
            place: of the file, for errors.

        Returns:
            CSR float32 [n, dim]; whether a row has any value, bool [n]; and the share of rows
            without a value, by column of the file.

        Raises:
            InputError: as `ColumnCode.encode`, or the frame has none of the columns.
        """
        shared = [code.name for code in self.columns if code.name in frame.columns]
        if not shared:
            raise InputError(
                f"has none of the columns of training ({_shortened(self.names)})",
                place=place,
                remedy="give the columns by the names that they had in training",
            )
        present = np.zeros(frame.height, dtype=bool)
        parts: list[sp.spmatrix] = []
        gaps = {}
        for code in self.columns:
            if code.name not in frame.columns:
                parts.append(sp.coo_matrix((frame.height, code.width), dtype=np.float32))
                gaps[code.name] = 1.0
                continue
            matrix, known = code.encode(frame[code.name], place)
            parts.append(matrix)
            present |= known
            gaps[code.name] = 1 - float(known.mean()) if len(known) else 1.0
        return sp.hstack(parts, format="csr", dtype=np.float32), present, gaps

    @property
    def names(self) -> list[str]:
        """Names of the columns of the file."""
        return [code.name for code in self.columns]

    def plain(self) -> list[dict[str, Any]]:
        """Return plain values, from which `of` builds an equal encoding."""
        return [asdict(code) for code in self.columns]

    @classmethod
    def of(cls, plain: Sequence[Mapping[str, Any]]) -> AttributeEncoding:
        """Build the encoding from the plain values that `plain` returned."""
        return cls(
            tuple(
                ColumnCode(
                    code["name"],
                    code["kind"],
                    tuple(code["values"]),
                    code["split"],
                    tuple(code["mean"]),
                    tuple(code["deviation"]),
                )
                for code in plain
            )
        )


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


class AttributeTable(FeatureTable):
    """Attributes of all users or items: a sparse feature table with a name for each column.

    It is a `FeatureTable` for methods that read dense features, whose `values` are made when they
    are asked for. Methods that read many columns use `matrix`.

    Args:
        matrix: CSR float32 [n, c]; row i belongs to row i of the vocabulary.
        present: bool [n]; False for a row without any attribute.
        encoding: how the rows of a file become rows of the table; None: not known.
        columns: name of each column [c]; None: those of the encoding.
        gaps: share of the rows of the vocabulary without a value, by column of the file.

    Raises:
        ValueError: the shapes do not fit together.
    """

    def __init__(
        self,
        matrix: sp.csr_matrix,
        present: np.ndarray,
        encoding: AttributeEncoding | None = None,
        columns: Sequence[str] | None = None,
        gaps: Mapping[str, float] | None = None,
    ) -> None:
        matrix = sp.csr_matrix(matrix, dtype=np.float32)
        matrix.sum_duplicates()
        if columns is None:
            columns = [f"{index}" for index in range(matrix.shape[1])]
            columns = columns if encoding is None else encoding.words
        if present.shape != (matrix.shape[0],) or len(columns) != matrix.shape[1]:
            raise ValueError(
                f"a matrix {matrix.shape}, {len(columns)} columns and present {present.shape}"
                " do not belong together"
            )
        fields = {
            "matrix": matrix,
            "present": present,
            "encoding": encoding,
            "columns": tuple(columns),
            "gaps": dict(gaps or {}),
            "encoder": None,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    matrix: sp.csr_matrix
    encoding: AttributeEncoding | None
    columns: tuple[str, ...]
    gaps: Mapping[str, float]

    @property
    def dim(self) -> int:
        return int(self.matrix.shape[1])

    @cached_property
    def values(self) -> np.ndarray:
        """The dense form, float32 [n, c].

        Raises:
            InputError: it would take more than 4 GB.
        """
        n, dim = self.matrix.shape
        if n * dim > _LARGEST:
            raise InputError(
                f"{dim:,} columns of attributes for each of {n:,} rows are too many for a method "
                "that reads dense features",
                place="[data] features",
                remedy="use ials, ease, mf or lightgcn, which read sparse ones, or fewer columns",
            )
        return np.asarray(self.matrix.toarray())

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", f"{self.matrix.shape[0]:,} x {self.dim:,}"
        yield "", f"{self.matrix.nnz:,} values"
        yield "", f"{int(self.present.sum()):,} present"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the values, the names of the columns, and over which rows are missing."""
        digest = hashlib.sha256(f"sparse {self.matrix.shape}".encode())
        digest.update("\0".join(self.columns).encode())
        for array in (self.matrix.indptr, self.matrix.indices, self.matrix.data, self.present):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
