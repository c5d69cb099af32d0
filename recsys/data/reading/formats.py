"""One function per foreign format whose ids are row numbers already: lists per user, rating files, matrices."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.reading.columns import doubles, normalise
from recsys.data.reading.table import contents, damaged, head, lines, require, scan_text, unreadable
from recsys.errors import InputError

__all__ = [
    "NumberedInteractions",
    "adjacency",
    "json_lists",
    "matrix",
    "noise_flag",
    "of_sparse",
    "pairs",
    "users_dat",
]


@dataclass(frozen=True, eq=False)
class NumberedInteractions:
    """Interactions whose ids are numbers from a known range.

    Args:
        frame: user, item and what else the format holds.
        users, items: the ranges; ids in them that never occur are dead but stay candidates.
        notes: what was guessed or left out.
    """

    frame: pl.DataFrame
    users: range
    items: range
    notes: tuple[str, ...] = ()


def adjacency(path: Path) -> NumberedInteractions:
    """`user item item ...` a line (LightGCN). Users without items are kept; ids count from 1 where no 0 occurs."""
    first, token, _ = _tokens(path, "adjacency")
    lengths = np.diff(np.append(np.flatnonzero(first), len(token)))
    users, items = token[first], token[~first]
    frame = pl.DataFrame({"user": np.repeat(users, lengths - 1), "item": items})
    return NumberedInteractions(
        frame, _range(users, path, len(token)), _range(items, path, len(token))
    )


def users_dat(path: Path) -> NumberedInteractions:
    """`n item_1 ... item_n` a line, the line number is the user (LibCML). Items are 0..max.

    Raises:
        InputError: a count that is negative or not the number of ids that follow, a blank line in the middle.
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
        i = int(wrong[0])
        raise InputError(
            f"the count is {counts[i]}, but {lengths[i]} ids follow",
            place=f"{path}, line {i + 1}",
            remedy="a line is: count item item ...",
        )
    items = token[~first]
    _nonnegative(items, line[~first], path)
    frame = pl.DataFrame({"user": np.repeat(np.arange(len(counts)), counts), "item": items})
    return NumberedInteractions(frame, range(len(counts)), _range(items, path, len(token), start=0))


def json_lists(path: Path) -> NumberedInteractions:
    """One JSON list with a list of item numbers per user (NBPO)."""
    try:
        lists: Any = json.loads(contents(path).decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"not valid JSON: {error.msg}",
            place=f"{path}, line {error.lineno}, column {error.colno}",
            remedy="give one list of lists of item numbers",
        ) from None
    except (UnicodeDecodeError, RecursionError):
        raise InputError(
            "not a JSON text",
            place=str(path),
            remedy="give one list of lists of item numbers, in UTF-8",
        ) from None
    if not isinstance(lists, list) or not lists:
        raise InputError(
            "not a list of lists", place=str(path), remedy="give one list of item numbers per user"
        )
    for number, items in enumerate(lists):
        if not isinstance(items, list) or not all(
            type(item) is int and 0 <= item < 2**31 for item in items
        ):
            bad = (
                items
                if not isinstance(items, list)
                else next(item for item in items if not (type(item) is int and 0 <= item < 2**31))
            )
            raise InputError(
                f"{str(bad)[:60]!r} is not an item number",
                place=f"{path}, list {number + 1}",
                remedy="give one list of item numbers (0 and up) per user",
            )
    item = np.array([item for items in lists for item in items], dtype=np.int64)
    user = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    return NumberedInteractions(
        pl.DataFrame({"user": user, "item": item}),
        range(len(lists)),
        _range(item, path, len(item), start=0),
    )


def noise_flag(
    path: Path, label: int | str | None = None, weight: int | str | None = None
) -> NumberedInteractions:
    """`user item flag`, tab-separated, no header (DenoisingRec); the test file may be `user item` or `(user, item)`.

    Args:
        label, weight: position of the column that is a noise flag (1 clean, 0 noise), or a rating. Untold, a third column
            of zeros and ones is a flag, any other a rating; "none" for what is not to be read.
    """
    if head(path, 1)[0].lstrip().startswith("("):
        text = pl.Series("line", lines(path))
        pairs = text.str.extract_groups(r"^\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)").struct.unnest()
        bad = pairs[:, 0].is_null()
        if bad.any():
            row = int(bad.arg_true()[0])
            raise InputError(
                f"{text[row][:60]!r} is no pair",
                place=f"{path}, line {row + 1}",
                remedy="a line is: (user, item)",
            )
        frame, notes = normalise(
            pairs.rename(dict(zip(pairs.columns, ("user", "item"), strict=True))),
            {"user": "user", "item": "item"},
            lambda row: f"{path}, line {row + 1}",
        )
    else:
        table = scan_text(path, separator="\t", header=False)
        chosen = {"user": "0", "item": "1"}
        for role, position in (("weight", weight), ("label", label)):
            if isinstance(position, int) and position < len(table.names):
                chosen[role] = str(position)
        raw = table.collect(table.names)
        untold = not isinstance(label, int) and not isinstance(weight, int)
        if untold and len(table.names) > 2:
            flags = set(raw["2"].unique().to_list()) <= {"0", "1"}
            if (label if flags else weight) is None:
                chosen["label" if flags else "weight"] = "2"
        frame, notes = normalise(raw, chosen, table.where)
        if "2" in chosen.values():
            notes.append(
                "third column read as noise flag, 1 clean"
                if "label" in chosen
                else "third column read as rating"
            )
    for role in ("user", "item"):
        numbers = frame[role]
        if numbers.dtype != pl.Int64:
            row = int(numbers.cast(pl.Int64, strict=False).is_null().arg_max() or 0)
            raise InputError(
                f"{numbers[row]!r} is not a number",
                place=f"{path}, line {row + 1}",
                remedy=f"{role}s are numbered from 0 in this format",
            )
        _nonnegative(numbers.to_numpy(), np.arange(frame.height), path)
    size = frame.height
    return NumberedInteractions(
        frame,
        _range(frame["user"].to_numpy(), path, size, start=0),
        _range(frame["item"].to_numpy(), path, size, start=0),
        tuple(notes),
    )


