"""Feature tables made of what an item table says: vectors of texts, and columns of numbers and kinds.

Only the items speak here, never who met them, so a table may be made before data are split. Texts need scikit-learn: pip install 'recsys[features]'.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError

from recsys.data.features.encoder import KEY, Encoder, beside
from recsys.data.features.tables import Texts, ids_of, table_of
from recsys.errors import InputError, suggest

__all__ = [
    "Columns",
    "Terms",
    "column_vectors",
    "fitted_columns",
    "fitted_terms",
    "item_table",
    "joined_texts",
    "text_vectors",
    "write_features",
]

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
        raise InputError(
            f"no column looks like the items; found: {', '.join(frame.columns)}",
            place=place,
            remedy="name it: --item COLUMN",
        )
    _require(frame, [name], place)
    ids = ids_of(frame[name], place).alias("item")
    if not len(ids):
        raise InputError("holds no item", place=place, remedy="give a row per item")
    if ids.n_unique() < len(ids):
        raise InputError(
            f"item {ids.filter(ids.is_duplicated())[0]!r} is there twice",
            place=place,
            remedy="give a row per item",
        )
    return frame, ids


def _read(source: str) -> tuple[pl.DataFrame, str | None, str]:
    """The table, the column of its ids where that is known, and where it is."""
    path = Path(source).expanduser()
    usual, given = None, True
    if not path.exists() and "/" not in source and "." not in source:
        from recsys.data.catalog import catalog

        entry = catalog.entry(source)
        if entry.texts is None:
            raise InputError(f"'{source}' has no table of items", remedy="give the file of one")
        path, how, given = catalog.obtain(entry) / entry.texts.path, entry.texts, False
        usual = how.item if isinstance(how.item, str) and how.header else None
    else:
        how = Texts(
            path="",
            item=0,
            title=0,
            separator="\t" if path.suffix in (".tsv", ".inter", ".item") else ",",
        )
    if not path.is_file():
        raise InputError(
            "no such file",
            place=str(path),
            remedy="give a table with a row per item: Parquet, .csv or .tsv",
        )
    return (
        table_of(path, how, even=given),
        usual,
        str(path),
    )  # the file of a data set is not the user's to mend


def _require(frame: pl.DataFrame, columns: Sequence[str], place: str) -> None:
    for name in columns:
        if name not in frame.columns:
            raise InputError(
                f"no column '{name}'", place=place, remedy=suggest(name, frame.columns)
            )


def joined_texts(
    frame: pl.DataFrame, columns: Sequence[str], place: str = "item table"
) -> list[str | None]:
    """The texts of some columns one after the other, None where all are missing or blank.

    Raises:
        InputError: there is no such column, or it holds no text.
    """
    _require(frame, columns, place)
    for name in columns:
        if isinstance(frame[name].dtype, pl.List | pl.Array | pl.Struct | pl.Object):
            raise InputError(
                f"'{name}' holds {frame[name].dtype}, not text",
                place=place,
                remedy="join it into one text per item",
            )
    whole = frame.select(
        pl.concat_str(
            [pl.col(name).cast(pl.String).str.strip_chars() for name in columns],
            separator=" ",
            ignore_nulls=True,
        )
    )
    return [text if text and text.strip() else None for text in whole.to_series()]


@dataclass(frozen=True, eq=False)
class Terms:
    """TF-IDF of texts, reduced by a truncated SVD, rows of length 1: latent semantic analysis, as it was fitted.

    Args:
        words: terms are words and pairs of words rather than groups of letters.
        terms: what is counted [t].
        idf: weight of each, float64 [t].
        components: float32 [dim, t].
    """

    words: bool
    terms: Sequence[str]
    idf: np.ndarray
    components: np.ndarray

    def vectors(self, texts: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors float32 [n, dim], zeros where there is none, and whether there is one, bool [n]: not where a text has none of the terms."""
        given = [text or "" for text in texts]
        counts = _counts(words=self.words, vocabulary=list(self.terms))
        counts.idf_ = self.idf
        return (
            _unit(counts.transform(given) @ self.components.T.astype(np.float64))
            if given
            else _unit(np.empty((0, len(self.components))))
        )


