"""Histories as a caller gives them: a log, a mapping, lists, or a file of a log or of JSON lines.

A log has a row per event. Its histories are in order of time; without times, and between equal
times, in the order of the rows. The names of histories are in the order of their first row.
Repeated events are kept. A line of JSON is `{"id": ..., "items": [...]}`, oldest first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from recsys.data.ids import Ids
from recsys.data.prepare import positives
from recsys.data.raw_parts import RawParts
from recsys.data.reading import Source, read, read_frame
from recsys.data.reading.columns import folded
from recsys.data.reading.delimited import open_delimited
from recsys.data.reading.location import guess
from recsys.data.reading.parquet import open_parquet
from recsys.data.reading.text_files import head, lines, require, stem
from recsys.data.reading.usual_names import KNOWN
from recsys.data.times import Unit, count_ticks
from recsys.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GivenHistories", "HistoriesLike", "given_histories", "read_histories"]

# What a history may belong to other than a user, folded, in order of preference.
_VISITS = (
    *("session", "sessionid", "visit", "visitid", "basket", "basketid", "cart", "cartid"),
    *("invoice", "invoiceno", "invoiceid", "order", "orderid", "transaction", "transactionid"),
    "id",
)
_JSON_ENDINGS = (".jsonl", ".ndjson")
_BINARY_ENDINGS = (".parquet", ".pq", ".npz", ".npy")
_LINE = 'write {"id": "visitor-1", "items": ["i07", "i03"]} on a line'


@dataclass(frozen=True, eq=False)
class GivenHistories:
    """Histories in outside ids.

    Args:
        ids: name of each history [n].
        item: outside ids of the items, history by history, oldest first [m].
        length: number of items of each history, int64 [n].
        form: the source and how it was read, in words; "" for lists.
        of_users: whether the names are ids of users, who may be users of training. Sessions,
            baskets and positions of a list are not.
        time: of each item, int64 [m], in `time_unit`; None if the times are not known.
        time_unit: "s", "ms", "us" or "ns".
        notes: what was left out.
    """

    ids: Ids
    item: Ids
    length: np.ndarray
    form: str = ""
    of_users: bool = False
    time: np.ndarray | None = None
    time_unit: Unit = "s"
    notes: tuple[str, ...] = ()


HistoriesLike: TypeAlias = (
    "GivenHistories | pl.DataFrame | pd.DataFrame | Mapping[Any, Sequence[Any]] "
    "| Sequence[Sequence[Any]] | str | Path"
)


def given_histories(histories: HistoriesLike, users: Ids | None = None) -> GivenHistories:
    """Return histories that are given in memory, or read them from a path.

    Args:
        histories: a frame with a row per event, as `recsys.data.load` reads it: a column of users,
            sessions or other ids, a column of items, and times if there are any; a mapping from an
            id to its items, oldest first; a list of such sequences, whose ids are their positions;
            or the path of a file, as `read_histories` reads it.
        users: ids of a list of sequences, one for each; they may be users of training.

    Raises:
        InputError: another form, `users` with another form than a list, or not one user for each
            sequence.
    """
    if isinstance(histories, Sequence) and not isinstance(histories, str):
        return _of_sequences(list(histories), users)
    if users is not None:
        raise InputError(
            "users and histories go together only if histories is a list, one for each user",
            place="histories",
            remedy="leave out users: the histories have ids of their own",
        )
    if isinstance(histories, GivenHistories):
        return histories
    if isinstance(histories, str | Path):
        return read_histories(histories)
    if isinstance(histories, Mapping):
        return _of_lists(list(histories), list(histories.values()), of_users=True)
    return _of_frame(histories)


def _of_sequences(histories: list[Sequence[Any]], users: Ids | None) -> GivenHistories:
    """Return the histories of a list of sequences, called by users or by their positions."""
    if users is None:
        return _of_lists(range(len(histories)), histories, of_users=False)
    if len(users) != len(histories):
        raise InputError(
            f"{len(histories)} histories for {len(users)} users",
            place="histories",
            remedy="give one history for each user",
        )
    return _of_lists(users, histories, of_users=True)


def read_histories(
    path: str | Path, columns: Mapping[str, str | int] | None = None
) -> GivenHistories:
    """Return the histories of a file: a log, or JSON lines.

    A file is JSON lines if its name ends in .jsonl or .ndjson, or if it begins with "{"; any other
    file is a log, in any format that `recsys.data.load` reads. The path "-" reads JSON lines from
    standard input.

    Args:
        path: of the file.
        columns: names of the columns of user, item and time in the data of a run. They are taken
            where the file has them; else columns with usual names.

    Raises:
        InputError: the file is missing or cannot be read, a column is missing, or an id occurs
            twice.
    """
    if str(path) == "-":
        return _of_json(enumerate(sys.stdin, 1), "standard input")
    path = Path(path).expanduser()
    require(path)
    if _is_json_lines(path):
        return _of_json(enumerate(lines(path), 1), str(path))
    roles, of_users = _roles_of_file(path, columns or {})
    raw = read(Source(path=str(path), **roles))
    return _of_log(raw, roles, str(path), of_users=of_users)


def _is_json_lines(path: Path) -> bool:
    name = stem(path)
    if path.is_dir() or name.endswith(_BINARY_ENDINGS):
        return False
    if name.endswith(_JSON_ENDINGS):
        return True
    first = next(line.lstrip() for line in head(path) if line.strip())
    return first.startswith("{") and (not name.endswith(".json") or '"items"' in first)


def _of_json(numbered: Iterable[tuple[int, str]], place: str) -> GivenHistories:
    """Return the histories of lines of JSON, with their numbers.

    Raises:
        InputError: a line that is not such an object, a duplicate id, or no line.
    """
    ids: list[Any] = []
    items: list[list[Any]] = []
    keys: set[str] = set()
    line_of: dict[Any, int] = {}
    for number, line in numbered:
        if not line.strip():
            continue
        where = f"{place}, line {number}"
        key, name, own = _parsed(line, where)
        if name in line_of:
            raise InputError(
                f"duplicate id {name!r}, as on line {line_of[name]}",
                place=where,
                remedy="give one history per id",
            )
        line_of[name] = number
        keys.add(key)
        if len(keys) > 1:
            raise InputError(
                "some lines have an id and others a user", place=where, remedy="use one of the two"
            )
        ids.append(name)
        items.append(own)
    if not ids:
        raise InputError("the file is empty", place=place, remedy=_LINE)
    form = f"{place}: JSON lines, {_counted(len(ids))}"
    return _of_lists(ids, items, of_users=keys == {"user"}, form=form)


def _parsed(line: str, where: str) -> tuple[str, Any, list[Any]]:
    """Return the key of the id, "id" or "user", the id and the items of a line of JSON."""
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InputError(f"not valid JSON: {error}", place=where, remedy=_LINE) from None
    named = [key for key in ("id", "user") if isinstance(value, dict) and key in value]
    if not isinstance(value, dict) or len(named) != 1 or set(value) != {named[0], "items"}:
        held = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise InputError(
            f"expected an object with the keys id (or user) and items, got {held}",
            place=where,
            remedy=_LINE,
        )
    name, items = value[named[0]], value["items"]
    if not _is_id(name):
        raise InputError(f"expected an id, got {name!r}", place=where, remedy=_LINE)
    if not isinstance(items, list) or not all(map(_is_id, items)):
        raise InputError(
            f"expected a list of ids as items, got {str(items)[:60]}", place=where, remedy=_LINE
        )
    return named[0], name, items


def _is_id(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""


def _of_lists(
    ids: Ids | range, lists: Sequence[Sequence[Any]], *, of_users: bool, form: str = ""
) -> GivenHistories:
    """Return the histories of sequences of items, oldest first."""
    for each in lists:
        if isinstance(each, str | bytes) or not hasattr(each, "__len__"):
            raise InputError(
                f"expected a sequence of items, got {each!r}",
                place="histories",
                remedy='give a list of items for each history, as in [["i07", "i03"]]',
            )
    length = np.array([len(each) for each in lists], dtype=np.int64)
    items = [item for each in lists for item in each]
    names = ids if of_users else pl.Series("user", ids, strict=False)
    return GivenHistories(names, items, length, form, of_users)


def _of_frame(data: Any) -> GivenHistories:
    """Return the histories of a frame with a row per event.

    Raises:
        InputError: another value, or a column is missing.
    """
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    columns = getattr(data, "columns", None)
    if columns is None:
        raise InputError(
            f"expected histories, got {type(data).__name__}",
            place="histories",
            remedy='give a frame with a row per event, a mapping as in {"ann": ["i07", "i03"]}, '
            "a list of lists, or the path of a file",
        )
    roles, of_users = _roles([str(name) for name in columns], {}, "histories")
    return _of_log(read_frame(data, Source(**roles)), roles, "histories", of_users=of_users)


def _roles_of_file(path: Path, columns: Mapping[str, str | int]) -> tuple[dict[str, Any], bool]:
    """Return the columns of a file by role, and whether its ids are of users.

    A file without names of columns has roles by position, and the result is empty.
    """
    known = {role: name for role, name in columns.items() if isinstance(name, str)}
    kind = guess(path)
    if kind == "parquet":
        return _roles(open_parquet(path).names, known, str(path))
    if kind == "csv" and (table := open_delimited(path)).header:
        return _roles(table.names, known, str(path))
    return {}, True


def _roles(
    names: Sequence[str], known: Mapping[str, str], place: str
) -> tuple[dict[str, Any], bool]:
    """Return the columns of ids and items, and whether the ids are of users.

    Args:
        names: the columns of the table.
        known: names of the columns in the data of a run, by role. The column of times is in the
            result only if it has the name of the run; reading finds one with a usual name.
        place: of the table, for errors.

    Raises:
        InputError: no column of items, or none of ids.
    """
    chosen = {role: name for role, name in known.items() if name in names}
    by_folded = {folded(name): name for name in reversed(names) if name not in chosen.values()}
    for role in ("user", "item"):
        word = next((word for word in KNOWN[role] if word in by_folded), None)
        if role not in chosen and word is not None:
            chosen[role] = by_folded[word]
    of_users = "user" in chosen
    word = next((word for word in _VISITS if word in by_folded), None)
    if not of_users and word is not None:
        chosen["user"] = by_folded[word]
    listing = ", ".join(names)
    if "item" not in chosen:
        raise InputError(
            f"no column looks like the items; the columns are {listing}",
            place=place,
            remedy=f"call it {known.get('item', 'item')}",
        )
    if "user" not in chosen:
        raise InputError(
            f"no column looks like the ids of the histories; the columns are {listing}",
            place=place,
            remedy=f"call it {known.get('user', 'user')}, session or id",
        )
    return chosen, of_users


def _of_log(
    raw: RawParts, names: Mapping[str, str], place: str, *, of_users: bool = True
) -> GivenHistories:
    """Return the histories of a log.

    Args:
        raw: the events.
        names: the columns of ids and items; empty if the log has no names.
        place: of the log, for errors.
        of_users: whether the ids are of users.

    Raises:
        InputError: the log is split into parts.
    """
    if raw.all is None:
        raise InputError(
            "a log that is split into train and test",
            place=place,
            remedy="give one file with the histories",
        )
    frame, dropped = positives(raw.all)
    notes = (f"{place}: {dropped}",) if dropped else ()
    ids = frame["user"].unique(maintain_order=True)
    row = ids.to_frame().with_row_index("row")
    owner = frame.select("user").join(row, on="user", maintain_order="left")["row"].to_numpy()
    keys = [owner]
    time = None
    unit: Unit = "s"
    if "time" in frame.columns:
        (time,), unit = count_ticks([frame["time"]])
        keys.insert(0, time)
    order = np.lexsort(keys)
    form = f"{place}: a log, {_counted(len(ids))} in order of {'rows' if time is None else 'time'}"
    if names:
        form += f" (ids: {names['user']}, items: {names['item']})"
    return GivenHistories(
        ids,
        frame["item"].gather(order),
        np.bincount(owner, minlength=len(ids)),
        form,
        of_users,
        None if time is None else time[order],
        unit,
        notes,
    )


def _counted(n: int) -> str:
    return f"{n:,} {'history' if n == 1 else 'histories'}"
