"""Formats whose ids are row numbers, in text: lists of items per user, and rating files.

Every function reads one file: `read(path, source) -> RawLog`. See `recsys.data.reading.formats`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.data.raw_parts import RawLog
from recsys.data.reading.delimited import open_delimited
from recsys.data.reading.normalisation import normalise
from recsys.data.reading.source import NONE, Source
from recsys.data.reading.text_files import contents, head, lines
from recsys.data.row_errors import first_true
from recsys.errors import InputError

__all__ = ["read_adjacency", "read_json_lists", "read_noise_flag", "read_users_dat"]

_MAX_ID = 2**31
_LISTS = "give one list of lists of item numbers"


def read_adjacency(path: Path, source: Source) -> RawLog:
    """Read lines `user item item ...` (LightGCN).

    Users without items are kept. Ids count from 1 if 0 does not occur. With `ordered` the items of
    a line are in time order (S3Rec).

    Raises:
        InputError: with `ordered`, a line without items.
    """
    first, token, line = _tokens(path, "adjacency")
    lengths = np.diff(np.append(np.flatnonzero(first), len(token)))
    if source.ordered and (lengths == 1).any():
        row = int(np.flatnonzero(lengths == 1)[0])
        raise InputError(
            f"the line holds user {token[first][row]} and no item",
            place=f"{path}, line {line[first][row] + 1}",
            remedy="write the items of the user in time order, or leave the line out",
        )
    users = token[first]
    items = token[~first]
    frame = pl.DataFrame({"user": np.repeat(users, lengths - 1), "item": items})
    return RawLog(frame, _id_range(users, path, len(token)), _id_range(items, path, len(token)))


def read_users_dat(path: Path, source: Source) -> RawLog:
    """Read lines `n item_1 ... item_n`, where the number of the line is the user (LibCML).

    Items are 0..max.

    Raises:
        InputError: a count that differs from the number of ids after it, or a blank line in
            between.
    """
    first, token, line = _tokens(path, "users-dat", signed=True)
    lengths = np.diff(np.append(np.flatnonzero(first), len(token))) - 1
    counts, starts = token[first], line[first]
    gaps = np.flatnonzero(starts != np.arange(len(starts)))
    if len(gaps):
        raise InputError(
            "the line is blank, but the number of the line is the user",
            place=f"{path}, line {gaps[0] + 1}",
            remedy="write 0 for a user without items",
        )
    wrong = np.flatnonzero(counts != lengths)
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"the count is {counts[row]}, but {lengths[row]} ids follow",
            place=f"{path}, line {row + 1}",
            remedy="a line is: count item item ...",
        )
    items = token[~first]
    _check_ids(items, line[~first], path)
    frame = pl.DataFrame({"user": np.repeat(np.arange(len(counts)), counts), "item": items})
    return RawLog(frame, range(len(counts)), _id_range(items, path, len(token), start=0))


def read_json_lists(path: Path, source: Source) -> RawLog:
    """Read one JSON list that holds a list of item numbers per user (NBPO).

    Raises:
        InputError: text that is not JSON, or other values.
    """
    per_user = _json(path)
    if not isinstance(per_user, list) or not per_user:
        raise InputError(
            "not a list of lists", place=str(path), remedy="give one list of item numbers per user"
        )
    for number, items in enumerate(per_user):
        values = items if isinstance(items, list) else [items]
        bad = [value for value in values if not _is_item_number(value)]
        if bad or not isinstance(items, list):
            shown = bad[0] if isinstance(items, list) else items
            raise InputError(
                f"{str(shown)[:60]!r} is not an item number",
                place=f"{path}, list {number + 1}",
                remedy="give one list of item numbers (0 and up) per user",
            )
    item = np.array([item for items in per_user for item in items], dtype=np.int64)
    user = np.repeat(np.arange(len(per_user)), [len(items) for items in per_user])
    frame = pl.DataFrame({"user": user, "item": item})
    return RawLog(frame, range(len(per_user)), _id_range(item, path, len(item), start=0))


def _json(path: Path) -> Any:
    try:
        return json.loads(contents(path).decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"not valid JSON: {error.msg}",
            place=f"{path}, line {error.lineno}, column {error.colno}",
            remedy=_LISTS,
        ) from None
    except (UnicodeDecodeError, RecursionError):
        raise InputError("not a JSON text", place=str(path), remedy=f"{_LISTS}, in UTF-8") from None


def _is_item_number(value: object) -> bool:
    return type(value) is int and 0 <= value < _MAX_ID


def read_noise_flag(path: Path, source: Source) -> RawLog:
    """Read lines `user item flag`, separated by tabs, without header (DenoisingRec).

    The test file may also have lines `user item` or `(user, item)`.

    `clean` and `weight` of the source are positions of the column that is a noise flag (1 clean,
    0 noise) or a rating. If neither is given, a third column of zeros and ones is a flag, any other
    third column a rating. "none": do not read it.

    Raises:
        InputError: a column given by name, or an id that is not a number from 0.
    """
    for role in ("clean", "weight"):
        column = getattr(source, role)
        if isinstance(column, str) and column != NONE:
            raise InputError(
                f"{role} = '{column}', but the format has no header",
                place=str(path),
                remedy=f"give a position, as in {role} = 2",
            )
    if head(path, 1)[0].lstrip().startswith("("):
        frame, notes = _pairs_in_brackets(path)
    else:
        frame, notes = _flagged_pairs(path, source)
    for role in ("user", "item"):
        numbers = frame[role]
        if numbers.dtype != pl.Int64:
            row = int(numbers.cast(pl.Int64, strict=False).is_null().arg_max() or 0)
            raise InputError(
                f"{numbers[row]!r} is not a number",
                place=f"{path}, line {row + 1}",
                remedy=f"{role}s are numbered from 0 in this format",
            )
        _check_ids(numbers.to_numpy(), np.arange(frame.height), path)
    users, items = (
        _id_range(frame[role].to_numpy(), path, frame.height, start=0) for role in ("user", "item")
    )
    return RawLog(frame, users, items, tuple(notes))


def _pairs_in_brackets(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Read lines `(user, item)`."""
    text = pl.Series("line", lines(path))
    pairs = text.str.extract_groups(r"^\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)").struct.unnest()
    bad = pairs[:, 0].is_null()
    if bad.any():
        row = first_true(bad)
        raise InputError(
            f"{text[row][:60]!r} is not a pair",
            place=f"{path}, line {row + 1}",
            remedy="a line is: (user, item)",
        )
    roles = ("user", "item")
    return normalise(
        pairs.rename(dict(zip(pairs.columns, roles, strict=True))),
        dict(zip(roles, roles, strict=True)),
        lambda row: f"{path}, line {row + 1}",
    )


