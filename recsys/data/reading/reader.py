"""Raw files and frames of any origin to frames with the columns user, item, time, weight, label, behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl

from recsys.config import Bound, settings
from recsys.data.reading import formats
from recsys.data.reading.columns import NONE, ROLES, choose, empty_roles, folded, normalise
from recsys.data.reading.formats import NumberedInteractions
from recsys.data.reading.locate import Format, guess, listing, locate
from recsys.data.reading.table import Table, parquet, parquet_files, scan_text
from recsys.data.types import Vocab
from recsys.data.unmatched import Tell, tell_unmatched
from recsys.errors import InputError, first_line, one_of

__all__ = ["Parts", "Source", "frame", "read", "titles"]

Column = str | int | None
Core = Annotated[int, Bound(ge=0)]

# What a format reads of the settings that say how a file is written; any other is refused.
_READS: Mapping[str, tuple[str, ...]] = {
    "csv": (*ROLES, "separator", "quote", "header", "ordered", "nulls"),
    "parquet": (*ROLES, "ordered", "nulls"),
    "inter": (*ROLES, "separator", "quote", "ordered", "nulls"),
    "x-label": ("user", "item", "time", "weight", "behaviour", "separator", "quote", "ordered"),
    "noise-flag": ("weight", "label", "ordered"),
} | dict.fromkeys(("adjacency", "users-dat", "json-lists", "npz", "npy"), ("ordered",))
_FILE_SETTINGS = (*ROLES, "separator", "quote", "header", "ordered", "nulls")
# What only a table with columns has: with one of these given, lines of numbers are no lists.
_TABLE_SETTINGS = (*ROLES, "separator", "quote", "header")


@settings
class Source:
    """Where the interactions come from, and what of them is kept.

    Ids of a text file that are whole numbers throughout become integers; those of Parquet and of a frame keep their type.

    Args:
        source: name of a data set of the catalogue; what is set beside it wins over the catalogue's own settings.
        path: a file, a folder, or the folder (or the beginning of the names) of presplit files.
        train, valid, test: presplit files, seen from `path` where that is a folder.
        format: how they are written; "auto" tells from name and first lines, and the history says what it took them for.
        user, item, time, weight, label, behaviour: column names, or positions from 0. Untold, the usual names are tried
            (user_id, CustomerID, movieId, timestamp, rating, ...) and, in a file without header, the order user item weight time.
            A label (1 clean, 0 known noise) is only read when named. "none" for time, weight, label or behaviour: there is none, whatever
            columns are called. A column that is not named and holds nothing is left out.
        separator, header: of delimited text; told from the first lines when not given.
        quote: the character in which a field of delimited text may stand; "" where none quotes. Not given: `"`, and none in text separated
            by tabs or `::`, where quotes are part of the values; nor in .inter files.
        ordered: rows without a time column are in time order, so that their position is the time.
        nulls: what to do with rows that lack a user or an item.
        titles: table with a text per item, CSV or Parquet, its columns an item id and `title` or `name`.
        features: item features by modality, files or folders as `recsys.data.features.tables.feature_table` reads them, seen from the folder of the
            interactions or from the working folder; or one folder of them. They come beside those of the catalogue, and win over the same name.
            A run keeps the absolute paths of these and of `titles`.
        min_weight: keep what has at least this weight. Untold, weights of 0 and below are no positives; 0 or less asks for them.
            With duplicates "sum" or "last" it looks at the sum or the last row of a pair, else at every row.
        clean_weight: label rows by their weight: 1 (clean) where it is at least this, else 0 (noise), as a rating of 2 where 3 is liked.
            Without min_weight all rows stay, those of 0 and below too.
        behaviours: keep these behaviours.
        since, until: keep times from `since` (inclusive) to `until` (exclusive); ISO dates or unix times, UTC.
        duplicates: of one user and item keep the first or last (in time, else in the file), the first with the sum of the
            weights (1 each where there are none), or raise an error.
        user_core, item_core: remove users and items with fewer rows, again and again until none is left.
        min_user: remove users with fewer rows, once, items untouched (the LibCML protocol).
    """

    source: str | None = None
    path: str | None = None
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    format: Format = "auto"
    user: Column = None
    item: Column = None
    time: Column = None
    weight: Column = None
    label: Column = None
    behaviour: Column = None
    separator: str | None = None
    quote: str | None = None
    header: bool | None = None
    ordered: bool = False
    nulls: Literal["error", "drop"] = "error"
    titles: str | None = None
    features: str | Mapping[str, str] | None = None
    min_weight: float | None = None
    clean_weight: float | None = None
    behaviours: tuple[str, ...] | None = None
    since: str | int | None = None
    until: str | int | None = None
    duplicates: Literal["first", "last", "sum", "error"] = "first"
    user_core: Core = 0
    item_core: Core = 0
    min_user: Core = 0


@dataclass(frozen=True, eq=False)
class Parts:
    """What a source holds, with outside ids.

    Args:
        all: one log, or None where the source is split already into
        train, valid, test: frames of user, item and, where known, time (Datetime), weight (Float64), label (Int8), behaviour (String).
        users, items: the ids that exist where the format numbers them, those that never occur included; None: the ids that occur.
        history: what was read and guessed, one line per step.
        in_file_order: whether the order of the rows says anything: not in a matrix, nor in a folder of many files.
    """

    all: pl.DataFrame | None = None
    train: pl.DataFrame | None = None
    valid: pl.DataFrame | None = None
    test: pl.DataFrame | None = None
    users: range | None = None
    items: range | None = None
    history: tuple[str, ...] = ()
    in_file_order: bool = True

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """The frames that are there, by name."""
        return {
            name: value
            for name in ("all", "train", "valid", "test")
            if (value := getattr(self, name)) is not None
        }

    def each(self, change: Callable[[pl.DataFrame], tuple[pl.DataFrame, str | None]]) -> Parts:
        """The parts after a step of preparation on each frame, with its note in the history."""
        frames: dict[str, Any] = {}
        history = list(self.history)
        for name, value in self.frames.items():
            frames[name], note = change(value)
            if note:
                history.append(note if name == "all" else f"{name}: {note}")
        return replace(self, **frames, history=tuple(history))


def read(source: Source) -> Parts:
    """Read the file or files of a source; nothing is filtered yet.

    Raises:
        InputError: names the file, the line and the column where something is wrong, and what to do.
    """
    given = {name: value for name in ("train", "valid", "test") if (value := getattr(source, name))}
    found = locate(source.path, given, whole=source.format == "parquet")
    table = any(getattr(source, name) is not None for name in _TABLE_SETTINGS)
    first = next(iter(found.values()))
    beside = [path for path in found.values() if path != first]
    chosen = source.format
    if chosen == "auto":
        chosen = guess(first, table=table, beside=beside)
    opened = "" if source.format == chosen else " (guessed)"
    _only_read(source, chosen, opened, first)
    tables = {name: _read_one(path, chosen, source) for name, path in found.items()}
    history = tuple(
        f"{path.name}: {chosen}{opened}{''.join(', ' + note for note in tables[name].notes)}, {tables[name].frame.height} rows"
        for name, path in found.items()
    )
    frames = _alike({name: value.frame for name, value in tables.items()})
    if source.ordered and not any(
        "time" in each.columns for each in frames.values()
    ):  # a part without times beside one that has them gets none
        frames = {name: _by_row(each) for name, each in frames.items()}
    if chosen == "x-label":
        if "all" not in frames:
            raise InputError(
                "an x-label file holds all three parts",
                place=str(first),
                remedy="give it as path",
            )
        frames = _by_label(frames["all"], found["all"])
    users, items = (
        _joined([getattr(value, role) for value in tables.values()], chosen, found)
        for role in ("users", "items")
    )
    if users and items and chosen == "adjacency" and (users.start or items.start):
        history += (f"users from {users.start}, items from {items.start}",)
    in_file_order = chosen != "npz" and not any(map(_many_files, found.values()))
    return Parts(**frames, users=users, items=items, history=history, in_file_order=in_file_order)


def frame(
    data: Any,
    *,
    user: Column = None,
    item: Column = None,
    time: Column = None,
    weight: Column = None,
    label: Column = None,
    behaviour: Column = None,
    nulls: Literal["error", "drop"] = "error",
    ordered: bool = False,
    place: str = "data frame",
) -> Parts:
    """The same of a pandas or polars data frame, or of an Arrow table; only the columns used are copied.

    A whole number for a column of a pandas frame is a name where the frame has whole numbers for names, else a position.

    Raises:
        InputError: no frame, no rows, a column that is missing or holds what it should not; says the row.
    """
    one_of(nulls, ("error", "drop"), "nulls")
    data = _from_arrow(data, place)
    names = _frame_names(data, place)
    roles = (user, item, time, weight, label, behaviour)
    wanted = {
        role: _by_name(given, role, data, place) for role, given in zip(ROLES, roles, strict=True)
    }
    asked = [role for role, given in wanted.items() if given is not None]
    chosen = choose(names, wanted, place=place)
    table = _to_polars(data, list(chosen.values()), names, place)
    if not table.height:
        raise InputError(
            "the frame has no rows", place=place, remedy="give a frame with interactions"
        )
    chosen, left = empty_roles(table, chosen, asked)
    result, notes = normalise(
        table, chosen, lambda row: f"{place}, row {row}", nulls=nulls, typed=True
    )
    notes = left + notes
    return Parts(
        all=_by_row(result) if ordered and "time" not in result.columns else result,
        history=(f"{place}: {table.height} rows", *notes),
    )


def titles(
    path: str | Path,
    items: Vocab,
    item: Column = None,
    title: Column = None,
    *,
    tell: Tell | None = None,
) -> pl.Series:
    """The text of every item from an item table; null where it has none.

    Args:
        path: CSV or Parquet with an item id and a text.
        items: the vocabulary whose rows the texts belong to.
        item, title: the columns; untold, the usual names of an item and `title`, `name` or `description`.
        tell: called with what there is to say of rows that belong to no item.

    Returns:
        String [n_items].
    """
    path = Path(path)
    table = parquet(path) if guess(path) == "parquet" else scan_text(path)
    if title is None:
        plain = {folded(name): name for name in reversed(table.names)}
        title = next(
            (plain[word] for word in ("title", "name", "itemname", "description") if word in plain),
            None,
        )
        if title is None:
            raise InputError(
                f"no column looks like the titles; found: {', '.join(table.names)}",
                place=str(path),
                remedy="call it title",
            )
    wanted: dict[str, Column] = {
        "user": title,
        "item": item,
    }  # `choose` asks for two columns: here the text and the item
    chosen = choose(table.names, wanted, place=str(path), header=table.header, sample=table.sample)
    raw = table.collect(list(chosen.values()))
    ids, text = raw[chosen["item"]], raw[chosen["user"]].cast(pl.String)
    rows = items.rows(ids)
    tell_unmatched(tell, ids, items, "titles", str(path), rows)
    known = np.flatnonzero(rows >= 0)
    result = np.full(len(items), -1, dtype=np.int64)
    result[rows[known][::-1]] = known[::-1]  # the first of several
    return text.gather(pl.Series(result).set(pl.Series(result < 0), None)).alias("title")


def _many_files(path: Path) -> bool:
    """Whether a table is a folder of several files, whose rows have no common order."""
    if not path.is_dir():
        return False
    return len(parquet_files(path)) > 1


def _only_read(source: Source, chosen: str, opened: str, path: Path) -> None:
    """Refuse settings that the format has no use for."""
    for name in _FILE_SETTINGS:
        value = getattr(source, name)
        if name not in _READS[chosen] and value not in (getattr(Source, name), NONE):
            other = "leave it out" + (
                ', or say what the file is, as in format = "csv"' if opened else ""
            )
            raise InputError(
                f"{name} = {value!r} is not read from {chosen}{opened}",
                place=str(path),
                remedy=other,
            )


def _read_one(path: Path, chosen: str, source: Source) -> NumberedInteractions:
    """One file as a frame, with its ranges of ids where the format numbers them (empty otherwise)."""
    if path.is_dir() and chosen != "parquet":
        raise InputError(
            f"is a folder, {chosen} is a file",
            place=str(path),
            remedy=f"give one of {listing(path)}",
        )
    match chosen:
        case "adjacency":
            return formats.adjacency(path)
        case "users-dat":
            return formats.users_dat(path)
        case "json-lists":
            return formats.json_lists(path)
        case "npz":
            return formats.matrix(path)
        case "npy":
            return formats.pairs(path)
        case "noise-flag":
            for role in ("label", "weight"):
                if isinstance(getattr(source, role), str) and getattr(source, role) != NONE:
                    raise InputError(
                        f"{role} = '{getattr(source, role)}', but the format has no header",
                        place=str(path),
                        remedy=f"give a position, as in {role} = 2",
                    )
            return formats.noise_flag(path, source.label, source.weight)
        case _:
            return _read_table(path, chosen, source)


def _read_table(path: Path, chosen: str, source: Source) -> NumberedInteractions:
    wanted: dict[str, Column] = {role: getattr(source, role) for role in ROLES}
    asked = [role for role, value in wanted.items() if value is not None]
    table = _open_table(path, chosen, source)
    if chosen == "x-label":
        wanted |= {"label": "x_label"}
        asked.append("label")
    if path.is_file():
        wanted = _soft(wanted, table, source)
    columns = choose(table.names, wanted, place=str(path), header=table.header, sample=table.sample)
    raw = table.collect(list(columns.values()))
    columns, left = empty_roles(raw, columns, asked)
    if chosen != "x-label":
        result, notes = normalise(
            raw, columns, table.where, nulls=source.nulls, typed=chosen == "parquet"
        )
        return NumberedInteractions(
            result,
            range(0),
            range(0),
            (
                *table.notes,
                *(f"{role} = '{name}'" for role, name in columns.items() if role not in asked),
                *left,
                *table.remarks,
                *notes,
            ),
        )
    labels = raw["x_label"].cast(pl.Int64, strict=False)
    bad = ~labels.is_in([0, 1, 2]).fill_null(value=False)
    if bad.any():
        row = int(bad.arg_true()[0])
        raise InputError(
            f"'{raw['x_label'][row]}' is not a part",
            place=f"{table.where(row)}, column 'x_label'",
            remedy="0 is train, 1 valid, 2 test",
        )
    result, notes = normalise(
        raw, {role: name for role, name in columns.items() if role != "label"}, table.where
    )
    result = result.with_columns(labels.cast(pl.Int8).alias("x_label"))
    users, items = (_numbering(result[role]) for role in ("user", "item"))
    return NumberedInteractions(result, users, items, (*left, *notes))


def _open_table(path: Path, chosen: str, source: Source) -> Table:
    """The table that a file or a folder holds, with the names that its columns have in [data]."""
    if chosen == "parquet":
        return parquet(path)
    if chosen == "csv":
        told = [value for role in ROLES if (value := getattr(source, role)) not in (None, NONE)]
        named = None if not told else any(isinstance(value, str) for value in told)
        return scan_text(
            path,
            separator=source.separator,
            header=source.header,
            named=named,
            quote=source.quote,
        )
    quote = "" if source.quote is None else source.quote  # RecBole never quotes
    table = scan_text(path, separator=source.separator or "\t", header=True, quote=quote)
    return _untyped(table) if chosen == "inter" else table


def _numbering(ids: pl.Series) -> range:
    """0..max for ids that are row numbers, as the feature files beside an x-label file take them; else nothing."""
    if ids.dtype != pl.Int64 or not len(ids):
        return range(0)
    least, most = int(ids.min()), int(ids.max())  # type: ignore[arg-type]
    if least < 0 or most > max(10_000_000, 100 * len(ids)):
        return range(0)
    return range(most + 1)


def _soft(wanted: Mapping[str, Column], table: Table, source: Source) -> dict[str, Column]:
    """Presplit files may differ in their columns: valid and test may lack time, weight, label and behaviour."""
    if not source.train:
        return dict(wanted)
    size = len(table.names)
    gone = {
        role
        for role, name in wanted.items()
        if role in ROLES[2:]
        and (
            (isinstance(name, int) and name >= size)
            or (isinstance(name, str) and table.header and name not in (*table.names, NONE))
        )
    }
    return {role: name for role, name in wanted.items() if role not in gone}


def _untyped(table: Table) -> Table:
    """RecBole's header `user_id:token` without the types."""
    names = tuple(name.partition(":")[0] for name in table.names)
    typed = dict(zip(names, table.names, strict=True))
    back = {full: short for short, full in typed.items()}

    def collect(columns: Sequence[str]) -> pl.DataFrame:
        return table.collect([typed[name] for name in columns]).rename(lambda name: back[name])

    return replace(table, names=names, sample=table.sample.rename(back), collect=collect)


