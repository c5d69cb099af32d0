"""Feature tables made of what an item table says: vectors of texts, and columns of numbers and kinds.

Only the items speak here, never who met them, so a table may be made before data are split. Texts need scikit-learn: pip install 'recsys[features]'.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.side import Texts, table_of
from recsys.errors import InputError, suggest

__all__ = ["column_vectors", "item_table", "joined_texts", "text_vectors", "write_features"]

_IDS = ("item", "item_id", "itemid", "id", "asin", "StockCode", "movieId")
_RARE = 2  # items that a term must occur in: one that is a single item's tells nothing about others


def item_table(source: str, item: str | None = None) -> tuple[pl.DataFrame, pl.Series]:
    """The columns of an item table, and its ids.

    Args:
        source: Parquet or delimited text with a header, or the name of a data set whose items are described in the catalogue.
        item: the column of the ids; untold, the usual names are tried.

    Raises:
        InputError: there is no such table or column, an id is missing or there twice.
    """
    frame, usual, place = _read(source)
    name = item or usual or next((name for name in _IDS if name in frame.columns), None)
    if name is None:
        raise InputError(f"no column looks like the items; found: {', '.join(frame.columns)}", place=place, remedy="name it: --item COLUMN")
    _require(frame, [name], place)
    ids = frame[name].alias("item")
    if not (ids.dtype == pl.String or ids.dtype.is_integer()):
        raise InputError(f"'{name}' holds {ids.dtype}, not ids", place=place, remedy="name the column of the ids: --item COLUMN")
    if not len(ids) or ids.null_count():
        raise InputError(f"{ids.null_count()} of {len(ids)} ids are missing", place=place, remedy="leave such rows out")
    if ids.n_unique() < len(ids):
        raise InputError(f"item {ids.filter(ids.is_duplicated())[0]!r} is there twice", place=place, remedy="give a row per item")
    return frame, ids


def _read(source: str) -> tuple[pl.DataFrame, str | None, str]:
    """The table, the column of its ids where that is known, and where it is."""
    path = Path(source).expanduser()
    usual = None
    if not path.exists() and "/" not in source and "." not in source:
        from recsys.data import catalog

        entry = catalog.entry(source)
        if entry.texts is None:
            raise InputError(f"'{source}' has no table of items", remedy="give the file of one")
        path, how = catalog.obtain(entry) / entry.texts.path, entry.texts
        usual = how.item if isinstance(how.item, str) and how.header else None
    else:
        how = Texts(path="", item=0, title=0, separator="\t" if path.suffix in (".tsv", ".inter", ".item") else ",")
    if not path.is_file():
        raise InputError("no such file", place=str(path), remedy="give a table with a row per item: Parquet, .csv or .tsv")
    return table_of(path, how), usual, str(path)


def _require(frame: pl.DataFrame, columns: Sequence[str], place: str) -> None:
    for name in columns:
        if name not in frame.columns:
            raise InputError(f"no column '{name}'", place=place, remedy=suggest(name, frame.columns))


def joined_texts(frame: pl.DataFrame, columns: Sequence[str], place: str = "item table") -> list[str | None]:
    """The texts of some columns one after the other, None where all are missing or blank.

    Raises:
        InputError: there is no such column, or it holds no text.
    """
    _require(frame, columns, place)
    for name in columns:
        if isinstance(frame[name].dtype, pl.List | pl.Array | pl.Struct | pl.Object):
            raise InputError(f"'{name}' holds {frame[name].dtype}, not text", place=place, remedy="join it into one text per item")
    whole = frame.select(pl.concat_str([pl.col(name).cast(pl.String).str.strip_chars() for name in columns], separator=" ", ignore_nulls=True))
    return [text if text and text.strip() else None for text in whole.to_series()]


def text_vectors(texts: Sequence[str | None], dim: int = 128, *, words: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """TF-IDF of the texts, reduced by a truncated SVD, rows of length 1: latent semantic analysis.

    Source: Deerwester et al., "Indexing by latent semantic analysis", JASIS 1990, with groups of 3 to 5 letters inside words as terms, which match
    plurals and misspellings; a term counts 1 + log of how often it occurs, and occurs in two items or more. The same texts give the same vectors:
    the SVD is exact (ARPACK, from a fixed start), and the sign of a column is such that its largest entry is positive.

    Args:
        texts: one per item, None where there is none.
        dim: length of a vector.
        words: terms are words and pairs of words rather than groups of letters.

    Returns:
        vectors float32 [n, dim], zeros where there is none, and whether there is one, bool [n]: not where a text shares no term with another.

    Raises:
        InputError: scikit-learn is not installed, fewer than two items have a text, or `dim` is more than texts and terms allow.
    """
    try:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise InputError("text vectors need scikit-learn", remedy="pip install 'recsys[features]'") from None
    from threadpoolctl import threadpool_limits

    said = np.array([text is not None for text in texts], dtype=bool)
    given = [text for text in texts if text is not None]
    if len(given) < 2:
        raise InputError(f"{len(given)} of {len(texts)} items have a text", place="--text", remedy="name columns that hold texts")
    terms = (
        TfidfVectorizer(analyzer="word", ngram_range=(1, 2), min_df=_RARE, sublinear_tf=True)
        if words
        else TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=_RARE, sublinear_tf=True)
    )
    try:
        weights = terms.fit_transform(given)
    except ValueError:
        raise InputError("no term occurs in two items", place="--text", remedy="name columns with longer texts") from None
    if not 0 < dim < min(weights.shape):
        most = min(weights.shape) - 1
        cause = f"{dim} numbers of {weights.shape[0]} texts with {weights.shape[1]} terms"
        raise InputError(cause, place="--dim", remedy=f"ask for {most} or fewer" if most > 0 else "give more texts")
    with threadpool_limits(1):  # the order of a sum is part of the bytes
        values = TruncatedSVD(dim, algorithm="arpack", random_state=0).fit_transform(weights)
    values *= np.where(values[np.abs(values).argmax(axis=0), np.arange(dim)] < 0, -1.0, 1.0)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    known = length[:, 0] > 1e-6
    vectors, present = np.zeros((len(texts), dim), dtype=np.float32), np.zeros(len(texts), dtype=bool)
    rows = np.flatnonzero(said)[known]
    vectors[rows], present[rows] = values[known] / length[known], True
    return vectors, present


def column_vectors(
    frame: pl.DataFrame, numeric: Sequence[str] = (), logged: Sequence[str] = (), categorical: Sequence[str] = (), *, place: str = "item table"
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Columns as numbers: each numeric one with mean 0 and standard deviation 1, each categorical one as a column of 0 and 1 per kind.

    Args:
        frame: a row per item.
        numeric: columns of numbers.
        logged: columns of numbers above 0, of which the logarithm is taken first.
        categorical: columns of kinds, a kind being one value, in ascending order.
        place: what to call the table in an error.

    Returns:
        vectors float32 [n, d]; whether an item has one, bool [n]: one that lacks all of the columns does not, and of the others a numeric column that
        is missing stands at its mean, 0, and a categorical one at zeros; and what each number is, as in "log price" or "country = France".

    Raises:
        InputError: no column is named, a column is missing or named twice, holds no numbers, one not finite or not above 0, is always the same,
            or has more than 1,000 kinds.
    """
    named = [*numeric, *logged, *categorical]
    if not named:
        raise InputError("no column is named", place=place, remedy="give --numeric, --log or --categorical")
    if len(set(named)) < len(named):
        raise InputError(f"'{next(name for name in named if named.count(name) > 1)}' is named twice", place=place, remedy="name each column once")
    _require(frame, named, place)
    parts, present, words = [], np.zeros(frame.height, dtype=bool), []
    for name in (*numeric, *logged):
        known, values = _numbers(frame[name], f"{place}, column '{name}'", above_0=name in logged)
        present |= known
        parts.append(values[:, None])
        words.append(f"log {name}" if name in logged else name)
    for name in categorical:
        kinds = frame[name].cast(pl.String)
        every = kinds.drop_nulls().unique().sort()
        if not 1 < len(every) <= 1000:
            cause = f"has {len(every)} kinds"
            raise InputError(cause, place=f"{place}, column '{name}'", remedy="it takes 2 to 1,000: leave the column out, or use --text")
        parts.append((kinds.to_numpy()[:, None] == every.to_numpy()[None, :]).astype(np.float32))
        present |= kinds.is_not_null().to_numpy()
        words += [f"{name} = {kind}" for kind in every]
    vectors = np.concatenate(parts, axis=1).astype(np.float32)
    vectors[~present] = 0
    return vectors, present, words