def _flagged_pairs(path: Path, source: Source) -> tuple[pl.DataFrame, list[str]]:
    """Read lines `user item`, `user item flag` or `user item rating`."""
    table = open_delimited(path, separator="\t", header=False)
    chosen = {"user": "0", "item": "1"}
    for role in ("weight", "clean"):
        position = getattr(source, role)
        if isinstance(position, int) and position < len(table.names):
            chosen[role] = str(position)
    raw, _ = table.collect(table.names)
    is_given = isinstance(source.clean, int) or isinstance(source.weight, int)
    if not is_given and len(table.names) > 2:
        is_flag = set(raw["2"].unique().to_list()) <= {"0", "1"}
        role = "clean" if is_flag else "weight"
        if getattr(source, role) is None:
            chosen[role] = "2"
    frame, notes = normalise(raw, chosen, table.where)
    if "2" in chosen.values():
        kind = "noise flag, 1 clean" if "clean" in chosen else "rating"
        notes.append(f"third column read as {kind}")
    return frame, notes


def _tokens(
    path: Path, what: str, *, signed: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the integers of a file of lists.

    Args:
        path: of the file.
        what: name of the format, for errors.
        signed: the caller checks the range of the numbers.

    Returns:
        Whether a number is the first of its line, the number, and its line (from 0); each [n].

    Raises:
        InputError: text that is not an integer, or a number out of range.
    """
    text = pl.Series("token", lines(path))
    if text.str.contains("\t", literal=True).any():
        text = text.str.replace_all("\t", " ", literal=True)
    frame = (
        pl.DataFrame({"token": text.str.split(" "), "line": np.arange(len(text), dtype=np.int64)})
        .explode("token")
        .filter(pl.col("token") != "")
    )
    number = frame["token"].cast(pl.Int64, strict=False)
    if number.null_count():
        row = first_true(number.is_null())
        raise InputError(
            f"{frame['token'][row][:40]!r} is not an id",
            place=f"{path}, line {frame['line'][row] + 1}",
            remedy=f"ids are integers in the format {what}; is it another format?",
        )
    token, line = number.to_numpy(), frame["line"].to_numpy()
    if not signed:
        _check_ids(token, line, path)
    return np.append(True, line[1:] != line[:-1]), token, line


def _check_ids(values: np.ndarray, line: np.ndarray, path: Path) -> None:
    """Raise an error about an id below 0 or of more than 31 bits.

    Args:
        values: the ids [n].
        line: line of each id, from 0 [n].
        path: of the file.
    """
    bad = np.flatnonzero((values < 0) | (values >= _MAX_ID))
    if len(bad):
        raise InputError(
            f"id {values[bad[0]]} is out of range",
            place=f"{path}, line {line[bad[0]] + 1}",
            remedy=f"ids are numbers from 0 to {_MAX_ID - 1}",
        )


def _id_range(values: np.ndarray, path: Path, rows: int, start: int | None = None) -> range:
    """Return the ids that exist: from `start` to the largest id.

    Args:
        values: the ids that occur [n].
        path: of the file, for errors.
        rows: number of values in the file.
        start: the smallest id; None: 0, or 1 if 0 does not occur.

    Raises:
        InputError: the largest id is too large for a row number.
    """
    if not len(values):
        return range(0)
    last = int(values.max())
    if last > max(10_000_000, 100 * rows):
        raise InputError(
            f"id {last} is out of range: {rows} rows cannot number that many",
            place=str(path),
            remedy='if ids are not numbered from 0 without large gaps, use format = "csv"',
        )
    low = min(int(values.min()), 1) if start is None else start
    return range(low, last + 1)
