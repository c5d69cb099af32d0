"""Baskets without names: one basket a line, items separated by commas.

The function reads one file: `read(path, source) -> RawLog`. See `recsys.data.reading.formats`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.raw_parts import RawLog
from recsys.data.reading.normalisation import normalise
from recsys.data.reading.source import Source
from recsys.data.reading.text_files import lines
from recsys.errors import InputError

__all__ = ["read_baskets"]


def read_baskets(path: Path, source: Source) -> RawLog:
    """Read lines `item,item,...`, each a basket, which is a user of its own.

    Spaces around an item are left out, and so are empty items and blank lines; users are numbered
    by line, from 0. An item may be quoted.

    Raises:
        InputError: a separator of several characters, or no item at all.
    """
    separator = source.separator or ","
    if len(separator) != 1:
        raise InputError(
            f"separator = {separator!r} must be one character",
            place="[data] separator",
            remedy='give a single one, as in separator = ";"',
        )
    text = lines(path)
    number: list[int] = []
    item: list[str] = []
    for row, fields in enumerate(csv.reader(text, delimiter=separator, skipinitialspace=True)):
        kept = [field.strip() for field in fields if field.strip()]
        number += [row] * len(kept)
        item += kept
    if not item:
        raise InputError(
            "the file holds no item", place=str(path), remedy="write a basket per line: item,item"
        )
    frame = pl.DataFrame({"user": np.array(number, dtype=np.int64), "item": item})
    roles = {"user": "user", "item": "item"}
    frame, notes = normalise(frame, roles, lambda at: f"{path}, line {number[at] + 1}")
    return RawLog(frame, notes=tuple(notes))