def matrix(path: Path) -> NumberedInteractions:
    """A users x items matrix written by `scipy.sparse.save_npz`, any layout; its stored entries are the interactions.

    An adjacency of users and items together, as LightGCN and its kin keep it, is cut to its block of users x items.

    Raises:
        InputError: an archive that is damaged, holds Python objects, or is no sparse matrix; an adjacency whose users cannot be told
            from its items.
    """
    return of_sparse(_loaded(path), str(path))


# Stored entries off the diagonal from which on symmetry is no chance.
_MANY = 20


def first_item(
    place: str, row: np.ndarray, column: np.ndarray, shape: tuple[int, int]
) -> int | None:
    """Return where items begin in an adjacency of users and items, None for a users x items matrix.

    An adjacency is square and has every entry on both sides of the diagonal; users come first and have no entry among
    themselves, nor have items. The diagonal itself may be filled.

    Args:
        place: of the matrix; with `adj` in the name of its file a square one is taken for an adjacency.
        row, column: of its entries [n].
        shape: of the matrix.

    Raises:
        InputError: it is an adjacency, and more than one border between users and items is possible, or none.
    """
    size, off = shape[0], row != column
    low, high = np.minimum(row, column)[off], np.maximum(row, column)[off]
    named = "adj" in Path(place).name.lower()
    if shape[0] != shape[1] or not len(low) or (len(low) <= _MANY and not named):
        return None
    upper, lower = (
        np.unique(low[side].astype(np.int64) * size + high[side])
        for side in (row[off] < column[off], row[off] > column[off])
    )
    symmetric = np.array_equal(upper, lower)
    if not symmetric and not named:
        return None
    first, last = int(low.max()) + 1, int(high.min())
    if symmetric and first == last:
        return first
    if not named and first > last and 2 * len(upper) >= size * (size - 1) // 2:
        return None  # everybody met nearly everything: full, and so symmetric
    cause, remedy = (
        "is called an adjacency, and is not symmetric",
        "give users x items, not called adj",
    )
    if symmetric:
        cause = f"is symmetric, {size} x {size}: a graph of users or of items alone"
        remedy = "give a matrix of users x items"
    if symmetric and first <= last:
        cause = f"is an adjacency of users and items whose items may begin at {first} to {last}"
        remedy = "cut it: scipy.sparse.save_npz('train.npz', matrix[:n_users, n_users:])"
    raise InputError(cause, place=place, remedy=remedy)


def pairs(path: Path) -> NumberedInteractions:
    """Pairs of user and item, an integer array [n, 2] as `numpy.save` writes it. Nothing in the file is run.

    Raises:
        InputError: an array that is damaged, of another shape or of other values.
    """
    require(path)
    place, remedy = str(path), "save whole numbers [n, 2], user and item, by numpy.save"
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, EOFError) as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            cause = "holds Python objects (pickle), which are never loaded"
            raise InputError(cause, place=place, remedy=remedy) from None
        raise damaged(path, error) from None
    if not isinstance(array, np.ndarray):
        raise InputError("holds several arrays, not one", place=place, remedy=remedy)
    if array.dtype.kind not in "iu" or array.ndim != 2 or array.shape[1] != 2:
        cause = f"holds {array.dtype} {list(array.shape)}, not pairs of whole numbers [n, 2]"
        raise InputError(cause, place=place, remedy=remedy)
    if not len(array):
        raise InputError("holds no pair", place=place, remedy="give a file with interactions")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    table = pl.DataFrame({"user": native[:, 0].copy(), "item": native[:, 1].copy()})
    frame, notes = normalise(
        table, {"user": "user", "item": "item"}, lambda row: f"{path}, row {row}", typed=True
    )
    return NumberedInteractions(frame, range(0), range(0), tuple(notes))