def _numbers(column: pl.Series, place: str, *, above_0: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a number, and the numbers standardised over these, 0 elsewhere."""
    text = column.dtype == pl.String
    plain = column.str.strip_chars().replace("", None) if text else column
    values = plain.cast(pl.Float64, strict=False)
    wrong = np.flatnonzero((plain.is_not_null() & values.is_null()).to_numpy()) if text or plain.dtype.is_numeric() else np.arange(len(column))
    if len(wrong):
        raise InputError(f"row {int(wrong[0]) + 1}: {column[int(wrong[0])]!r} is no number", place=place, remedy="correct it, or use --categorical")
    known, numbers = values.is_not_null().to_numpy(), values.fill_null(0.0).to_numpy().copy()
    bad = known & (~np.isfinite(numbers) | (above_0 & (numbers <= 0)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        cause = f"row {row + 1}: {numbers[row]:g} is {'not above 0' if above_0 and np.isfinite(numbers[row]) else 'not a finite number'}"
        raise InputError(cause, place=place, remedy="leave it empty where it is not known")
    chosen = np.log(numbers[known]) if above_0 else numbers[known]
    spread = float(chosen.std()) if len(chosen) else 0.0
    if spread < 1e-12 * max(1.0, float(np.abs(chosen).max(initial=0.0))):
        raise InputError("is the same for every item that has it", place=place, remedy="leave the column out: it tells nothing")
    numbers[~known] = 0
    numbers[known] = (chosen - chosen.mean()) / spread
    return known, numbers


def write_features(path: str | Path, items: pl.Series, vectors: np.ndarray, present: np.ndarray) -> Path:
    """A feature table as Parquet: `item` and `values` of the items that have a vector, float32. Whole or not at all.

    Raises:
        InputError: no item has a vector, the name does not end in .parquet, or it cannot be written.
    """
    path = Path(path)
    if path.suffix != ".parquet":
        raise InputError(f"'{path.name}' does not end in .parquet", place="--out", remedy=f"call it {path.stem}.parquet")
    if not present.any():
        raise InputError("no item has a vector", place=str(path), remedy="name other columns")
    frame = pl.DataFrame(
        {"item": items.filter(pl.Series(present)), "values": pl.Series(vectors[present], dtype=pl.Array(pl.Float32, vectors.shape[1]))}
    )
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(part, compression="zstd")
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", place=str(path), remedy="choose another --out") from None
    finally:
        part.unlink(missing_ok=True)
    return path
