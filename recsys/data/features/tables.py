"""What stands beside the interactions in files: the titles and the feature tables of the items."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.config import settings
from recsys.data.features.encoder import encoder_of
from recsys.data.reading.text_files import require
from recsys.data.types import FeatureTable, Vocab
from recsys.data.unmatched import Tell, tell_unmatched
from recsys.errors import InputError, suggest

__all__ = [
    "Texts",
    "feature_table",
    "feature_tables",
    "ids_of",
    "require_finite",
    "seen_from",
    "table_of",
    "texts",
]


@settings
class Texts:
    """A table with a text per item: Parquet, or delimited text in any encoding; columns by name, by position without header."""

    path: str
    item: str | int
    title: str | int
    separator: str = ","
    header: bool = True
    encoding: str = "utf-8"


def texts(path: Path, how: Texts, items: Vocab, tell: Tell | None = None) -> pl.Series:
    """The text of every item, String [n_items], null where the table has none; of several the first.

    `tell` is called with what there is to say of rows that belong to no item.

    Raises:
        InputError: the table cannot be read so, or lacks a column.
    """
    frame = table_of(path, how, "check `texts` in the entry", "titles")
    for column in (how.item, how.title):
        if isinstance(column, str) and column not in frame.columns:
            raise InputError(
                f"no column '{column}'", place=str(path), remedy=suggest(column, frame.columns)
            )
        if isinstance(column, int) and not 0 <= column < frame.width:
            raise InputError(
                f"no column {column}: there are {frame.width}",
                place=str(path),
                remedy="count from 0",
            )
    ids, text = (
        frame[frame.columns[column] if isinstance(column, int) else column]
        for column in (how.item, how.title)
    )
    rows = items.rows(ids)
    tell_unmatched(tell, ids, items, "titles", str(path), rows)
    known = np.flatnonzero(rows >= 0)[::-1]
    place = np.full(len(items), -1, dtype=np.int64)
    place[rows[known]] = known
    return (
        text.cast(pl.String).gather(pl.Series(place).set(pl.Series(place < 0), None)).alias("title")
    )


def table_of(
    path: Path,
    how: Texts,
    remedy: str = "check that it is delimited text in UTF-8, or Parquet",
    what: str = "items",
    *,
    even: bool = False,
) -> pl.DataFrame:
    """All columns of a table of items; those of delimited text are texts.

    Args:
        path: of the table.
        how: what it is written in.
        remedy, what: words of the message.
        even: a line of delimited text with more or fewer fields than the first is an error; otherwise it is cut, or filled up with nulls, as is
            good enough for titles to show.

    Raises:
        InputError: it cannot be read so.
    """
    try:
        return (
            pl.read_parquet(path)
            if path.suffix in (".parquet", ".pq")
            else _delimited(path, how, even)
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError, LookupError, OSError) as error:
        raise InputError(
            f"cannot be read as a table of {what}: {_said(error)}", place=str(path), remedy=remedy
        ) from None


def _delimited(path: Path, how: Texts, even: bool) -> pl.DataFrame:
    text = path.read_bytes().decode(how.encoding)
    separator = how.separator
    if len(separator) > 1:
        text, separator = text.replace(separator, "\t"), "\t"
    # Titles hold stray quotes; quoting is only used where the separator may occur in a title.
    quoted = separator in ",;"
    text = _even(path, text, separator, quoted) if even else text
    return pl.read_csv(
        io.StringIO(text),
        separator=separator,
        has_header=how.header,
        infer_schema=False,
        quote_char='"' if quoted else None,
        truncate_ragged_lines=True,
    )


def _even(path: Path, text: str, separator: str, quoted: bool) -> str:
    """The text without blank lines, each line with as many fields, and every quote where it belongs: `5" disk` is taken for what it says.

    Raises:
        InputError: a line has more or fewer fields than the first.
    """
    limit = csv.field_size_limit(sys.maxsize)  # a long text is no fault
    written = io.StringIO()
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        writer = csv.writer(written, delimiter=separator, lineterminator="\n")
        first, line = 0, 1
        for fields in reader:
            first = first or len(fields)
            if fields and len(fields) != first:
                cause = f"{len(fields)} fields, and the first line has {first}"
                remedy = (
                    f'put a text that holds "{separator}" or a line break into quotes'
                    if quoted
                    else "take the separator out of the texts"
                )
                raise InputError(cause, place=f"{path}, line {line}", remedy=remedy)
            if fields and quoted:
                writer.writerow(fields)
            elif fields:
                written.write(separator.join(fields) + "\n")
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)
    return written.getvalue()


def feature_tables(
    where: str | Path | Mapping[str, Any], base: Path, items: Vocab, tell: Tell | None = None
) -> dict[str, FeatureTable]:
    """The modalities that `[data] features` names, aligned with the vocabulary.

    Args:
        where: a file or folder by modality, or what is at hand, as `feature_table` takes it; or one folder, whose modalities are its files
            `NAME_feat.npy`, as MMRec lays them, and `NAME.parquet` with the columns `item` and `values`.
        base: what relative paths are seen from first; then from the working folder.
        items: the vocabulary whose rows the tables get.
        tell: called with what there is to say of rows that belong to no item.

    Raises:
        InputError: as `feature_table`; there is no modality, or no item of the data has one.
    """
    found: dict[str, Any]
    if isinstance(where, str | Path):
        folder = seen_from(base, where)
        if not folder.is_dir():
            _require_beside(base, folder)
            raise InputError(
                "is no folder of feature tables",
                place=str(folder),
                remedy=f'name the modality, as in features = {{ text = "{where}" }}',
            )
        found = {
            path.name.removesuffix("_feat.npy"): path for path in sorted(folder.glob("*_feat.npy"))
        }
        found |= {
            path.stem: path
            for path in sorted(folder.glob("*.parquet"))
            if {"item", "values"} <= set(_columns(path))
        }
        if not found:
            raise InputError(
                "holds no feature table",
                place=str(folder),
                remedy="it takes files NAME_feat.npy, or NAME.parquet with item and values",
            )
    else:
        found = {
            name: seen_from(base, given) if isinstance(given, str | Path) else given
            for name, given in where.items()
        }
    tables = {}
    for name, given in found.items():
        if isinstance(given, Path):
            _require_beside(base, given)
        place = str(given) if isinstance(given, Path) else f"features '{name}'"
        tables[name] = feature_table(given, items, place, name=name, tell=tell)
        if not tables[name].present.any():
            cause = f"no item of the data is in the table of '{name}'"
            raise InputError(
                cause,
                place=place,
                remedy=f"its ids must be those of the data, such as {items.ids[0]!r}",
            )
    return tables


def feature_table(
    given: Any, items: Vocab, place: str = "", *, name: str = "", tell: Tell | None = None
) -> FeatureTable:
    """A modality from files or at hand, numbers of any width, as many for each item.

    Args:
        given: the path of a Parquet file with the columns `item` and `values`, null for an item that lacks the modality; or of `F.npy` [n, d], its
            ids in `F.ids.npy` or `F.ids.txt` (one a line) beside it, or without these row i for the item with the id i, as MMRec numbers them; or of
            a folder of one `ID.npy` per item, as Ducho writes them. Or a pandas or polars frame with the columns of such a Parquet file, or a pair of
            n ids and an array [n, d].
        items: the vocabulary whose rows the table gets.
        place: what to call it in an error; the path by default.
        name: of the modality, for `tell`.
        tell: called with what there is to say of rows that belong to no item.

    Returns:
        values float32 [n_items, d]; an item that the file does not have, or whose row of an array is all NaN, is not present, its row is zeros.

    Raises:
        InputError: the file is missing, damaged, has other columns or rows of different lengths, an id that is missing or none, an item twice, or a
            value that is not finite.
    """
    encoder = None
    if isinstance(given, Path):
        place = place or str(given)
        require(given)
        if given.is_dir():
            stems = pl.Series([file.stem for file in sorted(given.glob("*.npy"))], dtype=pl.String)
            tell_unmatched(tell, stems, items, f"feature {name}", place)
            ids, numbers = _of_folder(given, items)
        elif given.suffix == ".npy":
            ids, numbers = _of_array(given, items)
        else:
            (ids, numbers), encoder = _of_parquet(given), encoder_of(given)
    else:
        ids, numbers = _at_hand(given, place)
    rows = items.rows(ids)
    if not (isinstance(given, Path) and given.is_dir()):
        tell_unmatched(tell, ids, items, f"feature {name}", place, rows)
    at = np.flatnonzero(rows >= 0)
    if len(np.unique(rows[at])) < len(at):
        twice = ids.filter(pl.Series(rows >= 0)).filter(
            pl.Series(np.bincount(rows[at])[rows[at]] > 1)
        )[0]
        raise InputError(
            f"item {twice!r} is there twice", place=place, remedy="give a row per item"
        )
    wide, present = (
        np.zeros((len(items), numbers.shape[1]), dtype=np.float32),
        np.zeros(len(items), dtype=bool),
    )
    with np.errstate(over="ignore"):  # what is too large for 32 bits is found below
        chosen = np.asarray(numbers[at], dtype=np.float32)
    known = ~np.isnan(chosen).all(1)
    require_finite(ids.gather(at[known]), chosen[known], place)
    wide[rows[at[known]]], present[rows[at[known]]] = chosen[known], True
    return FeatureTable(wide, present, encoder)


def ids_of(ids: pl.Series, place: str) -> pl.Series:
    """Ids as texts or whole numbers, whatever column they came in.

    Raises:
        InputError: they are of another type, or one is missing.
    """
    if isinstance(ids.dtype, pl.Categorical | pl.Enum):
        ids = ids.cast(pl.String)
    if (ids.dtype.is_float() or ids.dtype.is_decimal()) and (
        ids == ids.floor()
    ).all():  # an integer column that once had a gap
        ids = ids.cast(pl.Int64, strict=False)
    if not (ids.dtype == pl.String or ids.dtype.is_integer() or ids.dtype == pl.Null):
        raise InputError(
            f"'{ids.name}' holds {ids.dtype}, not ids",
            place=place,
            remedy="write ids as text or whole numbers",
        )
    if ids.null_count():
        cause = f"{ids.null_count()} of {len(ids)} ids {'is' if ids.null_count() == 1 else 'are'} missing"
        raise InputError(cause, place=place, remedy="leave the row out")
    return ids


def require_finite(
    ids: pl.Series, numbers: np.ndarray, place: str, where: str = "its vector"
) -> None:
    """Raise an InputError that names the first item with a value that is no number; numbers [n, d] of n ids."""
    bad = np.flatnonzero(~np.isfinite(numbers).all(1))
    if len(bad):
        cause = f"item {ids[int(bad[0])]!r} has a value in {where} that is not a finite number"
        more = f" ({len(bad)} of {len(ids)} items have)" if len(bad) > 1 else ""
        raise InputError(cause + more, place=place, remedy="leave out the items that have none")


def _of_parquet(path: Path) -> tuple[pl.Series, np.ndarray]:
    """Ids and vectors [n, d], of width 1 or more."""
    try:
        frame = pl.read_parquet(path, columns=["item", "values"])
    except (pl.exceptions.PolarsError, OSError) as error:
        cause = f"cannot be read as a feature table: {_said(error)}"
        raise InputError(
            cause,
            place=str(path),
            remedy="it needs the columns `item` and `values`, a list of numbers",
        ) from None
    return _of_columns(frame["item"], frame["values"], str(path))


def _of_columns(ids: pl.Series, values: pl.Series, place: str) -> tuple[pl.Series, np.ndarray]:
    """The same of two columns."""
    ids = ids_of(ids, place)
    if not isinstance(values.dtype, pl.List | pl.Array) or values.dtype.inner.is_nested():
        raise InputError(
            f"`values` is {values.dtype}",
            place=place,
            remedy="it needs the columns `item` and `values`, a list of numbers",
        )
    ids, values = (
        ids.filter(values.is_not_null()),
        values.drop_nulls(),
    )  # who has no vector lacks the modality
    if not len(values):
        raise InputError(
            "`values` is empty in every row", place=place, remedy="give the items that have vectors"
        )
    lengths = (
        values.list.len() if isinstance(values.dtype, pl.List) else values.arr.len()
    ).to_numpy()
    dim = int(lengths[0])
    if not lengths.all():
        cause = f"`values` is empty for item {ids[int(np.argmin(lengths))]!r}"
        raise InputError(cause, place=place, remedy="leave the item out, or write null")
    if (lengths != dim).any():
        other = int(np.argmax(lengths != dim))
        cause = f"different lengths in `values`: {dim} for item {ids[0]!r}, {lengths[other]} for item {ids[other]!r}"
        raise InputError(cause, place=place, remedy="give every item as many numbers")
    try:
        numbers = values.explode().cast(pl.Float32).to_numpy().reshape(-1, dim)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(
            f"`values` are no numbers: {_said(error)}",
            place=place,
            remedy="give every item a list of numbers",
        ) from None
    require_finite(ids, numbers, place)
    return ids, numbers


def _at_hand(given: Any, place: str) -> tuple[pl.Series, np.ndarray]:
    """Ids and vectors [n, d] of a frame with `item` and `values`, or of a pair of them."""
    remedy = "give a path, a frame with the columns `item` and `values`, or a pair of ids and an array with a row for each"
    try:
        if isinstance(given, tuple):
            ids, numbers = pl.Series("item", given[0]), np.asarray(given[1])
            if (
                len(given) == 2
                and numbers.ndim == 2
                and numbers.size
                and numbers.dtype.kind in "fiub"
                and len(ids) == len(numbers)
            ):
                return ids_of(ids, place), numbers
            raise InputError(
                f"{len(ids)} ids and {numbers.dtype} {list(numbers.shape)}",
                place=place,
                remedy=remedy,
            )
        if isinstance(given, pl.DataFrame):
            return _of_columns(given["item"], given["values"], place)
        columns = {
            name: [
                None if gone else one
                for one, gone in zip(given[name], given[name].isna(), strict=True)
            ]
            for name in ("item", "values")
        }
        vectors = [None if one is None else np.asarray(one).tolist() for one in columns["values"]]
        return _of_columns(pl.Series("item", columns["item"]), pl.Series("values", vectors), place)
    except (
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        pl.exceptions.PolarsError,
    ) as error:
        raise InputError(
            f"{type(given).__name__} is no feature table: {_said(error)}",
            place=place,
            remedy=remedy,
        ) from None


def _of_array(path: Path, items: Vocab) -> tuple[pl.Series, np.ndarray]:
    """Ids and vectors [n, d] of an array; ids from the file beside it, or the numbers of the rows."""
    numbers = _array(path, "fiub", "as plain numbers, with .astype('float32')")
    if numbers.ndim != 2 or not numbers.size:
        raise InputError(
            f"has the shape {list(numbers.shape)}",
            place=str(path),
            remedy="give an array of n items with d numbers each",
        )
    beside = [path.with_suffix(suffix) for suffix in (".ids.npy", ".ids.txt")]
    ids_at = next((file for file in beside if file.exists()), None)
    if ids_at is None:
        if not items.ids.dtype.is_integer():
            cause = "has no ids, and those of the data are no row numbers"
            raise InputError(
                cause,
                place=str(path),
                remedy=f"write them, one a line, to {beside[1].name} beside it",
            )
        known = items.ids.to_numpy()
        if known.max(initial=0) >= len(numbers) or known.min(initial=0) < 0:
            cause = f"has {len(numbers)} rows and no ids, but there are items from {known.min()} to {known.max()}"
            raise InputError(
                cause,
                place=str(path),
                remedy=f"if row i is not item i, write the ids, one a line, to {beside[1].name} beside it",
            )
        return pl.Series(np.arange(len(numbers))), numbers
    if ids_at.suffix == ".npy":
        array = _array(
            ids_at, "fiuU", f"as text, with .astype(str), or one a line in {beside[1].name} instead"
        )
        if array.ndim != 1:
            raise InputError(
                f"has the shape {list(array.shape)}",
                place=str(ids_at),
                remedy="give one id for every row",
            )
        ids = pl.Series("it", array)
    else:
        try:
            ids = pl.Series(ids_at.read_text(encoding="utf-8").split("\n")).str.strip_chars("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"cannot be read as ids: {_said(error)}",
                place=str(ids_at),
                remedy="write one id a line",
            ) from None
        ids = ids.head(-1) if len(ids) and ids[-1] == "" else ids
    if len(ids) != len(numbers):
        raise InputError(
            f"{len(ids)} ids for {len(numbers)} rows",
            place=str(ids_at),
            remedy="give an id for every row",
        )
    return ids_of(ids, str(ids_at)), numbers


def _of_folder(path: Path, items: Vocab) -> tuple[pl.Series, np.ndarray]:
    """Ids and vectors of a folder with an array per item, each [d] or [1, d]; only those of known items are read."""
    files = sorted(path.glob("*.npy"))
    if not files:
        raise InputError(
            "holds no array",
            place=str(path),
            remedy="give a folder with one ID.npy per item, or the file of a table",
        )
    ids = pl.Series([file.stem for file in files])
    known = np.flatnonzero(items.rows(ids) >= 0)
    chosen = [files[at] for at in (known if len(known) else [0])]
    numbers = np.empty((0, 0), dtype=np.float32)
    for row, file in enumerate(chosen):
        # Read as a copy: a map of each would hold as many files open.
        vector = _array(
            file, "fiub", "as plain numbers, with .astype('float32')", mapped=False
        ).reshape(-1)
        if row == 0:
            numbers = np.empty((len(chosen), vector.size), dtype=np.float32)
        if vector.size != numbers.shape[1]:
            said = f"{numbers.shape[1]} in {chosen[0].name} and {vector.size} in {file.name}"
            raise InputError(
                f"vectors differ in length: {said}",
                place=str(path),
                remedy="give every item as many numbers",
            )
        with np.errstate(over="ignore"):
            numbers[row] = vector
    return ids[known.tolist()], numbers[: len(known)]


def _array(path: Path, kinds: str, wanted: str, *, mapped: bool = True) -> np.ndarray:
    """An array of some kinds of values; nothing in the file is run.

    Args:
        path: as numpy.save writes it.
        kinds: letters of `dtype.kind`.
        wanted: what to save instead, for the message.
        mapped: left on the disk until it is asked for, the file held open.
    """
    remedy = f"write it again by numpy.save {wanted}"
    try:
        made = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"cannot be read as an array: {_said(error)}", place=str(path), remedy=remedy
        ) from None
    if not isinstance(made, np.ndarray) or made.dtype.kind not in kinds:
        what = "ids" if "U" in kinds else "numbers"
        raise InputError(
            f"holds {getattr(made, 'dtype', 'several arrays')}, not {what}",
            place=str(path),
            remedy=remedy,
        )
    return made


def _columns(path: Path) -> list[str]:
    try:
        return list(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError):
        return []


def seen_from(base: Path, text: str | Path) -> Path:
    """A path that stands beside the interactions: from their folder where there is such a thing, else from the working folder."""
    path = Path(text).expanduser()
    return base / path if (base / path).exists() else path


def _require_beside(base: Path, path: Path) -> None:
    """Raise an InputError that names what is beside the interactions where a path is neither there nor seen from the working folder."""
    if not path.exists():
        require(base / path)


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