def text_vectors(
    texts: Sequence[str | None], dim: int = 128, *, words: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of texts as `fitted_terms` makes them, float32 [n, dim], and whether there is one, bool [n]."""
    _, vectors, present = fitted_terms(texts, dim, words=words)
    return vectors, present


def fitted_terms(
    texts: Sequence[str | None], dim: int = 128, *, words: bool = False
) -> tuple[Terms, np.ndarray, np.ndarray]:
    """TF-IDF of the texts, reduced by a truncated SVD, rows of length 1: latent semantic analysis.

    Source: Deerwester et al., "Indexing by latent semantic analysis", JASIS 1990, with groups of 3 to 5 letters inside words as terms, which match
    plurals and misspellings; a term counts 1 + log of how often it occurs, and occurs in two items or more. The same texts give the same vectors:
    the SVD is exact (ARPACK, from a fixed start), and the sign of a column is such that its largest entry is positive.

    Args:
        texts: one per item, None where there is none.
        dim: length of a vector.
        words: terms are words and pairs of words rather than groups of letters.

    Returns:
        what makes the same of other texts; vectors float32 [n, dim], zeros where there is none, and whether there is one, bool [n]: not where a text
        shares no term with another.

    Raises:
        InputError: scikit-learn is not installed, fewer than two items have a text, or `dim` is more than texts and terms allow.
    """
    counts = _counts(words=words)
    from sklearn.decomposition import TruncatedSVD
    from threadpoolctl import threadpool_limits

    said = np.array([text is not None for text in texts], dtype=bool)
    given = [text for text in texts if text is not None]
    if len(given) < 2:
        raise InputError(
            f"{len(given)} of {len(texts)} items have a text",
            place="--text",
            remedy="name columns that hold texts",
        )
    try:
        weights = counts.fit_transform(given)
    except ValueError:
        raise InputError(
            "no term occurs in two items", place="--text", remedy="name columns with longer texts"
        ) from None
    if not 0 < dim < min(weights.shape):
        most = min(weights.shape) - 1
        cause = f"{dim} numbers of {weights.shape[0]} texts with {weights.shape[1]} terms"
        raise InputError(
            cause,
            place="--dim",
            remedy=f"ask for {most} or fewer" if most > 0 else "give more texts",
        )
    reduced = TruncatedSVD(dim, algorithm="arpack", random_state=0)
    with threadpool_limits(1):  # the order of a sum is part of the bytes
        values = reduced.fit_transform(weights)
    sign = np.where(values[np.abs(values).argmax(axis=0), np.arange(dim)] < 0, -1.0, 1.0)
    made, known = _unit(values * sign)
    vectors, present = np.zeros((len(texts), dim), dtype=np.float32), said.copy()
    vectors[said], present[said] = made, known
    components = (reduced.components_ * sign[:, None]).astype(np.float32)
    return (
        Terms(words, counts.get_feature_names_out().tolist(), counts.idf_, components),
        vectors,
        present,
    )


def _counts(*, words: bool, vocabulary: list[str] | None = None) -> Any:
    """What counts terms in texts.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        import sklearn.decomposition  # noqa: F401 - asked for before anything is computed
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise InputError(
            "text vectors need scikit-learn", remedy="pip install 'recsys[features]'"
        ) from None
    analyzer, groups = ("word", (1, 2)) if words else ("char_wb", (3, 5))
    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=groups,
        min_df=_RARE,
        sublinear_tf=True,
        vocabulary=vocabulary,
    )


def _unit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows float64 [n, d] at length 1, float32, and which have one, bool [n]; the others are zeros."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    known = length[:, 0] > 1e-6
    vectors = np.zeros(values.shape, dtype=np.float32)
    vectors[known] = values[known] / length[known]
    return vectors, known


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns as numbers, as they were fitted.

    Args:
        numbers: the columns of numbers: name, whether the logarithm is taken first, mean and standard deviation.
        kinds: the columns of kinds with the kinds of each in order.
    """

    numbers: Sequence[tuple[str, bool, float, float]]
    kinds: Mapping[str, Sequence[str]]

    @property
    def words(self) -> list[str]:
        """What each number of a vector is, as in "log price" or "country = France"."""
        said = [f"log {name}" if logged else name for name, logged, _, _ in self.numbers]
        return said + [f"{name} = {kind}" for name, kinds in self.kinds.items() for kind in kinds]

    def vectors(
        self, frame: pl.DataFrame, place: str = "item table"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors float32 [n, d], and whether an item has one, bool [n]; as `column_vectors`, a kind that was not met counting as missing.

        Raises:
            InputError: a column is missing, holds no numbers, one not finite or not above 0.
        """
        _require(frame, [name for name, _, _, _ in self.numbers] + list(self.kinds), place)
        parts, present = [], np.zeros(frame.height, dtype=bool)
        for name, logged, mean, spread in self.numbers:
            known, values = _numbers(frame[name], f"{place}, column '{name}'", above_0=logged)
            values[known] = (values[known] - mean) / spread
            present |= known
            parts.append(values[:, None])
        for name, kinds in self.kinds.items():
            one = (
                frame[name].cast(pl.String).to_numpy()[:, None]
                == np.array(kinds, dtype=object)[None, :]
            ).astype(np.float32)
            parts.append(one)
            present |= one.any(1)
        vectors = np.concatenate(parts, axis=1).astype(np.float32)
        vectors[~present] = 0
        return vectors, present