def _loaded(path: Path) -> sp.coo_matrix:
    """The matrix of a file of `scipy.sparse.save_npz`; nothing in the file is run."""
    require(path)
    place, remedy = str(path), "write it again with scipy.sparse.save_npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile) or not {
                "format",
                "shape",
                "data",
            } <= set(archive.files):
                raise InputError("not a sparse matrix", place=place, remedy=remedy)
            loaded = {name: archive[name] for name in archive.files}
        return _sparse(loaded)
    except InputError:
        raise
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:  # numpy and zipfile raise what they find: ValueError for pickles, BadZipFile, KeyError, IndexError, EOFError
        if "pickle" in str(error):
            raise InputError(
                "holds Python objects (pickle), which are never loaded", place=place, remedy=remedy
            ) from None
        raise damaged(path, error) from None


def of_sparse(given: sp.coo_matrix, place: str) -> NumberedInteractions:
    """Return the stored entries of a users x items matrix; entries stored several times are added up, as scipy does.

    An adjacency of users and items together is cut to its block of users x items.

    Raises:
        InputError: an entry that is not a finite number; an adjacency whose users cannot be told from its items.
    """
    if given.data.dtype.kind not in "biuf":
        raise InputError(
            f"a matrix of {given.data.dtype}, not of real numbers",
            place=place,
            remedy="give real numbers, as with .astype(float)",
        )
    values = doubles(pl.Series(given.data)).to_numpy()
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(
            f"entry ({given.row[bad]}, {given.col[bad]}) is {values[bad]}",
            place=place,
            remedy="give finite values",
        )
    entries = sp.coo_matrix((values, (given.row, given.col)), shape=given.shape)
    entries.sum_duplicates()
    notes = []
    if entries.nnz < len(values):
        notes.append(f"entries stored several times added up: {len(values)} -> {entries.nnz}")
    if (cut := first_item(place, entries.row, entries.col, entries.shape)) is not None:
        entries, words = _cut(entries, cut)
        notes += words
    columns: dict[str, Any] = {
        "user": entries.row.astype(np.int64),
        "item": entries.col.astype(np.int64),
    }
    if not (entries.data == 1).all():
        columns["weight"] = entries.data
    n_users, n_items = entries.shape
    return NumberedInteractions(pl.DataFrame(columns), range(n_users), range(n_items), tuple(notes))


def _cut(entries: sp.coo_matrix, cut: int) -> tuple[sp.coo_matrix, list[str]]:
    """The block of users x items of an adjacency whose items begin at `cut`, and what to say of it."""
    block = (entries.row < cut) & (entries.col >= cut)
    size = entries.shape[0]
    notes = [
        f"an adjacency of {cut} users and {size - cut} items together: "
        f"{block.sum()} of {len(block)} entries are of users x items"
    ]
    values = entries.data[block]
    if (values != np.floor(values)).any():
        notes.append("its values are normalised and no weights")
        values = np.ones(len(values))
    rows, columns = entries.row[block], entries.col[block] - cut
    return sp.coo_matrix((values, (rows, columns)), shape=(cut, size - cut)), notes


def _sparse(arrays: dict[str, Any]) -> sp.coo_matrix:
    """The coordinates of the arrays of `save_npz`, indices checked."""
    form = arrays["format"].item()
    form = form.decode() if isinstance(form, bytes) else str(form)
    shape = tuple(int(n) for n in arrays["shape"])
    if len(shape) != 2 or min(shape) < 0 or max(shape) >= 2**31:
        raise ValueError(f"shape {shape}")
    layouts: dict[str, Callable[[], Any]] = {
        "csr": lambda: sp.csr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape
        ),
        "csc": lambda: sp.csc_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape
        ),
        "bsr": lambda: sp.bsr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape
        ),
        "coo": lambda: sp.coo_matrix((arrays["data"], (arrays["row"], arrays["col"])), shape=shape),
        "dia": lambda: sp.dia_matrix((arrays["data"], arrays["offsets"]), shape=shape),
    }
    if form not in layouts:
        raise ValueError(f"unknown layout {form!r}")
    found = layouts[form]()
    if form in ("csr", "csc", "bsr"):
        found.check_format(full_check=True)
    return found.tocoo()


def _tokens(
    path: Path, what: str, *, signed: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The integers of a file of lists: whether it is the first of its line, its value, its line (from 0), each [n]."""
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
        row = int(number.is_null().arg_true()[0])
        raise InputError(
            f"{frame['token'][row][:40]!r} is not an id",
            place=f"{path}, line {frame['line'][row] + 1}",
            remedy=f"ids are integers in the format {what}; is it another format?",
        )
    token, line = number.to_numpy(), frame["line"].to_numpy()
    if not signed:
        _nonnegative(token, line, path)
    return np.append(True, line[1:] != line[:-1]), token, line


def _nonnegative(values: np.ndarray, line: np.ndarray, path: Path) -> None:
    bad = np.flatnonzero((values < 0) | (values >= 2**31))
    if len(bad):
        raise InputError(
            f"id {values[bad[0]]} is out of range",
            place=f"{path}, line {line[bad[0]] + 1}",
            remedy="ids are numbers from 0 to 2147483647",
        )


def _range(values: np.ndarray, path: Path, rows: int, start: int | None = None) -> range:
    """The ids that exist: from `start` (None: 0, or 1 where 0 never occurs) to the largest."""
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
