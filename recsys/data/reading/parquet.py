"""Parquet: one file, or a folder of files that form one table."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.data.ids import whole_numbers
from recsys.data.reading.text_files import damaged, require
from recsys.errors import InputError

__all__ = ["ParquetTable", "open_parquet", "parquet_files"]

# Value that Hive and Spark write into the name of a folder for a missing value.
_MISSING = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """Parquet files that were opened, and whose rows are not read yet; see `Table`.

    Args:
        path: a file or a folder.
        files: the files of the table.
        scan: all files as one lazy table.
        names: the columns.
        sample: the first rows.
        notes: what was guessed.
        header, typed: Parquet always has names and types.
    """

    path: Path
    files: tuple[Path, ...]
    scan: pl.LazyFrame
    names: tuple[str, ...]
    sample: pl.DataFrame
    notes: tuple[str, ...] = ()
    header: bool = True
    typed: bool = True

    def collect(self, columns: Sequence[str]) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Read some columns.

        Args:
            columns: names of the columns.

        Returns:
            The columns; and no notes.

        Raises:
            InputError: a file that is damaged, files with different columns, or no rows.
        """
        try:
            frame = self.scan.select(columns).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _cannot_be_joined(self.path, self.files, error) from None
        if not frame.height:
            raise InputError(
                "the table has no rows",
                place=str(self.path),
                remedy="give a file with interactions",
            )
        return frame, ()

    def where(self, row: int) -> str:
        """Return the place of a row in the file, such as "log.parquet, row 7"."""
        return f"{self.path}, row {row + 1}"


def open_parquet(path: Path) -> ParquetTable:
    """Open one Parquet file or a folder of them; columns are read when they are collected.

    Folders in it that are called `name=value`, as Spark, pandas, polars and DuckDB write them, are
    columns: integers if all values are whole numbers, otherwise text.
    `__HIVE_DEFAULT_PARTITION__` is a missing value.

    Raises:
        InputError: no Parquet file in the folder, a file that is damaged, files with different
            columns or partitions, or a Delta table.
    """
    require(path)
    files = parquet_files(path)
    if not files:
        raise InputError(
            "the folder holds no .parquet file", place=str(path), remedy="check the path"
        )
    partitions = _partitions(path, files)
    try:
        scan = _scan(files, partitions)
        names = tuple(scan.collect_schema().names())
        sample = scan.head(50).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _cannot_be_joined(path, files, error) from None
    notes = (f"partitions {', '.join(partitions)}",) if partitions else ()
    return ParquetTable(path, tuple(files), scan, names, sample, notes)


def parquet_files(path: Path) -> list[Path]:
    """Return the Parquet files of a table, sorted; those of a folder include its subfolders.

    Files and folders whose name begins with a dot or an underscore are left out: jobs that failed
    leave such files behind.

    Raises:
        InputError: the folder is a Delta table, which keeps the files of deleted rows.
    """
    if not path.is_dir():
        return [path]
    if (path / "_delta_log").is_dir():
        raise InputError(
            "is a Delta table: its folder also holds rows that were deleted",
            place=str(path),
            remedy="write it as plain Parquet, as with polars.read_delta(...).write_parquet(...)",
        )
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix in (".parquet", ".pq")
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
        and file.is_file()
    )


def _partitions(path: Path, files: Sequence[Path]) -> dict[str, pl.Series]:
    """Return the columns that the names of folders form, one value per file.

    Raises:
        InputError: the folders of two files name different columns.
    """
    if not path.is_dir():
        return {}
    per_file = []
    for file in files:
        pairs = [part.partition("=") for part in file.relative_to(path).parts[:-1] if "=" in part]
        per_file.append({key: urllib.parse.unquote(value) for key, _, value in pairs})
        if list(per_file[-1]) != list(per_file[0]):
            first, other = (", ".join(each) or "no column" for each in (per_file[0], per_file[-1]))
            raise InputError(
                f"its folders name {other}, those of {files[0].name} name {first}",
                place=str(file),
                remedy="give the files of one table, all in folders name=value of the same names",
            )
    columns = {}
    for key in per_file[0]:
        text = pl.Series(key, [each[key] for each in per_file], dtype=pl.String)
        columns[key] = whole_numbers(text.set(text == _MISSING, None))
    return columns


def _scan(files: Sequence[Path], partitions: dict[str, pl.Series]) -> pl.LazyFrame:
    """Return all files as one lazy table.

    The files of a partition share one scan, so that thousands of files need few scans.
    """
    if not partitions:
        return pl.scan_parquet(list(files), glob=False)
    groups: dict[tuple[object, ...], list[Path]] = {}
    for number, file in enumerate(files):
        groups.setdefault(tuple(column[number] for column in partitions.values()), []).append(file)
    scans = []
    for values, members in groups.items():
        scan = pl.scan_parquet(members, glob=False)
        in_file = scan.collect_schema().names()
        added = [
            pl.lit(value, column.dtype).alias(key)
            for (key, column), value in zip(partitions.items(), values, strict=True)
            if key not in in_file  # a column in the file has a type, the name of a folder has none
        ]
        scans.append(scan.with_columns(added))
    return pl.concat(scans)


def _cannot_be_joined(path: Path, files: Sequence[Path], error: Exception) -> InputError:
    """Return why Parquet files cannot be read as one table: one is damaged, or columns differ."""
    schemas: dict[Path, dict[str, pl.DataType]] = {}
    for file in files:
        try:
            schemas[file] = dict(pl.read_parquet_schema(file))
        except (pl.exceptions.PolarsError, OSError) as reason:
            return damaged(file, reason)
        first = schemas[files[0]]
        if schemas[file] != first:
            differing = [
                f"{name} {kind}" for name, kind in first.items() if schemas[file].get(name) != kind
            ]
            there = f" ({', '.join(differing)} there)" if differing else ""
            return InputError(
                f"its columns differ from those of {files[0].name}{there}",
                place=str(file),
                remedy="give files of one table",
            )
    return damaged(path, error)
