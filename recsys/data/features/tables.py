"""Feature tables of items, aligned with the vocabulary of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.data.features.arrays import from_array, from_folder
from recsys.data.features.attribute_files import (
    ATTRIBUTE_ENDINGS,
    AttributeFile,
    attribute_table,
    form_of,
)
from recsys.data.features.encoder import encoder_of
from recsys.data.features.frames import columns_of, from_memory, from_parquet
from recsys.data.features.validation import require_finite
from recsys.data.reading.text_files import require
from recsys.data.types import FeatureTable, Vocab
from recsys.data.unmatched import Tell, tell_unmatched
from recsys.errors import InputError, first_line

__all__ = ["feature_table", "feature_tables", "seen_from", "user_tables"]

_ALONE = "attributes"  # name of the only table of attributes


def feature_tables(
    where: str | Path | Mapping[str, Any], base: Path, items: Vocab, tell: Tell | None = None
) -> dict[str, FeatureTable]:
    """Return the modalities that `[data] features` names, aligned with the vocabulary.

    Args:
        where: a file, a folder or a table in memory by modality, as `feature_table` takes it. Or
            one folder, whose modalities are its files `NAME_feat.npy` (the layout of MMRec) and
            `NAME.parquet` with the columns `item` and `values`.
        base: folder that relative paths are looked up in first; then the working folder.
        items: the vocabulary whose rows the tables get.
        tell: called with a finding about rows that belong to no item.

    Raises:
        InputError: as `feature_table`; no modality is given, or no item of the data has one.
    """
    if isinstance(where, str | Path):
        sources: dict[str, Any] = _of_folder(where, base)
    else:
        sources = {
            name: seen_from(base, source) if isinstance(source, str | Path) else source
            for name, source in where.items()
        }
    tables = {}
    for name, source in sources.items():
        if _holds_attributes(source):
            tables[name] = _attributes(source, base, items, name, tell)
            continue
        if isinstance(source, Path):
            _require_exists(base, source)
        place = str(source) if isinstance(source, Path) else f"features '{name}'"
        tables[name] = feature_table(source, items, place, name=name, tell=tell)
        if not tables[name].present.any():
            raise InputError(
                f"no item of the data is in the table of '{name}'",
                place=place,
                remedy=f"its ids must be those of the data, such as {items.ids[0]!r}",
            )
    return tables


def user_tables(
    where: str | Path | Mapping[str, Any], base: Path, users: Vocab, tell: Tell | None = None
) -> dict[str, FeatureTable]:
    """Return the attributes that `[data] user_features` names, aligned with the vocabulary.

    Args:
        where: a file, the settings of one, or a frame in memory, by name; or one file.
        base: folder that relative paths are looked up in first; then the working folder.
        users: the vocabulary whose rows the tables get.
        tell: called with findings about columns and rows that are left out.

    Raises:
        InputError: as `attribute_table`.
    """
    sources = {_ALONE: where} if isinstance(where, str | Path) else where
    return {name: _attributes(source, base, users, name, tell) for name, source in sources.items()}


def _holds_attributes(source: Any) -> bool:
    """Return whether a source holds columns of attributes, not vectors."""
    if isinstance(source, Path):
        return source.suffix in ATTRIBUTE_ENDINGS
    if isinstance(source, Mapping):
        return True
    columns = list(getattr(source, "columns", ()))
    return len(columns) > 1 and "values" not in columns


def _attributes(
    source: Any, base: Path, vocab: Vocab, name: str, tell: Tell | None
) -> FeatureTable:
    """Return the attributes of one file, of its settings, or of a frame."""
    if isinstance(source, str | Path | Mapping):
        form = form_of(source, f"features {name}")
        path = seen_from(base, form.path)
        _require_exists(base, path)
        return attribute_table(path, form, vocab, name=name, tell=tell)
    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    try:
        frame = source if isinstance(source, pl.DataFrame) else pl.from_pandas(source)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{type(source).__name__} is not a table of attributes: {first_line(error)}",
            place=f"features '{name}'",
            remedy=f"give a path or a frame with a row per {vocab.name}",
        ) from None
    return attribute_table(frame, AttributeFile(path=""), vocab, name=name, tell=tell)


def feature_table(
    source: Any, items: Vocab, place: str = "", *, name: str = "", tell: Tell | None = None
) -> FeatureTable:
    """Return one modality, from files or from memory.

    Vectors may have any length, the same for each item.

    Args:
        source: one of
            - the path of a Parquet file with the columns `item` and `values`, null for an item
              that lacks the modality;
            - the path of `F.npy` [n, d] with its ids in `F.ids.npy` or `F.ids.txt` (one a line)
              next to it; without these, row i is the item with the id i (the numbering of MMRec);
            - the path of a folder with one `ID.npy` per item (the layout of Ducho);
            - a pandas or polars frame with the columns of such a Parquet file;
            - a pair of n ids and an array [n, d].
        items: the vocabulary whose rows the table gets.
        place: what to call the table in an error; its path by default.
        name: of the modality, in a finding.
        tell: called with a finding about rows that belong to no item.

    Returns:
        Values float32 [n_items, d]. An item that the source lacks, or whose row of an array is all
        NaN, is not present and has a row of zeros.

    Raises:
        InputError: the file is missing or damaged, or has other columns or rows of different
            lengths; an id is missing, of a wrong type or occurs twice; a value is not finite.
    """
    encoder = None
    is_folder = False
    if isinstance(source, Path):
        place = place or str(source)
        require(source)
        is_folder = source.is_dir()
        if is_folder:
            stems = pl.Series([file.stem for file in sorted(source.glob("*.npy"))], dtype=pl.String)
            tell_unmatched(tell, stems, items, f"feature {name}", place)
            ids, vectors = from_folder(source, items)
        elif source.suffix == ".npy":
            ids, vectors = from_array(source, items)
        else:
            ids, vectors = from_parquet(source)
            encoder = encoder_of(source)
    else:
        ids, vectors = from_memory(source, place)
    rows = items.rows(ids)
    if not is_folder:  # `from_folder` returns known items only
        tell_unmatched(tell, ids, items, f"feature {name}", place, rows)
    return _aligned(ids, vectors, rows, items, place, encoder)


def _aligned(
    ids: pl.Series,
    vectors: np.ndarray,
    rows: np.ndarray,
    items: Vocab,
    place: str,
    encoder: str | None,
) -> FeatureTable:
    """Return the table with a row for each item of the vocabulary.

    Args:
        ids: of the vectors [n].
        vectors: [n, d].
        rows: of the ids in the vocabulary, -1 for an unknown id, [n].
        items: the vocabulary.
        place: of the table in an error.
        encoder: id of what made the vectors, None if not known.

    Raises:
        InputError: a known item occurs twice, or has a value that is not finite.
    """
    known = np.flatnonzero(rows >= 0)
    if len(np.unique(rows[known])) < len(known):
        repeated = np.bincount(rows[known])[rows[known]] > 1
        item = ids.filter(pl.Series(rows >= 0)).filter(pl.Series(repeated))[0]
        raise InputError(f"duplicate item id {item!r}", place=place, remedy="give one row per item")
    with np.errstate(over="ignore"):  # values too large for 32 bits are refused below
        chosen = np.asarray(vectors[known], dtype=np.float32)
    given = ~np.isnan(chosen).all(1)
    require_finite(ids.gather(known[given]), chosen[given], place)
    values = np.zeros((len(items), vectors.shape[1]), dtype=np.float32)
    present = np.zeros(len(items), dtype=bool)
    values[rows[known[given]]] = chosen[given]
    present[rows[known[given]]] = True
    return FeatureTable(values, present, encoder)


def _of_folder(where: str | Path, base: Path) -> dict[str, Path]:
    """Return the files of the modalities in a folder, by name.

    Raises:
        InputError: the folder does not exist, is a file, or holds no feature table.
    """
    folder = seen_from(base, where)
    if folder.suffix in ATTRIBUTE_ENDINGS and not folder.is_dir():
        return {_ALONE: folder}
    if not folder.is_dir():
        _require_exists(base, folder)
        raise InputError(
            "not a folder of feature tables",
            place=str(folder),
            remedy=f'name the modality, as in features = {{ text = "{where}" }}',
        )
    files = {
        path.name.removesuffix("_feat.npy"): path for path in sorted(folder.glob("*_feat.npy"))
    }
    files |= {
        path.stem: path
        for path in sorted(folder.glob("*.parquet"))
        if {"item", "values"} <= set(columns_of(path))
    }
    if not files:
        raise InputError(
            "holds no feature table",
            place=str(folder),
            remedy="it takes files NAME_feat.npy, or NAME.parquet with item and values",
        )
    return files


def seen_from(base: Path, text: str | Path) -> Path:
    """Return a path relative to `base` if it exists there, else relative to the working folder."""
    path = Path(text).expanduser()
    return base / path if (base / path).exists() else path


def _require_exists(base: Path, path: Path) -> None:
    """Refuse a path that exists neither in `base` nor in the working folder.

    Raises:
        InputError: it names the files in `base`.
    """
    if not path.exists():
        require(base / path)
