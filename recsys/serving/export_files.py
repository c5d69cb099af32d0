"""What every export has: a folder that is complete or absent, tables, versions of libraries."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.files import temporary_of, write_atomic

__all__ = ["LeftOut", "filled", "item_columns", "libraries", "write_table"]

T = TypeVar("T")


@dataclass(frozen=True)
class LeftOut:
    """How many users and items were left out because they have no training interaction."""

    users: int
    items: int


def filled(out: Path, fill: Callable[[Path], T]) -> T:
    """Fill a folder that appears when it is complete.

    Args:
        out: the folder; missing or empty.
        fill: writes all files into a folder.

    Returns:
        What `fill` returns.

    Raises:
        InputError: as `fill`; the place is in `out`.
    """
    home = Path(os.path.abspath(out))
    temporary = temporary_of(home)
    try:
        result = fill(temporary)
        if out.exists():
            out.rmdir()
        temporary.replace(home)
    except BaseException as error:  # an interrupt, too, leaves nothing incomplete behind
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, InputError) and error.place:
            raise type(error)(
                error.cause,
                place=error.place.replace(str(temporary), str(out)),
                remedy=error.remedy,
            ) from None
        raise
    return result


def item_columns(train: Dataset, items: np.ndarray) -> pl.DataFrame:
    """Return outside ids of items, and their titles where the data have them.

    Args:
        train: the training data.
        items: item rows.
    """
    frame = pl.DataFrame({"item": train.items.ids.gather(items)})
    if train.titles is not None:
        frame = frame.with_columns(train.titles.gather(items).alias("title"))
    return frame


def write_table(path: Path, frames: Iterator[pl.DataFrame]) -> None:
    """Write frames one after the other, with never more than one in memory."""

    def produce(temporary: Path) -> None:
        tables = (frame.to_arrow(compat_level=pl.CompatLevel.oldest()) for frame in frames)
        first = next(tables)
        with pq.ParquetWriter(str(temporary), first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)

    write_atomic(path, produce)


def libraries(*more: str) -> dict[str, str]:
    """Return the versions of the libraries that wrote a folder, those of `more` at the end."""
    versions = {}
    for name in ("recsys", "numpy", "polars", "torch", *more):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
