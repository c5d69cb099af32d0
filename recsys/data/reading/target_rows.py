"""RecBole files with one row per target: `user_id:token item_id_list:token_seq item_id:token`.

The list of a row is the history of its user before the target, so the lists of a user overlap. They
are not events. The log of a user is the longest list with its target, and every other row must be a
beginning of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import polars as pl

from recsys.data.raw_parts import RawLog, with_ids_of_one_type
from recsys.data.reading.delimited import DelimitedTable
from recsys.data.reading.normalisation import normalise
from recsys.data.reading.session_logs import session_notes
from recsys.data.reading.source import Source
from recsys.data.reading.text_files import head
from recsys.data.row_errors import first_true
from recsys.errors import InputError
from recsys.notebook import counted

__all__ = ["column_types", "read_target_rows", "without_earlier"]

_REMEDY = "give lists that hold the whole history of a user, or a file with one event per row"
# Columns of the rows while they are read; column names cannot hold a null character.
_WHOLE = "\0whole"
_ROW = "\0row"


def column_types(path: Path, separator: str) -> dict[str, str]:
    """Return the type of each column of a header `name:type`, "" for a name without a type."""
    first = next(line for line in head(path) if line.strip())
    cells = (cell.strip().partition(":") for cell in first.split(separator))
    return {name: kind for name, _, kind in cells}


def read_target_rows(
    table: DelimitedTable, chosen: Mapping[str, str], history: str, source: Source
) -> RawLog:
    """Return the events of a file with one row per target, user by user in time order.

    Args:
        table: the file.
        chosen: role to column, as from `choose`; `item` is the column of targets.
        history: the column of lists, separated by blanks.
        source: the settings.

    Raises:
        InputError: rows of a user whose lists disagree, a row without a user or a target, or a
            setting that names a column of the targets.
    """
    ids = {role: chosen[role] for role in ("user", "item")}
    unread = _unread(chosen, history, source, table.path)
    rows, row_notes = table.collect([*ids.values(), history])
    rows = rows.with_row_index(_ROW)
    notes = [*row_notes]
    is_missing = (pl.col(list(ids.values())).fill_null("") == "").cast(pl.Boolean)
    complete = rows.filter(~pl.any_horizontal(is_missing))
    if complete.height < rows.height:
        if source.nulls == "error":
            normalise(rows, ids, table.where)  # raises the error of a missing id
        count = f"{rows.height} -> {complete.height} rows"
        notes.append(f"rows without user or item dropped: {count}")
    user, item = ids["user"], ids["item"]
    whole = pl.concat_str(pl.col(history), pl.col(item), separator=" ", ignore_nulls=True)
    whole = whole.str.replace_all(r"\s+", " ").str.strip_chars() + " "
    complete = complete.select(_ROW, user, whole.alias(_WHOLE))
    longest = _longest(complete, user, table)
    events = longest.with_columns(
        pl.col(_WHOLE).str.strip_chars().str.split(" ").alias(item)
    ).explode(item)
    places = events[_ROW]
    columns = ids | ({"session": user} if "session" in chosen else {})
    frame, id_notes = normalise(events, columns, lambda row: table.where(int(places[row])))
    notes += [
        f"{counted(complete.height, 'target')} with histories in '{history}', read as the longest "
        f"history of each of {counted(longest.height, 'user')}",
        *unread,
        *id_notes,
        *session_notes(frame, chosen),
    ]
    return RawLog(frame, notes=tuple(notes), histories=True)


def _unread(chosen: Mapping[str, str], history: str, source: Source, path: Path) -> list[str]:
    """Return a note on columns that only the targets have, so that they are not read.

    Raises:
        InputError: the settings name such a column.
    """
    own = ("user", "item", *(["session"] if chosen.get("session") == chosen["user"] else []))
    others = {role: name for role, name in chosen.items() if role not in own}
    for role in others:
        if getattr(source, role) is not None:
            raise InputError(
                f"{role} = {getattr(source, role)!r} belongs to the target of a row, "
                f"and the events in '{history}' have none",
                place=str(path),
                remedy="leave it out, or give a file with one event per row",
            )
    return [f"{', '.join(others.values())} of the targets not read"] if others else []


def _longest(rows: pl.DataFrame, user: str, table: DelimitedTable) -> pl.DataFrame:
    """Return the longest row of each user, in the order in which users first occur.

    Args:
        rows: the row number, the user, and the list with the target as text.
        user: the column of users.
        table: the file.

    Raises:
        InputError: a row is not a beginning of the longest of its user.
    """
    size = pl.col(_WHOLE).str.len_bytes()
    longest = rows.group_by(user, maintain_order=True).agg(pl.col(_ROW, _WHOLE).get(size.arg_max()))
    both = rows.join(longest, on=user, how="left", suffix="_longest", maintain_order="left")
    agrees = both.select(pl.col(f"{_WHOLE}_longest").str.starts_with(pl.col(_WHOLE))).to_series()
    if agrees.all():
        return longest
    row = both.row(first_true(~agrees), named=True)
    here, other = row[_WHOLE].split(), row[f"{_WHOLE}_longest"].split()
    place = next(place for place, item in enumerate(here) if item != other[place])
    raise InputError(
        f"the histories of user '{row[user]}' disagree: event {place + 1} is '{here[place]}', "
        f"and '{other[place]}' in {_line(table, row[f'{_ROW}_longest'])}",
        place=table.where(row[_ROW]),
        remedy=_REMEDY,
    )


def _line(table: DelimitedTable, row: int) -> str:
    """Return the place of a row without the path."""
    return table.where(row).removeprefix(f"{table.path}, ")


def without_earlier(
    parts: Mapping[str, pl.DataFrame], paths: Mapping[str, Path]
) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """Return the parts without the events of earlier parts, with which their histories begin.

    A note gives the number of events that are left out of each part.

    Args:
        parts: train, valid and test, as far as they exist; user and item, user by user in time
            order.
        paths: the file of each part, for errors.

    Raises:
        InputError: the history of a user does not begin with that in an earlier part.
    """
    frames = dict(zip(parts, with_ids_of_one_type(list(parts.values())), strict=True))
    notes = []
    names = list(frames)
    place = pl.int_range(pl.len()).over("user").alias("place")
    known = frames[names[0]].with_columns(place)
    for earlier, name in pairwise(names):
        part = frames[name].with_columns(place)
        _check_continues(known, part, (paths[earlier].name, paths[name]))
        sizes = known.group_by("user").len("known")
        part = part.join(sizes, on="user", how="left", maintain_order="left")
        is_new = part["place"] >= part["known"].fill_null(0)
        frames[name] = frames[name].filter(is_new)
        notes.append(f"{name}: events of earlier parts left out, {frames[name].height} remain")
        known = pl.concat([known, part.filter(is_new).select(known.columns)])
    return frames, notes


def _check_continues(known: pl.DataFrame, part: pl.DataFrame, files: tuple[str, Path]) -> None:
    """Raise an error about a history that does not begin with the known one of its user.

    Args:
        known: user, item and place of all events of earlier parts.
        part: those of a part.
        files: name of the earlier file, and path of this one.
    """
    shared = known.filter(pl.col("user").is_in(part["user"].unique().implode()))
    both = shared.join(part, on=["user", "place"], how="left", maintain_order="left")
    differs = ~(both["item"] == both["item_right"]).fill_null(value=False)
    if not differs.any():
        return
    row = both.row(first_true(differs), named=True)
    now = "missing" if row["item_right"] is None else f"'{row['item_right']}'"
    raise InputError(
        f"the history of user '{row['user']}' does not begin with that in {files[0]}: "
        f"event {row['place'] + 1} is {now}, and '{row['item']}' there",
        place=str(files[1]),
        remedy=_REMEDY,
    )