def _by_label(everything: pl.DataFrame, path: Path) -> dict[str, pl.DataFrame]:
    parts = {
        name: everything.filter(pl.col("x_label") == code).drop("x_label")
        for code, name in enumerate(("train", "valid", "test"))
    }
    if not parts["train"].height:
        raise InputError(
            "no row has x_label 0, so there is no train part",
            place=str(path),
            remedy="0 is train, 1 valid, 2 test",
        )
    return {name: value for name, value in parts.items() if value.height}


def _alike(frames: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Ids that are whole numbers in one part and text in another: there 7.0, as pandas writes a column with gaps, is 7 as well."""
    for role in ("user", "item"):
        if len({each[role].dtype for each in frames.values()}) > 1:
            whole = pl.col(role).cast(pl.String).str.replace(r"^(0|-?[1-9]\d*)\.0$", "$1")
            frames = {name: each.with_columns(whole) for name, each in frames.items()}
    return frames


def _by_row(result: pl.DataFrame) -> pl.DataFrame:
    """The rows with their position as the time."""
    return result.with_columns(pl.Series("time", np.arange(result.height, dtype=np.int64)))


def _joined(ranges: Sequence[range], chosen: str, found: Mapping[str, Path]) -> range | None:
    """The range that holds all; None for formats that do not number their ids."""
    if chosen in ("csv", "parquet", "inter", "npy"):
        return None
    sized = [each for each in ranges if len(each)]
    if chosen == "npz" and len(set(ranges)) > 1:
        shapes = ", ".join(
            f"{path.name} {len(each)}" for path, each in zip(found.values(), ranges, strict=True)
        )
        raise InputError(
            f"the matrices differ in shape: {shapes}",
            place=str(next(iter(found.values())).parent),
            remedy="write all parts with the shape of the whole",
        )
    return (
        range(min(each.start for each in sized), max(each.stop for each in sized))
        if sized
        else None
    )


def _is_pandas(data: Any) -> bool:
    """Whether this is a pandas frame; pandas is not imported for it."""
    return hasattr(data, "columns") and hasattr(data, "iloc")


def _from_arrow(data: Any, place: str) -> Any:
    """An Arrow table, or what else hands out Arrow data (DuckDB, ...), as a polars frame; anything else as it is."""
    known = isinstance(data, pl.DataFrame | pl.LazyFrame) or _is_pandas(data)
    if known or not hasattr(data, "__arrow_c_stream__"):
        return data
    try:
        return pl.DataFrame(data)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{type(data).__name__} cannot be read: {(str(error).splitlines() or [''])[0][:120]}",
            place=place,
            remedy="give a table of plain columns, each with a name of its own",
        ) from None


def _frame_names(data: Any, place: str) -> list[str]:
    if isinstance(data, pl.LazyFrame):
        return data.collect_schema().names()
    if not _is_pandas(data) and not isinstance(data, pl.DataFrame):
        raise InputError(
            f"expected a data frame, got {type(data).__name__}",
            place=place,
            remedy="give a pandas or polars frame, an Arrow table, or a path",
        )
    names = [str(name) for name in data.columns]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two columns are called '{name}'", place=place, remedy="rename one")
    return names


def _by_name(given: Column, role: str, data: Any, place: str) -> Column:
    """The name of a column of a frame; a whole number is one where the frame has such names."""
    if not isinstance(given, int) or not _is_pandas(data):
        return given
    numbers = [name for name in data.columns if isinstance(name, int | np.integer)]
    if not numbers:
        return given
    if given not in numbers:
        raise InputError(
            f"no column {given} for {role}; the columns are {', '.join(map(str, data.columns))}",
            place=place,
            remedy="the names of the columns are whole numbers: give one of them",
        )
    return str(given)


def _to_polars(data: Any, columns: list[str], names: list[str], place: str) -> pl.DataFrame:
    if isinstance(data, pl.LazyFrame):
        return data.select(columns).collect()
    if isinstance(data, pl.DataFrame):
        return data.select(columns)
    try:
        picked = data.iloc[:, [names.index(column) for column in columns]]
        return pl.DataFrame(
            {column: _series(picked.iloc[:, i], column) for i, column in enumerate(columns)}
        )
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"a column mixes types: {first_line(error, 120)}",
            place=place,
            remedy="give each column one type, as with .astype(str)",
        ) from None


def _series(values: Any, name: str) -> pl.Series:
    """One pandas column; text columns of Python objects through a list, so that pyarrow is not needed."""
    import pandas as pd

    kind = values.dtype
    if isinstance(kind, pd.ArrowDtype):
        return pl.Series(name, values.array.__arrow_array__())
    if isinstance(kind, pd.DatetimeTZDtype):
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
        kind = values.dtype
    if isinstance(kind, np.dtype) and kind.kind == "M":
        array = values.to_numpy()
        # polars has no unit of whole seconds; milliseconds hold them exactly.
        seconds = np.datetime_data(kind)[0] == "s"
        return pl.Series(name, array.astype("datetime64[ms]") if seconds else array)
    if isinstance(kind, np.dtype) and kind.kind in "iuf":
        return pl.Series(name, values.to_numpy())
    return pl.Series(
        name,
        [
            None if missing else value
            for value, missing in zip(values.tolist(), values.isna(), strict=True)
        ],
    )