def column_vectors(
    frame: pl.DataFrame,
    numeric: Sequence[str] = (),
    logged: Sequence[str] = (),
    categorical: Sequence[str] = (),
    *,
    place: str = "item table",
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
    fitted = fitted_columns(frame, numeric, logged, categorical, place=place)
    return *fitted.vectors(frame, place), fitted.words


def fitted_columns(
    frame: pl.DataFrame,
    numeric: Sequence[str] = (),
    logged: Sequence[str] = (),
    categorical: Sequence[str] = (),
    *,
    place: str = "item table",
) -> Columns:
    """What makes vectors of columns, fitted to a table; arguments and errors as of `column_vectors`."""
    named = [*numeric, *logged, *categorical]
    if not named:
        raise InputError(
            "no column is named", place=place, remedy="give --numeric, --log or --categorical"
        )
    if len(set(named)) < len(named):
        raise InputError(
            f"'{next(name for name in named if named.count(name) > 1)}' is named twice",
            place=place,
            remedy="name each column once",
        )
    _require(frame, named, place)
    numbers, kinds = [], {}
    for name in (*numeric, *logged):
        within = f"{place}, column '{name}'"
        known, values = _numbers(frame[name], within, above_0=name in logged)
        chosen = values[known]
        spread = float(chosen.std()) if len(chosen) else 0.0
        if spread < 1e-12 * max(1.0, float(np.abs(chosen).max(initial=0.0))):
            raise InputError(
                "is the same for every item that has it",
                place=within,
                remedy="leave the column out: it tells nothing",
            )
        numbers.append((name, name in logged, float(chosen.mean()), spread))
    for name in categorical:
        every = frame[name].cast(pl.String).drop_nulls().unique().sort().to_list()
        if not 1 < len(every) <= 1000:
            cause = f"has {len(every)} kinds"
            raise InputError(
                cause,
                place=f"{place}, column '{name}'",
                remedy="it takes 2 to 1,000: leave the column out, or use --text",
            )
        kinds[name] = every
    return Columns(numbers, kinds)


def _numbers(column: pl.Series, place: str, *, above_0: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a number, and the numbers or, `above_0`, their logarithms, 0 elsewhere."""
    text = column.dtype == pl.String
    plain = column.str.strip_chars().replace("", None) if text else column
    values = plain.cast(pl.Float64, strict=False)
    wrong = (
        np.flatnonzero((plain.is_not_null() & values.is_null()).to_numpy())
        if text or plain.dtype.is_numeric()
        else np.arange(len(column))
    )
    if len(wrong):
        raise InputError(
            f"row {int(wrong[0]) + 1}: {column[int(wrong[0])]!r} is no number",
            place=place,
            remedy="correct it, or use --categorical",
        )
    known, numbers = values.is_not_null().to_numpy(), values.fill_null(0.0).to_numpy().copy()
    bad = known & (~np.isfinite(numbers) | (above_0 & (numbers <= 0)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        cause = f"row {row + 1}: {numbers[row]:g} is {'not above 0' if above_0 and np.isfinite(numbers[row]) else 'not a finite number'}"
        raise InputError(cause, place=place, remedy="leave it empty where it is not known")
    if above_0:
        numbers[known] = np.log(numbers[known])
    numbers[~known] = 0
    return known, numbers


def write_features(
    path: str | Path,
    items: pl.Series,
    vectors: np.ndarray,
    present: np.ndarray,
    encoder: Encoder | None = None,
    *,
    keep: bool = True,
) -> Path:
    """A feature table as Parquet: `item` and `values` of the items that have a vector, float32. Whole or not at all.

    Args:
        path: of the table.
        items: ids [n].
        vectors: [n, d].
        present: which items have one [n].
        encoder: what made them, whose id the table gets.
        keep: whether the encoder is written beside the table, too.

    Raises:
        InputError: no item has a vector, the name does not end in .parquet, or it cannot be written.
    """
    path = Path(path)
    if path.suffix != ".parquet":
        raise InputError(
            f"'{path.name}' does not end in .parquet",
            place="--out",
            remedy=f"call it {path.stem}.parquet",
        )
    if not present.any():
        raise InputError(
            "no item has a vector",
            place=str(path),
            remedy="name columns that say something of them",
        )
    frame = pl.DataFrame(
        {
            "item": items.filter(pl.Series(present)),
            "values": pl.Series(vectors[present], dtype=pl.Array(pl.Float32, vectors.shape[1])),
        }
    )
    parts = [
        path.with_name(f".{path.name}.{os.getpid()}.tmp"),
        beside(path).with_name(f".{beside(path).name}.{os.getpid()}.tmp"),
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(
            parts[0], compression="zstd", metadata={KEY: encoder.id} if encoder else None
        )
        if encoder and keep:
            encoder.save(parts[1])
            os.replace(parts[1], beside(path))
        os.replace(parts[0], path)
    except (OSError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot be written: {said}", place=str(path), remedy="choose another --out"
        ) from None
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return path
