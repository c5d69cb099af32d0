"""Files of recommendations: Parquet, CSV or JSON lines, whole or one batch after the other."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow.parquet as pq

from recsys.errors import InputError, first_line

__all__ = ["SUFFIXES", "Format", "load", "save", "save_batches"]

Format = Literal["parquet", "csv", "jsonl"]
SUFFIXES: Mapping[str, Format] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}


def save(frame: pl.DataFrame, path: Path, format: Format) -> None:
    """Write recommendations to a file.

    Raises:
        OSError: the file cannot be written; with the number of the error.
    """
    with _numbered_errors():
        if format == "parquet":
            frame.write_parquet(path, compression="zstd")
        elif format == "csv":
            frame.write_csv(path)
        else:
            frame.write_ndjson(path)


@contextlib.contextmanager
def _numbered_errors() -> Iterator[None]:
    """Give errors of a disk their number, which polars and pyarrow only write into the text."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno)) from error
        number = re.search(r"(?:os error|errno) (\d+)", str(error))
        if number is None and not isinstance(error, OSError):
            raise
        lost = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO
        code = int(number.group(1)) if number else lost
        raise OSError(code, os.strerror(code)) from error


def save_batches(frames: Iterator[pl.DataFrame], path: Path, format: Format) -> None:
    """Write batches of recommendations to one file, with one batch in memory at a time.

    Args:
        frames: at least one batch; all have the same columns and types.
        path: the file.
        format: its format; Parquet has a row group per batch.
    """
    with _numbered_errors():
        _save_batches(frames, path, format)


def _save_batches(frames: Iterator[pl.DataFrame], path: Path, format: Format) -> None:
    if format == "parquet":
        tables = (frame.to_arrow(compat_level=pl.CompatLevel.oldest()) for frame in frames)
        first = next(tables)
        with pq.ParquetWriter(str(path), first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
        return
    with path.open("wb") as file:
        for number, frame in enumerate(frames):
            if format == "csv":
                frame.write_csv(file, include_header=number == 0)
            else:
                frame.write_ndjson(file)


def load(path: Path, format: Format) -> pl.DataFrame:
    """Return the recommendations of a file; of CSV, all columns are text.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if format == "parquet":
            return pl.read_parquet(path)
        if format == "csv":
            return pl.read_csv(path, infer_schema=False)
        if not path.stat().st_size:  # no list has a recommendation
            return pl.DataFrame(schema={"user": pl.String, "source": pl.String})
        return pl.read_ndjson(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read: {first_line(error)}",
            place=str(path),
            remedy="it is damaged: start the job again, which writes it again",
        ) from None
